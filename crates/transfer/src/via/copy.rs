//! A read and a write: the bytes pass through user space.
//!
//! `pread(2)` or `recv(2)`, then `send(2)` or `pwrite(2)`. Since always. Its ends need only be readable
//! and writable, so every fallback chain ends here.
//!
//! A peer that has closed the connection is `EPIPE` without SIGPIPE (`MSG_NOSIGNAL`).
//!
//! # Limitations
//!
//! Two system calls and two copies by the CPU per chunk, which also evict other data from the CPU
//! caches. Unsent bytes of a file are not kept: they are read again, so that ten thousand slow readers
//! hold no buffer each. Unsent bytes of a socket are kept, because they cannot be read again.

use rustix::io::Errno;
use std::io;
use std::ops::Range;

use crate::backend::Backend;
use crate::calls::Calls;
use crate::device::Device;
use crate::edit::apply;
use crate::endpoint_io;
use crate::nowait;
use crate::report::Report;
use crate::scratch;
use crate::step::{Blocked, Request};

/// The bytes of one read. Measured, not derived: for a file of 128 KiB, copying by 48 KiB costs
/// 0.6 of copying by 128 KiB, for 1 MiB 0.75, most likely because the bytes are still in
/// a near cache when they are sent; by 16 KiB the calls cost more than that saves.
const CHUNK: u64 = 48 << 10;

/// Bytes that have left a socket and not reached the sink.
#[derive(Debug, Default)]
pub(crate) struct Copy {
    held: Option<(Vec<u8>, Range<usize>)>,
    /// A file is read only from the page cache.
    nowait: bool,
    /// The file system (an overlay) or a sandbox refuses `RWF_NOWAIT`, so the page cache must be queried
    /// before each read.
    nowait_refused: bool,
    /// The device of the file.
    device: Device,
}

impl Backend for Copy {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        if request.from.at.is_none() {
            return self.forward(request, report);
        }
        self.read_and_write(request, report)
    }

    fn chunk(&self) -> u64 {
        CHUNK
    }

    fn reads_pages(&self) -> bool {
        self.nowait_refused
    }

    fn verifies(&self) -> bool {
        true
    }

    fn buffered(&self) -> usize {
        self.held.as_ref().map_or(0, |(_, unsent)| unsent.len())
    }

    fn take_buffered(&mut self, _calls: &mut Calls) -> io::Result<Vec<u8>> {
        let held = self.held.take();
        Ok(held.map_or_else(Vec::new, |(bytes, unsent)| bytes[unsent].to_vec()))
    }

    fn put_buffered(&mut self, bytes: Vec<u8>) {
        let all = 0..bytes.len();
        self.held = Some((bytes, all));
    }

    fn set_nowait(&mut self, nowait: bool, device: Device) {
        self.device = device;
        self.nowait_refused |= nowait && nowait::is_refused(device);
        self.nowait = nowait && !self.nowait_refused;
    }
}

impl Copy {
    fn read_and_write(
        &mut self,
        request: Request<'_>,
        report: &mut Report,
    ) -> Result<u64, Blocked> {
        let (count, calls) = (request.count(), &mut report.calls);
        scratch::with(count, |buffer| {
            let buffer = &mut buffer[..count];
            let read = match endpoint_io::read(request, buffer, self.nowait, calls) {
                // If the flag was not the cause, the next attempt returns the same error.
                Err(Blocked::Rejected(errno)) if self.nowait && errno != Errno::INTR => {
                    nowait::remember(self.device, errno);
                    (self.nowait, self.nowait_refused) = (false, true);
                    return Err(Blocked::Retry);
                }
                read => read?,
            };
            if read == 0 {
                return Ok(0);
            }
            request.verify(read, calls)?;
            apply(request.edits, request.from.at.unwrap_or(0), &mut buffer[..read]);
            endpoint_io::write(request, &buffer[..read], calls).map(|moved| moved as u64)
        })
    }

    fn forward(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (buffer, mut unsent) = match self.held.take() {
            Some(held) => held,
            None => receive(request, report)?,
        };
        if unsent.is_empty() {
            scratch::give_back(buffer);
            return Ok(0);
        }
        let part = front(&unsent, request);
        let moved = endpoint_io::write(request, &buffer[part], &mut report.calls);
        unsent.start += moved.unwrap_or(0);
        if unsent.is_empty() {
            scratch::give_back(buffer);
        } else {
            self.held = Some((buffer, unsent));
        }
        moved.map(|moved| moved as u64)
    }
}

/// Returns the part of a buffer that this step may move. An earlier one may have read more.
pub(crate) fn front(unsent: &Range<usize>, request: Request<'_>) -> Range<usize> {
    unsent.start..unsent.end.min(unsent.start.saturating_add(request.count()))
}

fn receive(request: Request<'_>, report: &mut Report) -> Result<(Vec<u8>, Range<usize>), Blocked> {
    let count = request.count();
    let mut buffer = scratch::take(count);
    match endpoint_io::read(request, &mut buffer[..count], false, &mut report.calls) {
        Ok(read) => Ok((buffer, 0..read)),
        Err(blocked) => {
            scratch::give_back(buffer);
            Err(blocked)
        }
    }
}
