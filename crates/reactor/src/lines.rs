//! Splits received bytes into lines.

use std::fmt;

/// Splits received bytes into lines, and keeps the beginning of one until its end is received.
///
/// ```
/// use karez_reactor::{LineTooLong, Lines};
///
/// # fn main() -> Result<(), LineTooLong> {
/// let (mut lines, mut found) = (Lines::new(100), Vec::new());
/// let mut keep = |line: &[u8]| found.push(line.to_vec());
/// lines.split(b"set color gr", &mut keep)?;
/// lines.split(b"een\r\nget color\nqu", &mut keep)?;
/// assert_eq!(found, [&b"set color green"[..], b"get color"]);
/// # Ok(())
/// # }
/// ```
///
/// # Limitations
///
/// A line that the peer does not end before it closes is never passed on.
#[derive(Debug)]
pub struct Lines {
    begun: Vec<u8>,
    longest: usize,
}

impl Lines {
    /// Lines have at most `longest` bytes, without their end.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { begun: Vec::new(), longest }
    }

    /// Calls `each` with every line that ends in `bytes`, without its end (`\n` or `\r\n`).
    ///
    /// # Errors
    /// [`LineTooLong`], behind the lines in front of it. The peer has to be disconnected.
    pub fn split(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), LineTooLong> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.begun.is_empty() {
                each(self.checked(line)?);
            } else {
                self.begun.extend_from_slice(line);
                each(self.checked(&self.begun)?);
                self.begun.clear();
            }
            bytes = rest;
        }
        // One more than the longest, since its last byte may be the `\r` of its end.
        if self.begun.len() + bytes.len() > self.longest.saturating_add(1) {
            return Err(LineTooLong);
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    fn checked<'a>(&self, line: &'a [u8]) -> Result<&'a [u8], LineTooLong> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.longest { Err(LineTooLong) } else { Ok(line) }
    }
}

/// A line is longer than permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineTooLong;

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line is too long")
    }
}

impl std::error::Error for LineTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of a text that is received in parts of so many bytes.
    fn split(text: &[u8], part: usize, longest: usize) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let (mut lines, mut found) = (Lines::new(longest), Vec::new());
        for bytes in text.chunks(part) {
            lines.split(bytes, |line| found.push(line.to_vec()))?;
        }
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_in_any_parts() {
        let text = b"one\n\r\ntwo\r\n\nthr\ree\r\r\nrest";
        let lines: [&[u8]; 5] = [b"one", b"", b"two", b"", b"thr\ree\r"];
        for part in 1..=text.len() {
            assert_eq!(split(text, part, 7).unwrap(), lines, "{part}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_permitted() {
        for part in 1..=8 {
            for end in ["\n", "\r\n"] {
                assert_eq!(split(format!("1234{end}").as_bytes(), part, 4).unwrap().len(), 1);
                let longer = split(format!("12345{end}").as_bytes(), part, 4);
                assert_eq!(longer, Err(LineTooLong), "{part}");
            }
            assert_eq!(split(b"123456", part, 4), Err(LineTooLong), "an end is not needed");
        }
    }
}
