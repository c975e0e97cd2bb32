//! `mmap(2)` and a write from the mapping: the kernel copies from the page cache without a detour
//! through a buffer of ours.
//!
//! Since Linux 2.0. One copy by the CPU instead of the two of `copy`. The file is mapped a window
//! at a time, so a file of a terabyte needs no more address space than a small one.
//!
//! What it does badly: every page that is new to the window is a fault, which costs more than the
//! copy it saves unless the pages are large; and unmapping makes other cores flush their
//! translations. A file that is cut off while it is mapped is `EFAULT` here, and SIGBUS for whoever
//! looks at it: nobody does (see `karez_sys::Mapping`). Between the look at the size and the
//! `send`, a file may be cut off within its last page; what is missing there goes out to a socket
//! as zeros. To a file the size is looked at again behind each write, and those zeros do not count.
//! A peer that has closed the connection is `EPIPE` without SIGPIPE (`MSG_NOSIGNAL`).

use karez_sys::{MSG_ZEROCOPY, Mapping};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::ops::Range;

use crate::ends::send_flags;
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};
use crate::window::{Window, bytes_behind};

/// The part of the file that is mapped.
#[derive(Debug, Default)]
pub(crate) struct Mmap {
    window: Window<Mapping>,
}

impl Mmap {
    /// Moves up to a chunk; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let (from, offset) = (piece.from.fd, piece.from.at.ok_or(Errno::OPNOTSUPP)?);
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let window = self.window.over(offset, piece.len, drop, |start, length| {
            report.calls.mmap += 1;
            let mapping = Mapping::of(from, start, length)?;
            report.calls.madvise += 1;
            Ok(mapping)
        });
        let (mapping, part) = window.map_err(Stop::Unavailable)?;
        deliver(mapping, part, there, piece, SendFlags::empty(), &mut report.calls)
    }
}

/// Hands a chunk of the mapping to the other end, of which the file has `there` bytes.
pub(crate) fn deliver(
    mapping: &Mapping,
    part: Range<usize>,
    there: u64,
    piece: Piece<'_>,
    flags: SendFlags,
    calls: &mut Calls,
) -> Result<u64, Stop> {
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let count = piece.count().min(part.len()).min(there);
    let chunk = part.start..part.start + count;
    let moved = match piece.to.at {
        None => {
            calls.sendto += 1;
            mapping.send(piece.to.fd, chunk, send_flags(piece, count) | flags)
        }
        Some(at) => {
            calls.pwrite64 += 1;
            mapping.write_at(piece.to.fd, at, chunk)
        }
    };
    let mut behind = || bytes_behind(piece.from.fd, piece.from.at.unwrap_or(0), calls);
    match moved {
        // Cut off since we looked: the truth is in the size.
        Err(Errno::FAULT) if behind()? == 0 => Ok(0),
        // The same within the last page: what lies behind the new end are zeros of the mapping's.
        Ok(moved) if piece.to.at.is_some() => {
            Ok(behind().map_or(moved as u64, |is| is.min(moved as u64)))
        }
        Ok(moved) => Ok(moved as u64),
        Err(errno) if errno == Errno::FAULT || flags.contains(MSG_ZEROCOPY) => {
            Err(Stop::writing(errno))
        }
        Err(errno) => Err(Stop::writing_plainly(errno)),
    }
}
