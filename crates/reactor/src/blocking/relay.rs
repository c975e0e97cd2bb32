//! A relay by a thread of its own: poll(2) over both sockets, which do not block meanwhile.
//!
//! What it does badly: what moves is asked for by a call more each time, where a thread for each
//! way could simply wait in splice(2).

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::wait;
use crate::readiness::{Relay, Step};
use crate::selector::{Interest, Ready, Token};
use crate::task::RelayEnd;

/// Relays until both sides have ended, or nothing moves.
pub(super) fn relay(client: &OwnedFd, upstream: OwnedFd, stall: Duration) -> RelayEnd {
    let relay = ioctl_fionbio(client, true)
        .map_err(io::Error::from)
        .and_then(|()| Relay::new(upstream, stall, Instant::now()));
    let (moved, result) = match relay {
        Ok(mut relay) => {
            let result = drive(client, &mut relay);
            (relay.moved(), result)
        }
        Err(error) => ([0, 0], Err(error)),
    };
    let result = result.and_then(|whole| Ok(ioctl_fionbio(client, false).map(|()| whole)?));
    let error = match result {
        Ok(true) => None,
        Ok(false) => Some(io::ErrorKind::TimedOut.into()),
        Err(error) => Some(error),
    };
    let [to_upstream, to_client] = moved;
    RelayEnd { to_upstream, to_client, error }
}

/// False if nothing moved for too long.
fn drive(client: &OwnedFd, relay: &mut Relay) -> io::Result<bool> {
    loop {
        match relay.step(client.as_fd()) {
            Step::Moved(_) => {}
            Step::Done => return Ok(true),
            Step::Failed(error) => return Err(error),
            Step::Blocked => {
                if !wait(client, relay)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// False if the time is up. One that is not waited for is left out, or its hang-up would be told
/// all the time; but the client's, before it has heard all, is the end: the server stops.
fn wait(client: &OwnedFd, relay: &mut Relay) -> io::Result<bool> {
    let hears = relay.expects_upstream();
    let (wanted, wanted_upstream) = (relay.wanted(), relay.wanted_upstream());
    let (mut fds, until) = (Vec::with_capacity(2), relay.deadline());
    if hears || wanted != Interest::NONE {
        fds.push(PollFd::new(client, flags(wanted)));
    }
    let client_is_in = fds.len();
    if wanted_upstream != Interest::NONE {
        fds.push(PollFd::from_borrowed_fd(relay.upstream(), flags(wanted_upstream)));
    }
    if !wait::until_ready(&mut fds, until)? {
        return Ok(false);
    }
    let told: Vec<_> = fds.iter().map(PollFd::revents).collect();
    let (of_client, of_upstream) = told.split_at(client_is_in);
    for told in of_client {
        if hears && told.contains(PollFlags::HUP) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        relay.set_ready(ready(*told));
    }
    for told in of_upstream {
        relay.set_upstream_ready(ready(*told));
    }
    Ok(true)
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    flags
}

fn ready(told: PollFlags) -> Ready {
    Ready {
        token: Token(0),
        readable: told.contains(PollFlags::IN),
        writable: told.contains(PollFlags::OUT),
        hang_up: told.intersects(PollFlags::HUP | PollFlags::ERR),
    }
}
