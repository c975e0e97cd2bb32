//! `sendfile(2)`: the kernel splices pages of the page cache into the socket.
//!
//! Since Linux 2.2 (file to socket), 2.6.33 (to any file). One system call per chunk, and no copy
//! by the CPU on the way to a socket where the device can gather (loopback and every modern card
//! can). On the way to a file the kernel copies from one file's pages to the other's.
//!
//! To a file it writes at the position of the descriptor, which all holders of that open file
//! share. So the sink is opened again, once a transfer, and written by a descriptor of its own; the
//! caller's position neither matters nor moves. Where the file cannot be opened again (no /proc, no
//! permission, `O_APPEND`), the transfer falls back.
//!
//! # SIGPIPE
//! It knows no `MSG_NOSIGNAL`: a peer that has closed the connection raises SIGPIPE, which ends the
//! process unless it is ignored or blocked (`sigaction(SIGPIPE, SIG_IGN)`, or
//! `pthread_sigmask` in the threads that step). Rust programs ignore it from the start; a library
//! that is loaded by a program in another language has to see to it, or choose [`copy`](super::copy).
//! With the signal ignored the error is `EPIPE`. To a file nothing raises it.
//!
//! # Limitations
//! It blocks the caller while cold pages are read; since 4.3 it may stop short without `EAGAIN`, so
//! a short count says nothing about the socket; it cannot add a header (`MSG_MORE` on the `send`
//! before it does); and the bytes are the file's *pages*: they may change until the peer has them.

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::reopen::reopen;
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};

/// The sink, if that is a file.
#[derive(Debug, Default)]
pub(crate) struct Sendfile {
    sink: Option<Sink>,
}

/// A file by a descriptor whose position no one else can see.
#[derive(Debug)]
struct Sink {
    file: OwnedFd,
    /// `None` when a call failed since it was known.
    position: Option<u64>,
}

impl Sendfile {
    /// Moves up to a chunk; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let calls = &mut report.calls;
        match piece.to.at {
            None => send(piece.to.fd, piece, calls),
            Some(at) => self.sink(piece.to.fd, calls)?.send(at, piece, calls),
        }
    }

    fn sink(&mut self, file: BorrowedFd<'_>, calls: &mut Calls) -> Result<&mut Sink, Stop> {
        let sink = match self.sink.take() {
            Some(sink) => sink,
            None => {
                let file = reopen(file, OFlags::WRONLY, calls).map_err(Stop::Unavailable)?;
                Sink { file, position: Some(0) }
            }
        };
        Ok(self.sink.insert(sink))
    }
}

impl Sink {
    fn send(&mut self, at: u64, piece: Piece<'_>, calls: &mut Calls) -> Result<u64, Stop> {
        if self.position.take() != Some(at) {
            calls.lseek += 1;
            rustix::fs::seek(&self.file, SeekFrom::Start(at))?;
        }
        let moved = send(self.file.as_fd(), piece, calls)?;
        self.position = Some(at + moved);
        Ok(moved)
    }
}

fn send(to: BorrowedFd<'_>, piece: Piece<'_>, calls: &mut Calls) -> Result<u64, Stop> {
    let mut from = piece.from.at.ok_or(Errno::OPNOTSUPP)?;
    calls.sendfile += 1;
    rustix::fs::sendfile(to, piece.from.fd, Some(&mut from), piece.count())
        .map(|moved| moved as u64)
        .map_err(Stop::writing)
}
