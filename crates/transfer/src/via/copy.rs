//! A read and a write: the bytes visit user space.
//!
//! `pread(2)` or `recv(2)`, then `send(2)` or `pwrite(2)`. Since always. It needs nothing of its
//! ends but that they can be read and written, so it is the last rung of every ladder.
//!
//! A peer that has closed the connection is `EPIPE` without SIGPIPE (`MSG_NOSIGNAL`).
//!
//! What it does badly: two system calls and two copies by the CPU per chunk, which also wash
//! through the caches. Of a file no unsent remainder is kept: what the socket did not take is read
//! again, so that ten thousand slow readers hold no buffer each. Of a socket it is kept, for it
//! cannot be read again.

use rustix::io::Errno;
use std::ops::Range;

use crate::device::Device;
use crate::ends;
use crate::nowait;
use crate::report::Report;
use crate::scratch;
use crate::step::{Edit, Piece, Stop};

/// What is read at a time. Measured, not derived: for a file of 128 KiB, copying by 48 KiB costs
/// 0.6 of what copying by 128 KiB does, for 1 MiB 0.75, most likely because the bytes are still in
/// a near cache when they are sent; by 16 KiB the calls cost more than that saves.
pub(crate) const CHUNK: u64 = 48 << 10;

/// What has left a socket and not reached the other end.
#[derive(Debug, Default)]
pub(crate) struct Copy {
    held: Option<(Vec<u8>, Range<usize>)>,
    /// Only bytes of a file that are in memory.
    nowait: bool,
    /// The file system cannot read like that (an overlay), or a sandbox does not let us: somebody
    /// else has to ask first.
    pub(crate) cannot_tell: bool,
    /// Where the file lies.
    device: Device,
}

impl Copy {
    /// Has it move, from now on, only bytes of a file that are in memory; or any.
    pub(crate) fn set_nowait(&mut self, nowait: bool, device: Device) {
        self.device = device;
        self.cannot_tell |= nowait && nowait::is_refused(device);
        self.nowait = nowait && !self.cannot_tell;
    }

    /// Goes on with bytes that another via had taken from the source.
    pub(crate) fn hold(&mut self, bytes: Vec<u8>) {
        let all = 0..bytes.len();
        self.held = Some((bytes, all));
    }

    /// Bytes taken from the source that the other end has not.
    pub(crate) fn in_flight(&self) -> usize {
        self.held.as_ref().map_or(0, |(_, unsent)| unsent.len())
    }

    /// Moves up to a chunk; 0 means that the source ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        if piece.from.at.is_none() {
            return self.kept(piece, report);
        }
        self.through(piece, report)
    }

    fn through(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let count = piece.count();
        scratch::with(count, |buffer| {
            let got = match ends::read(piece, &mut buffer[..count], self.nowait, &mut report.calls)
            {
                // If it was not for the flag, the next attempt meets the truth.
                Err(Stop::Refused(errno)) if self.nowait && errno != Errno::INTR => {
                    nowait::remember(self.device, errno);
                    (self.nowait, self.cannot_tell) = (false, true);
                    return Err(Stop::Refused(Errno::INTR)); // to be tried again
                }
                got => got?,
            };
            if got == 0 {
                return Ok(0);
            }
            apply(piece.edits, piece.from.at.unwrap_or(0), &mut buffer[..got]);
            ends::write(piece, &buffer[..got], &mut report.calls).map(|moved| moved as u64)
        })
    }

    fn kept(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let (buffer, mut unsent) = match self.held.take() {
            Some(held) => held,
            None => receive(piece, report)?,
        };
        if unsent.is_empty() {
            scratch::give_back(buffer);
            return Ok(0);
        }
        let moved = ends::write(piece, &buffer[unsent.clone()], &mut report.calls);
        unsent.start += moved.unwrap_or(0);
        if unsent.is_empty() {
            scratch::give_back(buffer);
        } else {
            self.held = Some((buffer, unsent));
        }
        moved.map(|moved| moved as u64)
    }
}

fn receive(piece: Piece<'_>, report: &mut Report) -> Result<(Vec<u8>, Range<usize>), Stop> {
    let count = piece.count();
    let mut buffer = scratch::take(count);
    match ends::read(piece, &mut buffer[..count], false, &mut report.calls) {
        Ok(got) => Ok((buffer, 0..got)),
        Err(stop) => {
            scratch::give_back(buffer);
            Err(stop)
        }
    }
}

/// Makes the edits in `bytes`, which stand at `offset` in the file.
pub(crate) fn apply(edits: &[Edit], offset: u64, bytes: &mut [u8]) {
    let first = edits.partition_point(|edit| edit.offset + edit.bytes.len() as u64 <= offset);
    let end = offset + bytes.len() as u64;
    for edit in edits[first..].iter().take_while(|edit| edit.offset < end) {
        let Some((at, new)) = edit.within(offset, bytes.len()) else {
            continue; // an edit without bytes
        };
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}
