//! A relay on a readiness model: two sockets that do not block, and a transfer each way by splice(2).
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

use crate::error::named;
use crate::selector::{Interest, Ready};

pub(crate) struct Relay {
    upstream: OwnedFd,
    /// What the upstream is watched for; `None` before it is watched at all.
    pub(crate) watched: Option<Interest>,
    to_upstream: Pump,
    to_client: Pump,
    stall: Duration,
    since: Instant,
}

/// One way.
struct Pump {
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
    Blocked,
    Done,
    Failed(io::Error),
}

impl Relay {
    /// # Errors
    /// What is no socket, or no descriptor at all.
    pub(crate) fn new(upstream: OwnedFd, stall: Duration, now: Instant) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&upstream, true).map_err(named("ioctl FIONBIO"))?;
        let (to_upstream, to_client) = (Pump::new(), Pump::new());
        Ok(Self { upstream, watched: None, to_upstream, to_client, stall, since: now })
    }

    pub(crate) fn upstream(&self) -> BorrowedFd<'_> {
        self.upstream.as_fd()
    }

    /// When to give up.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.stall
    }

    /// Bytes from the client, and bytes from the upstream.
    pub(crate) fn moved(&self) -> [u64; 2] {
        [&self.to_upstream, &self.to_client].map(|pump| pump.transfer.report().bytes)
    }

    /// Whether the upstream may still have something to say to the client.
    pub(crate) fn expects_upstream(&self) -> bool {
        !self.to_client.is_over()
    }

    /// What the client has to be watched for.
    pub(crate) fn wanted(&self) -> Interest {
        watching(&self.to_upstream, &self.to_client)
    }

    /// What the upstream has to be watched for.
    pub(crate) fn wanted_upstream(&self) -> Interest {
        watching(&self.to_client, &self.to_upstream)
    }

    /// Remembers what was reported of the client.
    pub(crate) fn set_ready(&mut self, report: Ready) {
        self.to_upstream.wake(State::Source, report.readable || report.hang_up);
        self.to_client.wake(State::Sink, report.writable || report.hang_up);
    }

    /// Remembers what was reported of the upstream.
    pub(crate) fn set_upstream_ready(&mut self, report: Ready) {
        self.to_client.wake(State::Source, report.readable || report.hang_up);
        self.to_upstream.wake(State::Sink, report.writable || report.hang_up);
    }

    /// Goes on by a share each way.
    pub(crate) fn step(&mut self, client: BorrowedFd<'_>) -> Step {
        let upstream = self.upstream.as_fd();
        let to_upstream = self.to_upstream.step(client, upstream);
        let moved = to_upstream
            .and_then(|to_upstream| Ok(to_upstream + self.to_client.step(upstream, client)?));
        match moved {
            Err(error) => Step::Failed(error),
            _ if self.to_upstream.is_over() && self.to_client.is_over() => Step::Done,
            Ok(0) if self.to_upstream.is_blocked() && self.to_client.is_blocked() => Step::Blocked,
            Ok(moved) => {
                self.since = Instant::now();
                Step::Moved(moved)
            }
        }
    }
}

impl Pump {
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

    fn is_blocked(&self) -> bool {
        self.state != State::Goes
    }

    fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<u64> {
        if self.is_blocked() {
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
fn watching(out_of: &Pump, into: &Pump) -> Interest {
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
        let mut relay = Relay::new(upstream.into(), stall, Instant::now()).unwrap();
        client.write_all(b"water").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let everything = Ready::anything(crate::selector::Token(0));
        loop {
            match relay.step(near.as_fd()) {
                Step::Done => break,
                Step::Failed(error) => panic!("{error}"),
                Step::Moved(_) | Step::Blocked => {
                    relay.set_ready(everything);
                    relay.set_upstream_ready(everything);
                }
            }
        }
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), relay.moved()), ("water", [5, 0]));
        for pump in [&relay.to_upstream, &relay.to_client] {
            assert_eq!(pump.transfer.report().ran, Via::Splice);
        }
    }
}
