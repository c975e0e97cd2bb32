//! `O_DIRECT` and `send(2)`: the disk writes into our buffer, and the page cache is left alone.
//!
//! open(2), since Linux 2.4.10; alignment by `STATX_DIOALIGN` (statx(2), 6.1), before that 4 KiB.
//! For what is read once and would only push others out of the cache.
//!
//! What it does badly: every read waits for the disk, also where the file is in the cache, and
//! blocks the caller meanwhile. Offsets, lengths and addresses must be aligned, so the head and
//! the tail of a range are read with bytes that nobody asked for. It needs a descriptor of its
//! own, opened through `/proc/self/fd`, for the flag belongs to the open file that others share.
//! Not every file system takes it; then the ladder goes on.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use rustix::io::{self, Errno};
use rustix::net::{SendFlags, send};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::aligned::{ALIGNMENT, Aligned, SIZE};
use crate::report::Calls;
use crate::step::Piece;

/// The file without its cache, and what has been read and not sent.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    file: Option<OwnedFd>,
    filled: Option<(Aligned, Range<usize>)>,
}

impl Direct {
    /// Sends up to `len` bytes from `offset`, which is where the bytes in the buffer begin; 0
    /// means that the file ends there. `more` says that the outbox has something behind these.
    pub(crate) fn step(&mut self, piece: Piece<'_>, calls: &mut Calls) -> io::Result<u64> {
        let Piece { file, offset, len, out, more } = piece;
        let (buffer, mut unsent) = match self.filled.take() {
            Some(filled) => filled,
            None => self.fill(file, offset, len, calls)?,
        };
        if unsent.is_empty() {
            buffer.give_back();
            return Ok(0);
        }
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more || (unsent.len() as u64) < len);
        calls.send += 1;
        let sent = send(out, &buffer.bytes()[unsent.clone()], flags);
        unsent.start += sent.unwrap_or(0);
        if unsent.is_empty() {
            buffer.give_back();
        } else {
            self.filled = Some((buffer, unsent));
        }
        sent.map(|sent| sent as u64)
    }

    /// Reads from the disk; which part of the buffer was asked for comes with it.
    fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        len: u64,
        calls: &mut Calls,
    ) -> io::Result<(Aligned, Range<usize>)> {
        let direct = match self.file.take() {
            Some(direct) => direct,
            None => open(file, calls)?,
        };
        let before = offset % ALIGNMENT as u64;
        let lead = usize::try_from(before).map_err(|_| Errno::OVERFLOW)?;
        let wanted = usize::try_from(len).unwrap_or(usize::MAX).min(SIZE - lead);
        let mut buffer = Aligned::take();
        let aligned = (lead + wanted).next_multiple_of(ALIGNMENT);
        calls.pread += 1;
        let read = rustix::io::pread(&direct, &mut buffer.bytes_mut()[..aligned], offset - before);
        self.file = Some(direct);
        let end = read?.min(lead + wanted);
        Ok((buffer, lead..end.max(lead)))
    }
}

/// The same file once more, for reading past the cache.
fn open(file: BorrowedFd<'_>, calls: &mut Calls) -> io::Result<OwnedFd> {
    calls.statx += 1;
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let known = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let largest = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align);
    if known && (largest == 0 || largest as usize > ALIGNMENT) {
        return Err(Errno::OPNOTSUPP);
    }
    calls.open += 1;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty());
    // No /proc, or a sandbox without it: not this way.
    opened.map_err(|errno| match errno {
        Errno::NOENT | Errno::ACCESS => Errno::OPNOTSUPP,
        errno => errno,
    })
}
