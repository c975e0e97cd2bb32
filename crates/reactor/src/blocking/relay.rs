//! A relay on a thread of its own: poll(2) over both sockets, which do not block.
//!
//! # Limitations
//!
//! Each wait is a call of its own, where a thread for each direction could block in splice(2).

use rustix::event::{PollFd, PollFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::wait;
use crate::readiness::relay::{RelayStep, SpliceRelay};
use crate::selector::{Interest, Ready, Token};
use crate::task::RelayEnd;

/// Relays until both sides have ended, or nothing moves. The client's socket does not block.
pub(super) fn relay(client: &OwnedFd, upstream: OwnedFd, stall: Duration) -> RelayEnd {
    let mut relay = match SpliceRelay::new(upstream, stall, Instant::now()) {
        Ok(relay) => relay,
        Err(error) => return RelayEnd::failed(error),
    };
    let complete = drive(client, &mut relay);
    relay.end(match complete {
        Ok(true) => None,
        Ok(false) => Some(io::ErrorKind::TimedOut.into()),
        Err(error) => Some(error),
    })
}

/// Relays; false if nothing moved for too long.
fn drive(client: &OwnedFd, relay: &mut SpliceRelay) -> io::Result<bool> {
    loop {
        match relay.step(client.as_fd()) {
            RelayStep::Moved(_) => {}
            RelayStep::Done => return Ok(true),
            RelayStep::Failed(error) => return Err(error),
            RelayStep::Blocked => {
                if !wait(client, relay)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// Waits for either socket; false if the time is up. A socket that is not waited for is left out, for its
/// hang-up would be reported all the time. But a hang-up of the client before the upstream has ended its
/// stream ends the relay: the server shuts down.
fn wait(client: &OwnedFd, relay: &mut SpliceRelay) -> io::Result<bool> {
    let expects_more = relay.expects_upstream();
    let (wanted, wanted_upstream) = (relay.wanted(), relay.wanted_upstream());
    let (mut fds, until) = (Vec::with_capacity(2), relay.deadline());
    if expects_more || wanted != Interest::NONE {
        fds.push(PollFd::new(client, flags(wanted)));
    }
    let clients = fds.len();
    if wanted_upstream != Interest::NONE {
        fds.push(PollFd::from_borrowed_fd(relay.upstream(), flags(wanted_upstream)));
    }
    if !wait::until_ready(&mut fds, until)? {
        return Ok(false);
    }
    let found: Vec<_> = fds.iter().map(PollFd::revents).collect();
    let (of_client, of_upstream) = found.split_at(clients);
    for found in of_client {
        if expects_more && found.contains(PollFlags::HUP) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        relay.set_ready(ready(*found));
    }
    for found in of_upstream {
        relay.set_upstream_ready(ready(*found));
    }
    Ok(true)
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    flags
}

fn ready(found: PollFlags) -> Ready {
    Ready {
        token: Token(0),
        readable: found.contains(PollFlags::IN),
        writable: found.contains(PollFlags::OUT),
        read_closed: found.intersects(PollFlags::HUP | PollFlags::ERR),
    }
}
