//! `mmap(2)` and a write from the mapping: the kernel copies straight from the page cache.
//!
//! Since Linux 2.0. One copy by the CPU instead of the two of `copy`. The file is mapped one window
//! at a time, so a file of a terabyte needs no more address space than a small one.
//!
//! A truncated file is `EFAULT` here; a user-space read of the mapping would raise SIGBUS, and there is
//! none (see `karez_sys::Mapping`). A peer that has closed the connection is `EPIPE` without SIGPIPE
//! (`MSG_NOSIGNAL`).
//!
//! # Limitations
//!
//! Every page that is new to the window costs a fault, which is more than the saved copy unless the
//! pages are large, and unmapping flushes the TLBs of other cores. A file may be truncated within its
//! last page between the fstat(2) and the `send`; the missing bytes are then sent to a socket as
//! zeros. For a sink file the size is checked again after each write, and such zeros do not count.

use karez_sys::{MSG_ZEROCOPY, Mapping};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::ops::Range;

use crate::backend::Backend;
use crate::calls::Calls;
use crate::endpoint_io::send_flags;
use crate::report::{Reason, Report};
use crate::step::{Blocked, Request};
use crate::window::{Window, bytes_behind};

/// The part of the file that is mapped.
#[derive(Debug, Default)]
pub(crate) struct Mmap {
    window: Window<Mapping>,
}

impl Backend for Mmap {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (from, offset) = (request.from.fd, request.source_offset()?);
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let window = self.window.over(offset, request.len, drop, |start, length| {
            report.calls.mmap += 1;
            let mapping = Mapping::of(from, start, length)?;
            report.calls.madvise += 1;
            Ok(mapping)
        });
        let unavailable = |errno| Blocked::Unavailable(Reason::Errno(errno));
        let (mapping, part) = window.map_err(unavailable)?;
        send_chunk(mapping, part, there, request, SendFlags::empty(), &mut report.calls)
    }
}

/// Writes a chunk of the mapping to the sink; the file has `there` bytes behind the cursor.
pub(crate) fn send_chunk(
    mapping: &Mapping,
    part: Range<usize>,
    there: u64,
    request: Request<'_>,
    flags: SendFlags,
    calls: &mut Calls,
) -> Result<u64, Blocked> {
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let count = request.count().min(part.len()).min(there);
    let chunk = part.start..part.start + count;
    let moved = match request.to.at {
        None => {
            calls.sendto += 1;
            mapping.send(request.to.fd, chunk, send_flags(request, count) | flags)
        }
        Some(at) => {
            calls.pwrite64 += 1;
            mapping.write_at(request.to.fd, at, chunk)
        }
    };
    let mut behind = || bytes_behind(request.from.fd, request.from.at.unwrap_or(0), calls);
    match moved {
        // Truncated since the fstat: the size decides.
        Err(Errno::FAULT) if behind()? == 0 => Ok(0),
        // Truncated within the last page: the bytes behind the new end are zeros of the mapping.
        Ok(moved) if request.to.at.is_some() => {
            Ok(behind().map_or(moved as u64, |is| is.min(moved as u64)))
        }
        Ok(moved) => Ok(moved as u64),
        Err(errno) if errno == Errno::FAULT || flags.contains(MSG_ZEROCOPY) => {
            Err(Blocked::writing(errno))
        }
        Err(errno) => Err(Blocked::writing_plainly(errno)),
    }
}
