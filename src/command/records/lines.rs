//! Reads lines of any length with little memory.

use std::io::{self, BufRead, Read};

/// The longest line that is read. A record is much shorter, and so is what journalctl makes of it.
const LINE_MAX: u64 = 64 * 1024;

/// The lines of a text. Lines that are too long or not UTF-8 are left out, because no record is like that.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    /// The next line, without its end.
    ///
    /// # Errors
    ///
    /// The text cannot be read.
    pub fn next(&mut self) -> io::Result<Option<&str>> {
        while self.read()? {
            let whole = self.line.ends_with(b"\n") || (self.line.len() as u64) < LINE_MAX;
            if !whole {
                self.skip_rest()?;
            } else if std::str::from_utf8(&self.line).is_ok() {
                // The borrow checker does not accept that the text of the condition is returned.
                return Ok(std::str::from_utf8(&self.line).ok().map(|line| line.trim_end_matches('\n')));
            }
        }
        Ok(None)
    }

    /// Reads a line or a part of it. Returns `false` at the end of the text.
    fn read(&mut self) -> io::Result<bool> {
        self.line.clear();
        Ok(self.reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.line)? > 0)
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        while self.read()? && !self.line.ends_with(b"\n") {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_does_not_hide_the_next() {
        let long = "x".repeat(200_000);
        let text = format!("a\n{long}\n\nb\n\u{e9}\n").into_bytes();
        let text = [text, b"\xff\xfe\nlast".to_vec()].concat();
        let mut lines = Lines::new(text.as_slice());
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.to_owned());
        }
        assert_eq!(found, ["a", "", "b", "\u{e9}", "last"]);
        assert!(lines.line.capacity() < 300_000);
    }
}
