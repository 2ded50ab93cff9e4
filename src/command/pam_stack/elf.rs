//! Checks that a file is a complete shared object. Pure: the caller reads the file, and checks first that it is
//! for this processor. So its numbers have this machine's byte order.

/// `ET_DYN`
const SHARED_OBJECT: u64 = 3;
/// `PT_LOAD`
const LOAD: u64 = 1;

/// The places of the fields that we read, in bytes, in 32-bit or in 64-bit files.
struct Shape {
    word: usize,
    /// The position, the size and the number of the program headers, in the ELF header.
    headers: usize,
    size: usize,
    count: usize,
    /// The fields of a program header.
    offset: usize,
    length: usize,
}

const SMALL: Shape = Shape { word: 4, headers: 28, size: 42, count: 44, offset: 4, length: 16 };
const LARGE: Shape = Shape { word: 8, headers: 32, size: 54, count: 56, offset: 8, length: 32 };

/// Why the file cannot be loaded, if it cannot.
#[must_use]
pub fn fault(file: &[u8]) -> Option<&'static str> {
    match loaded_end(file) {
        None => Some("is truncated"),
        Some(None) => Some("is not a shared object"),
        Some(Some(end)) if end > file.len() as u64 => Some("is truncated"),
        Some(Some(_)) => None,
    }
}

/// The end of the last segment that is loaded. `Some(None)` if the file is not a shared object, `None` if a
/// header is truncated.
fn loaded_end(file: &[u8]) -> Option<Option<u64>> {
    let shape = if file.get(4)? == &1 { SMALL } else { LARGE };
    if number(file, 16, 2)? != SHARED_OBJECT {
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

/// Reads a number that is `width` bytes long.
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
    fn a_truncated_file_is_found_wherever_it_ends() {
        let whole = crate::command::test_tree::Tree::elf();
        assert_eq!(fault(&whole), None);
        for length in 20..whole.len() {
            assert_eq!(fault(&whole[..length]), Some("is truncated"), "{length}");
        }
        let mut program = whole;
        program[16..18].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(fault(&program), Some("is not a shared object"));
    }
}
