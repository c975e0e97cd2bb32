//! An open wish to relay: two sockets that do not block, and a transfer each way by splice(2).
//!
//! The end of what one side says is passed on to the other, and the other way goes on.
//!
//! What it does badly: each way keeps a pipe of its own, two descriptors and the pages in it, for
//! as long as the relay lasts; and one way that fails ends the other.

use karez_transfer::{Progress, SocketToSocket, Via};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::demultiplexer::{Interest, Ready};
use crate::error::named;

pub(crate) struct Relaying {
    upstream: OwnedFd,
    /// What the upstream is watched for; `None` before it is watched at all.
    pub(crate) watched: Option<Interest>,
    forth: Lane,
    back: Lane,
    stall: Duration,
    since: Instant,
}

/// One way.
struct Lane {
    transfer: SocketToSocket,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Goes,
    /// There is nothing to take.
    Source,
    /// Nobody takes it.
    Sink,
    Over,
}

/// What came of one step.
pub(crate) enum Step {
    Moved(u64),
    Wait,
    Relayed,
    Failed(io::Error),
}

impl Relaying {
    /// # Errors
    /// What is no socket, or no descriptor at all.
    pub(crate) fn new(upstream: OwnedFd, stall: Duration, now: Instant) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&upstream, true).map_err(named("ioctl FIONBIO"))?;
        let (forth, back) = (Lane::new(), Lane::new());
        Ok(Self { upstream, watched: None, forth, back, stall, since: now })
    }

    pub(crate) fn upstream(&self) -> BorrowedFd<'_> {
        self.upstream.as_fd()
    }

    /// When to give up.
    pub(crate) fn until(&self) -> Instant {
        self.since + self.stall
    }

    /// Bytes from the client, and bytes from the upstream.
    pub(crate) fn moved(&self) -> [u64; 2] {
        [&self.forth, &self.back].map(|lane| lane.transfer.report().bytes)
    }

    /// Whether the upstream may still have something to say to the client.
    pub(crate) fn client_hears(&self) -> bool {
        !self.back.is_over()
    }

    /// What the client has to be watched for.
    pub(crate) fn wanted(&self) -> Interest {
        watching(&self.forth, &self.back)
    }

    /// What the upstream has to be watched for.
    pub(crate) fn wanted_upstream(&self) -> Interest {
        watching(&self.back, &self.forth)
    }

    /// Remembers what was reported of the client.
    pub(crate) fn note(&mut self, report: Ready) {
        self.forth.wake(State::Source, report.readable || report.hang_up);
        self.back.wake(State::Sink, report.writable || report.hang_up);
    }

    /// Remembers what was reported of the upstream.
    pub(crate) fn note_upstream(&mut self, report: Ready) {
        self.back.wake(State::Source, report.readable || report.hang_up);
        self.forth.wake(State::Sink, report.writable || report.hang_up);
    }

    /// Goes on by a share each way.
    pub(crate) fn step(&mut self, client: BorrowedFd<'_>) -> Step {
        let upstream = self.upstream.as_fd();
        let forth = self.forth.step(client, upstream);
        let moved = forth.and_then(|forth| Ok(forth + self.back.step(upstream, client)?));
        match moved {
            Err(error) => Step::Failed(error),
            _ if self.forth.is_over() && self.back.is_over() => Step::Relayed,
            Ok(0) if self.forth.rests() && self.back.rests() => Step::Wait,
            Ok(moved) => {
                self.since = Instant::now();
                Step::Moved(moved)
            }
        }
    }
}

impl Lane {
    fn new() -> Self {
        Self { transfer: SocketToSocket::new(None, Via::Splice), state: State::Goes }
    }

    fn wake(&mut self, state: State, is_there: bool) {
        if is_there && self.state == state {
            self.state = State::Goes;
        }
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn rests(&self) -> bool {
        self.state != State::Goes
    }

    fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<u64> {
        if self.rests() {
            return Ok(0);
        }
        match self.transfer.step(from, to)? {
            Progress::Moved(count) => return Ok(count),
            Progress::NeedsReadable => self.state = State::Source,
            Progress::NeedsWritable => self.state = State::Sink,
            _ => {
                self.state = State::Over;
                // Whoever is gone already needs no FIN.
                let _gone = shutdown(to, Shutdown::Write);
            }
        }
        Ok(0)
    }
}

/// What a socket is watched for that is the source of one way and the sink of another.
fn watching(out_of: &Lane, into: &Lane) -> Interest {
    let (readable, writable) = (out_of.state == State::Source, into.state == State::Sink);
    Interest { readable, writable, ..Interest::NONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn it_is_by_splice() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (there, listener.accept().unwrap().0)
        };
        let ((mut client, near), (upstream, mut server)) = (pair(), pair());
        near.set_nonblocking(true).unwrap();
        let stall = Duration::from_secs(60);
        let mut relaying = Relaying::new(upstream.into(), stall, Instant::now()).unwrap();
        client.write_all(b"water").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let everything = Ready::anything(crate::demultiplexer::Token(0));
        loop {
            match relaying.step(near.as_fd()) {
                Step::Relayed => break,
                Step::Failed(error) => panic!("{error}"),
                Step::Moved(_) | Step::Wait => {
                    relaying.note(everything);
                    relaying.note_upstream(everything);
                }
            }
        }
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), relaying.moved()), ("water", [5, 0]));
        for lane in [&relaying.forth, &relaying.back] {
            assert_eq!(lane.transfer.report().ran, Via::Splice);
        }
    }
}
