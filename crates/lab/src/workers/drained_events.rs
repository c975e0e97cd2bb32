//! Messages that are larger or smaller than a read, received by level- and by edge-triggered epoll in the
//! ways of the manual: one read for each event, or reads until EAGAIN.
//!
//! # Limitations
//! The same thread sends and receives, so it never sleeps.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, read};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;

use super::command::{number, size};
use super::sender::{clock, send_all};
use crate::error::{ErrorContext as _, Result};
use std::os::fd::AsFd as _;

/// Size of a read.
const READ: usize = 4 << 10;

/// Events of one wait.
const EVENTS: usize = 64;

/// Sends a message on each connection and receives them, for a number of rounds; replies with the CPU time
/// of receiving and the number of its calls.
pub(super) fn drain_events(command: &Value) -> Result<Value> {
    let is_edge = command["edge"].as_bool() == Some(true);
    let (connections, bytes) = (size(command, "connections")?, size(command, "bytes")?);
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("open", "an epoll")?;
    let mut pairs = Vec::new();
    for at in 0..connections {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let (near, far) = pair.context("open", "a pair of sockets")?;
        let wanted = if is_edge { EventFlags::IN | EventFlags::ET } else { EventFlags::IN };
        epoll::add(&epoll, &near, EventData::new_u64(at as u64), wanted)
            .context("watch", "a socket")?;
        pairs.push((near, far));
    }
    let mut round = Round { epoll, pairs, is_edge, buffer: vec![1; READ], calls: 0 };
    let message = vec![3; bytes];
    let mut cpu = 0;
    for _ in 0..number(command, "rounds")? {
        for (_, far) in &round.pairs {
            send_all(far.as_fd(), &message)?;
        }
        let before = clock(ClockId::ThreadCPUTime);
        round.receive(connections * bytes)?;
        cpu += clock(ClockId::ThreadCPUTime) - before;
    }
    Ok(json!({ "cpu": cpu, "calls": round.calls }))
}

struct Round {
    epoll: OwnedFd,
    pairs: Vec<(OwnedFd, OwnedFd)>,
    is_edge: bool,
    buffer: Vec<u8>,
    calls: u64,
}

impl Round {
    /// Receives as many bytes.
    fn receive(&mut self, bytes: usize) -> Result<()> {
        let mut left = bytes;
        let mut events = Vec::with_capacity(EVENTS);
        while left > 0 {
            events.clear();
            self.calls += 1;
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)
                .context("wait for", "a message")?;
            for event in &events {
                let at = usize::try_from(event.data.u64()).context("read", "an event")?;
                loop {
                    self.calls += 1;
                    match read(&self.pairs[at].0, &mut self.buffer[..]) {
                        Ok(count) => left -= count,
                        Err(Errno::AGAIN) => break,
                        Err(errno) => return Err(errno).context("receive", "a message"),
                    }
                    if !self.is_edge {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
