//! The events of an inotify instance as read(2) returns them (inotify(7)): a header of 16 bytes
//! (watch descriptor, mask, cookie, length), then a name padded with NUL bytes.
//!
//! A read returns whole events only, and as many as fit, so a read that leaves room for the longest
//! event has emptied the queue: a second read is needed only behind a full buffer.

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, read};

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The watch descriptor; -1 of an overflow.
    pub(super) watch: i32,
    /// The name in the watched directory; empty if the event is about the watched inode itself.
    pub(super) name: &'a [u8],
}

impl Event<'_> {
    /// Returns whether events were lost (`IN_Q_OVERFLOW`).
    pub(super) fn is_overflow(&self) -> bool {
        self.watch < 0
    }
}

/// The buffer that events are read into.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; SIZE].into_boxed_slice(), filled: 0 }
    }
}

impl Buffer {
    /// Reads events without blocking, and returns whether the queue may hold more of them.
    pub(super) fn fill(&mut self, inotify: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.filled = 0;
        loop {
            match read(inotify, &mut self.bytes[..]) {
                Ok(length) => {
                    self.filled = length;
                    return Ok(length + LONGEST > self.bytes.len());
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Returns the event at an offset, and the offset behind it.
    pub(super) fn event_at(&self, offset: usize) -> Option<(Event<'_>, usize)> {
        let rest = self.bytes[..self.filled].get(offset..).filter(|rest| !rest.is_empty())?;
        // The kernel returns whole events; anything else is taken for a loss of events.
        Some(match parse(rest) {
            Some((event, length)) => (event, offset + length),
            None => (Event { watch: -1, name: b"" }, self.filled),
        })
    }
}

fn parse(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let watch = i32::from_ne_bytes(header[..4].try_into().ok()?);
    let length = u32::from_ne_bytes(header[12..].try_into().ok()?);
    let padded = rest.get(..usize::try_from(length).ok()?)?;
    let end = padded.iter().position(|&byte| byte == 0).unwrap_or(padded.len());
    Some((Event { watch, name: &padded[..end] }, HEADER + padded.len()))
}

const SIZE: usize = 8 << 10;
const HEADER: usize = 16;
/// Header, the longest name, its NUL byte, padded to a multiple of the header.
const LONGEST: usize = HEADER + 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(watch: i32, name: &[u8], padding: usize) -> Vec<u8> {
        let length = u32::try_from(name.len() + padding).unwrap();
        let mut bytes = [&watch.to_ne_bytes()[..], &[0; 8], &length.to_ne_bytes()].concat();
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len() + padding, 0);
        bytes
    }

    fn buffer(bytes: &[u8]) -> Buffer {
        Buffer { bytes: bytes.into(), filled: bytes.len() }
    }

    #[test]
    fn events_follow_each_other() {
        let bytes = [event(3, b"name", 12), event(4, b"", 0), event(-1, b"", 0)].concat();
        let buffer = buffer(&bytes);
        let (first, next) = buffer.event_at(0).unwrap();
        assert_eq!(first, Event { watch: 3, name: b"name" });
        let (second, next) = buffer.event_at(next).unwrap();
        assert_eq!(second, Event { watch: 4, name: b"" });
        let (third, next) = buffer.event_at(next).unwrap();
        assert!(third.is_overflow() && !second.is_overflow());
        assert_eq!(buffer.event_at(next), None);
    }

    #[test]
    fn a_cut_event_counts_as_a_loss() {
        let whole = event(3, b"name", 12);
        for length in 1..whole.len() {
            let buffer = buffer(&whole[..length]);
            let (event, next) = buffer.event_at(0).unwrap();
            assert!(event.is_overflow(), "{length}");
            assert_eq!(buffer.event_at(next), None);
        }
    }
}
