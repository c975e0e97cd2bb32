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
use crate::demultiplexer::{Interest, Ready, Token};
use crate::relaying::{Relaying, Step};
use crate::task::Event;

/// Relays until both sides have ended, or nothing moves.
pub(super) fn relay<'b, D, M>(
    client: &OwnedFd,
    upstream: OwnedFd,
    stall: Duration,
) -> Event<'b, D, M> {
    let outcome = ioctl_fionbio(client, true).map_err(io::Error::from).and_then(|()| {
        let mut relaying = Relaying::new(upstream, stall, Instant::now())?;
        let is_whole = drive(client, &mut relaying)?;
        Ok(if is_whole { Event::Relayed(relaying.moved()) } else { Event::TimedOut })
    });
    match outcome.and_then(|event| Ok(ioctl_fionbio(client, false).map(|()| event)?)) {
        Ok(event) => event,
        Err(error) => Event::Failed(error),
    }
}

/// False if nothing moved for too long.
fn drive(client: &OwnedFd, relaying: &mut Relaying) -> io::Result<bool> {
    loop {
        match relaying.step(client.as_fd()) {
            Step::Moved(_) => {}
            Step::Relayed => return Ok(true),
            Step::Failed(error) => return Err(error),
            Step::Wait => {
                if !wait(client, relaying)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// False if the time is up. One that is not waited for is left out, or its hang-up would be told
/// all the time; but the client's, before it has heard all, is the end: the server stops.
fn wait(client: &OwnedFd, relaying: &mut Relaying) -> io::Result<bool> {
    let hears = relaying.client_hears();
    let (wanted, wanted_upstream) = (relaying.wanted(), relaying.wanted_upstream());
    let (mut fds, until) = (Vec::with_capacity(2), relaying.until());
    if hears || wanted != Interest::NONE {
        fds.push(PollFd::new(client, flags(wanted)));
    }
    let client_is_in = fds.len();
    if wanted_upstream != Interest::NONE {
        fds.push(PollFd::from_borrowed_fd(relaying.upstream(), flags(wanted_upstream)));
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
        relaying.note(ready(*told));
    }
    for told in of_upstream {
        relaying.note_upstream(ready(*told));
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
