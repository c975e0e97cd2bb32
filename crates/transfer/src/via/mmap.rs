//! `mmap(2)` and `send(2)`: the kernel copies from the page cache without a detour through a
//! buffer of ours.
//!
//! Since Linux 2.0. One copy by the CPU instead of the two of `copy`. The file is mapped a window
//! at a time, so a file of a terabyte needs no more address space than a small one.
//!
//! What it does badly: every page that is new to the window is a fault, which costs more than the
//! copy it saves unless the pages are large; and unmapping makes other cores flush their
//! translations. A file that is cut off while it is mapped is `EFAULT` here, and SIGBUS for whoever
//! looks at it: nobody does (see `karez_sys::Mapping`). Between the look at the size and the
//! `send`, a file may be cut off within its last page; what is missing there goes out as zeros.

use karez_sys::{Mapping, page_size};
use rustix::io::{self, Errno};
use rustix::net::SendFlags;
use std::os::fd::BorrowedFd;

use crate::report::Calls;
use crate::step::Piece;

/// How much is mapped at a time.
const WINDOW: u64 = 4 << 20;

/// How much one step sends.
const CHUNK: u64 = 1 << 20;

/// The part of the file that is mapped.
#[derive(Debug, Default)]
pub(crate) struct Mmap {
    window: Option<(u64, Mapping)>,
}

impl Mmap {
    /// Sends up to `len` bytes from `offset`; 0 means that the file ends there.
    /// `more` says that the outbox has something behind these bytes.
    pub(crate) fn step(&mut self, piece: Piece<'_>, calls: &mut Calls) -> io::Result<u64> {
        let Piece { file, offset, len, out, more } = piece;
        let there = size(file, calls)?.saturating_sub(offset);
        if there == 0 {
            return Ok(0);
        }
        let (start, mapping) = self.window(file, offset, len, calls)?;
        let from = usize::try_from(offset - start).map_err(|_| Errno::OVERFLOW)?;
        let count = len.min(there).min(CHUNK).min((mapping.length() - from) as u64);
        let to = from + usize::try_from(count).map_err(|_| Errno::OVERFLOW)?;
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more || count < len);
        calls.send += 1;
        match mapping.send(out, from..to, flags) {
            // Cut off since we looked: the truth is in the size.
            Err(Errno::FAULT) if size(file, calls)? <= offset => Ok(0),
            sent => sent.map(|sent| sent as u64),
        }
    }

    /// The window that `offset` is in, mapped anew if it is behind the present one.
    fn window(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        len: u64,
        calls: &mut Calls,
    ) -> io::Result<&(u64, Mapping)> {
        let within = |(start, mapping): &(u64, Mapping)| {
            (*start..start + mapping.length() as u64).contains(&offset)
        };
        if !self.window.as_ref().is_some_and(within) {
            self.window = None; // before the next: one window at a time
            let start = offset - offset % page_size() as u64;
            let length = (offset - start + len).min(WINDOW);
            let length = usize::try_from(length).map_err(|_| Errno::OVERFLOW)?;
            calls.mmap += 1;
            self.window = Some((start, Mapping::of(file, start, length)?));
        }
        self.window.as_ref().ok_or(Errno::INVAL)
    }
}

fn size(file: BorrowedFd<'_>, calls: &mut Calls) -> io::Result<u64> {
    calls.fstat += 1;
    let stat = rustix::fs::fstat(file)?;
    u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)
}
