//! A relay on a readiness model: two sockets that do not block, and a transfer each way by splice(2).
//!
//! The end of one side's stream is passed on to the other side, and the other direction goes on.
//!
//! # Limitations
//!
//! Each direction keeps a pipe of its own, two descriptors and the pages in it, for as long as the relay
//! lasts; and an error in one direction ends the other.

use karez_transfer::{Progress, SocketToSocket, Via};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::error::named;
use crate::selector::{Interest, Ready};
use crate::task::RelayEnd;

/// A relay between a client and an upstream.
pub(crate) struct SpliceRelay {
    upstream: OwnedFd,
    /// The registered interest of the upstream; `None` before it is registered.
    pub(crate) watched: Option<Interest>,
    to_upstream: SplicePump,
    to_client: SplicePump,
    stall: Duration,
    since: Instant,
}

/// One direction.
struct SplicePump {
    transfer: SocketToSocket,
    state: PumpState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PumpState {
    Moving,
    /// The source has nothing to read.
    Source,
    /// The sink takes nothing.
    Sink,
    Over,
}

/// The result of one step.
pub(crate) enum RelayStep {
    Moved(u64),
    Blocked,
    Done,
    Failed(io::Error),
}

impl SpliceRelay {
    /// # Errors
    /// `upstream` is no socket.
    pub(crate) fn new(upstream: OwnedFd, stall: Duration, now: Instant) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&upstream, true).map_err(named("ioctl FIONBIO"))?;
        let (to_upstream, to_client) = (SplicePump::new(), SplicePump::new());
        Ok(Self { upstream, watched: None, to_upstream, to_client, stall, since: now })
    }

    pub(crate) fn upstream(&self) -> BorrowedFd<'_> {
        self.upstream.as_fd()
    }

    /// Returns when it times out.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.stall
    }

    /// Returns how it ended.
    pub(crate) fn end(&self, error: Option<io::Error>) -> RelayEnd {
        let [to_upstream, to_client] =
            [&self.to_upstream, &self.to_client].map(|pump| pump.transfer.report().bytes);
        RelayEnd { to_upstream, to_client, error }
    }

    /// Returns whether the upstream may still send something to the client.
    pub(crate) fn expects_upstream(&self) -> bool {
        !self.to_client.is_over()
    }

    /// Returns the interest to watch the client for.
    pub(crate) fn wanted(&self) -> Interest {
        watching(&self.to_upstream, &self.to_client)
    }

    /// Returns the interest to watch the upstream for.
    pub(crate) fn wanted_upstream(&self) -> Interest {
        watching(&self.to_client, &self.to_upstream)
    }

    /// Remembers a report of the client.
    pub(crate) fn set_ready(&mut self, report: Ready) {
        self.to_upstream.wake(PumpState::Source, report.readable || report.read_closed);
        self.to_client.wake(PumpState::Sink, report.writable || report.read_closed);
    }

    /// Remembers a report of the upstream.
    pub(crate) fn set_upstream_ready(&mut self, report: Ready) {
        self.to_client.wake(PumpState::Source, report.readable || report.read_closed);
        self.to_upstream.wake(PumpState::Sink, report.writable || report.read_closed);
    }

    /// Moves a bounded amount in each direction.
    pub(crate) fn step(&mut self, client: BorrowedFd<'_>) -> RelayStep {
        let upstream = self.upstream.as_fd();
        let to_upstream = self.to_upstream.step(client, upstream);
        let moved = to_upstream
            .and_then(|to_upstream| Ok(to_upstream + self.to_client.step(upstream, client)?));
        match moved {
            Err(error) => RelayStep::Failed(error),
            _ if self.to_upstream.is_over() && self.to_client.is_over() => RelayStep::Done,
            Ok(0) if self.to_upstream.is_blocked() && self.to_client.is_blocked() => {
                RelayStep::Blocked
            }
            Ok(moved) => {
                self.since = Instant::now();
                RelayStep::Moved(moved)
            }
        }
    }
}

impl SplicePump {
    fn new() -> Self {
        Self { transfer: SocketToSocket::new(None, Via::Splice), state: PumpState::Moving }
    }

    fn wake(&mut self, state: PumpState, is_there: bool) {
        if is_there && self.state == state {
            self.state = PumpState::Moving;
        }
    }

    fn is_over(&self) -> bool {
        self.state == PumpState::Over
    }

    fn is_blocked(&self) -> bool {
        self.state != PumpState::Moving
    }

    fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<u64> {
        if self.is_blocked() {
            return Ok(0);
        }
        match self.transfer.step(from, to)? {
            Progress::Moved(count) => return Ok(count),
            Progress::NeedsReadable => self.state = PumpState::Source,
            Progress::NeedsWritable => self.state = PumpState::Sink,
            _ => {
                self.state = PumpState::Over;
                // A peer that has closed the connection needs no FIN.
                let _closed = shutdown(to, Shutdown::Write);
            }
        }
        Ok(0)
    }
}

/// Returns the interest in a socket that is the source of one direction and the sink of the other.
fn watching(out_of: &SplicePump, into: &SplicePump) -> Interest {
    let (readable, writable) = (out_of.state == PumpState::Source, into.state == PumpState::Sink);
    Interest { readable, writable, ..Interest::NONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn bytes_are_spliced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (there, listener.accept().unwrap().0)
        };
        let ((mut client, near), (upstream, mut server)) = (pair(), pair());
        near.set_nonblocking(true).unwrap();
        let stall = Duration::from_secs(60);
        let mut relay = SpliceRelay::new(upstream.into(), stall, Instant::now()).unwrap();
        client.write_all(b"water").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let everything = Ready::everything(crate::selector::Token(0));
        loop {
            match relay.step(near.as_fd()) {
                RelayStep::Done => break,
                RelayStep::Failed(error) => panic!("{error}"),
                RelayStep::Moved(_) | RelayStep::Blocked => {
                    relay.set_ready(everything);
                    relay.set_upstream_ready(everything);
                }
            }
        }
        let mut received = String::new();
        server.read_to_string(&mut received).unwrap();
        let RelayEnd { to_upstream, to_client, .. } = relay.end(None);
        assert_eq!((received.as_str(), to_upstream, to_client), ("water", 5, 0));
        for pump in [&relay.to_upstream, &relay.to_client] {
            assert_eq!(pump.transfer.report().effective, Via::Splice);
        }
    }
}
