//! `sendfile(2)`: the kernel splices pages of the page cache into the socket.
//!
//! Since Linux 2.2 (file to socket), 2.6.33 (to any file). One system call per chunk, and no copy
//! by the CPU on the way to a socket if the device can gather (loopback and every modern card
//! can). On the way to a file the kernel copies from one file's pages to the other's.
//!
//! To a file it writes at the position of the descriptor, which all users of that open file
//! share. So the sink is opened a second time, once per transfer, and written through that descriptor;
//! the caller's position neither matters nor moves. If the file cannot be opened a second time (no
//! /proc, no permission, `O_APPEND`), the transfer falls back.
//!
//! # SIGPIPE
//! It has no `MSG_NOSIGNAL`: a peer that has closed the connection raises SIGPIPE, which ends the
//! process unless it is ignored or blocked (`sigaction(SIGPIPE, SIG_IGN)`, or
//! `pthread_sigmask` in the threads that step). Rust programs ignore it from the start; a library
//! that is loaded by a program in another language must do so itself, or choose [`copy`](super::copy).
//! With the signal ignored the error is `EPIPE`. To a file it raises none.
//!
//! # Limitations
//! It blocks the caller while pages are read from disk; since 4.3 it may stop short without `EAGAIN`,
//! so a short count does not mean a full socket; it cannot add a header (`MSG_MORE` on the `send`
//! before it does); and it sends references to the file's *pages*, which may change until the peer has
//! received them.

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::backend::Backend;
use crate::calls::Calls;
use crate::reopen::reopen;
use crate::report::Report;
use crate::step::{Blocked, Request};

#[derive(Debug, Default)]
pub(crate) struct Sendfile {
    /// The sink, if it is a file.
    sink: Option<SinkFile>,
}

/// A second descriptor of the sink, whose position no other user of the file sees.
#[derive(Debug)]
struct SinkFile {
    file: OwnedFd,
    /// `None` if a call has failed since the position was known.
    position: Option<u64>,
}

impl Backend for Sendfile {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let calls = &mut report.calls;
        match request.to.at {
            None => send(request.to.fd, request, calls),
            Some(at) => self.sink(request.to.fd, calls)?.send(at, request, calls),
        }
    }
}

impl Sendfile {
    fn sink(&mut self, file: BorrowedFd<'_>, calls: &mut Calls) -> Result<&mut SinkFile, Blocked> {
        let sink = match self.sink.take() {
            Some(sink) => sink,
            None => {
                let file = reopen(file, OFlags::WRONLY, calls).map_err(Blocked::Unavailable)?;
                SinkFile { file, position: Some(0) }
            }
        };
        Ok(self.sink.insert(sink))
    }
}

impl SinkFile {
    fn send(&mut self, at: u64, request: Request<'_>, calls: &mut Calls) -> Result<u64, Blocked> {
        if self.position.take() != Some(at) {
            calls.lseek += 1;
            rustix::fs::seek(&self.file, SeekFrom::Start(at))?;
        }
        let moved = send(self.file.as_fd(), request, calls)?;
        self.position = Some(at + moved);
        Ok(moved)
    }
}

fn send(to: BorrowedFd<'_>, request: Request<'_>, calls: &mut Calls) -> Result<u64, Blocked> {
    let mut from = request.source_offset()?;
    calls.sendfile += 1;
    rustix::fs::sendfile(to, request.from.fd, Some(&mut from), request.count())
        .map(|moved| moved as u64)
        .map_err(Blocked::writing)
}
