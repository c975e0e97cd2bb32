//! One `splice(2)`: where an end is a pipe, its pages go straight to the other end, or from there.
//!
//! Since Linux 2.6.17; from a pipe to a pipe since 2.6.31. The call never waits for a pipe
//! (`SPLICE_F_NONBLOCK`), whatever mode the pipe is in.
//!
//! # Limitations
//!
//! `EAGAIN` does not say which of two pipes it means, so one poll(2) asks. Terminals, files open
//! for appending, and whatever is no pipe at both ends are refused. A pipe without readers raises
//! SIGPIPE unless that is ignored, as it is in Rust programs.

use karez_sys::{Polled, poll};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::report::Report;
use crate::step::{Piece, Stop};

/// Moves up to a chunk; 0 means that the source ends there.
pub(crate) fn step(piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
    let (mut from, mut to) = (piece.from.at, piece.to.at);
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    report.calls.splice += 1;
    let (source, sink) = (piece.from.fd, piece.to.fd);
    match splice(source, from.as_mut(), sink, to.as_mut(), piece.count(), flags) {
        Ok(moved) => Ok(moved as u64),
        Err(Errno::AGAIN) if piece.from.at.is_some() => Err(Stop::Writable),
        Err(Errno::AGAIN) if piece.to.at.is_some() => Err(Stop::Readable),
        Err(Errno::AGAIN) if is_readable(source) => Err(Stop::Writable),
        Err(Errno::AGAIN) => Err(Stop::Readable),
        Err(errno) => Err(Stop::Refused(errno)),
    }
}

/// Whether a pipe has bytes, or its end.
fn is_readable(pipe: BorrowedFd<'_>) -> bool {
    let mut polled = [Polled::new(pipe, PollFlags::IN)];
    poll(&mut polled, Some(Duration::ZERO)).is_ok_and(|found| found > 0)
}
