//! Whether a file is a shared object that the loader takes whole. Pure: somebody else reads the file and has
//! compared the processor, so numbers are in the order of this machine's bytes.

/// `ET_DYN`
const SHARED: u64 = 3;
/// `PT_LOAD`
const LOAD: u64 = 1;

/// Where the two classes of files keep what is asked for: positions and widths in bytes.
struct Shape {
    word: usize,
    /// Of the header: program headers, their size, their number.
    headers: usize,
    size: usize,
    count: usize,
    /// Of a program header.
    offset: usize,
    length: usize,
}

const SMALL: Shape = Shape { word: 4, headers: 28, size: 42, count: 44, offset: 4, length: 16 };
const LARGE: Shape = Shape { word: 8, headers: 32, size: 54, count: 56, offset: 8, length: 32 };

/// Why the loader does not take the file, if so.
#[must_use]
pub fn fault(file: &[u8]) -> Option<&'static str> {
    match loads(file) {
        None => Some("is cut off"),
        Some(None) => Some("is no shared object"),
        Some(Some(end)) if end > file.len() as u64 => Some("is cut off"),
        Some(Some(_)) => None,
    }
}

/// Where the last part that is loaded ends; `Some(None)` for a file that is no shared object, `None` for one that
/// ends before it says.
fn loads(file: &[u8]) -> Option<Option<u64>> {
    let shape = if file.get(4)? == &1 { SMALL } else { LARGE };
    if number(file, 16, 2)? != SHARED {
        return Some(None);
    }
    let start = usize::try_from(number(file, shape.headers, shape.word)?).ok()?;
    let size = usize::try_from(number(file, shape.size, 2)?).ok()?;
    let mut last = None;
    for at in 0..usize::try_from(number(file, shape.count, 2)?).ok()? {
        let header = file.get(at.checked_mul(size)?.checked_add(start)?..)?;
        if number(header, 0, 4)? == LOAD {
            let offset = number(header, shape.offset, shape.word)?;
            last = last.max(Some(offset.checked_add(number(header, shape.length, shape.word)?)?));
        }
    }
    Some(last)
}

/// A number of so many bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(match *bytes {
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => u64::from_ne_bytes(bytes.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_found() {
        let whole = crate::command::test_tree::Tree::elf();
        assert_eq!(fault(&whole), None);
        for length in 20..whole.len() {
            assert_eq!(fault(&whole[..length]), Some("is cut off"), "{length}");
        }
        let mut program = whole;
        program[16..18].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(fault(&program), Some("is no shared object"));
    }
}
