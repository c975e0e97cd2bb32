//! One `splice(2)` for an end that is a pipe itself: its pages pass straight to or from the other end.
//!
//! Since Linux 2.6.17; from a pipe to a pipe since 2.6.31. The call never blocks on a pipe
//! (`SPLICE_F_NONBLOCK`), whatever mode the pipe is in.
//!
//! # Limitations
//!
//! `EAGAIN` does not tell two pipes apart, so one poll(2) follows. Terminals, files open
//! for appending, and ends of which neither is a pipe are unsupported. A pipe without readers raises
//! SIGPIPE unless that is ignored, as it is in Rust programs.

use karez_sys::{PollEntry, poll};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::backend::Backend;
use crate::report::Report;
use crate::step::{Blocked, Request};

#[derive(Debug)]
pub(crate) struct SplicePipe;

impl Backend for SplicePipe {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (mut from, mut to) = (request.from.at, request.to.at);
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        report.calls.splice += 1;
        let (source, sink) = (request.from.fd, request.to.fd);
        match splice(source, from.as_mut(), sink, to.as_mut(), request.count(), flags) {
            Ok(moved) => Ok(moved as u64),
            Err(Errno::AGAIN) if request.from.at.is_some() => Err(Blocked::Writable),
            Err(Errno::AGAIN) if request.to.at.is_some() => Err(Blocked::Readable),
            Err(Errno::AGAIN) if is_readable(source) => Err(Blocked::Writable),
            Err(Errno::AGAIN) => Err(Blocked::Readable),
            Err(errno) => Err(Blocked::Rejected(errno)),
        }
    }
}

/// Returns whether a pipe has bytes, or has ended.
fn is_readable(pipe: BorrowedFd<'_>) -> bool {
    let mut entry = [PollEntry::new(pipe, PollFlags::IN)];
    poll(&mut entry, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0)
}
