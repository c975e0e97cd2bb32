//! Benchmark of waiting with a selector of `karez-reactor`, like the server.
//!
//! In each round some descriptors of a set are made ready; then it waits until every one has been
//! reported, and reads it. The time from the first wait to the last read is measured, which
//! includes failed reads of models that have to guess.
//!
//! # Limitations
//! The same thread writes and waits, so it never sleeps, and the cost of a wake-up by another
//! thread is not included.

use karez_reactor::{
    EpollEdge, EpollLevel, Interest, LinuxAio, Nonblocking, Poll, Select, Selector, Signal, Token,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use super::command::{number, size, text};
use super::sender::{UsageSnapshot, now};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;
use crate::rng::Rng;

/// Data that makes a descriptor ready, in the size that an eventfd requires.
const WORD: [u8; 8] = 1_u64.to_ne_bytes();

/// Maximum time until a ready descriptor is reported.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Above the maximum number of events of one wait.
const MAX_EVENTS: usize = 256;

/// The descriptor set, kept until a command needs another.
#[derive(Default)]
pub(super) struct SelectorBench {
    prepared: Option<(String, usize, Box<dyn Rounds>)>,
}

impl SelectorBench {
    /// Creates the descriptor set of a command, unless it exists.
    pub(super) fn prepare(&mut self, command: &Value) -> Result<Value> {
        let (model, count) = (text(command, "model")?, size(command, "descriptors")?);
        if self
            .prepared
            .as_ref()
            .is_none_or(|(of, prepared_count, _)| (&**of, *prepared_count) != (model, count))
        {
            // The descriptor limit may not allow two sets.
            self.prepared = None;
            self.prepared = Some((model.to_owned(), count, descriptor_set(model, count)?));
        }
        Ok(Value::Null)
    }

    /// Runs rounds of waiting for the given number or time, and replies with the figures.
    pub(super) fn wait(&mut self, command: &Value) -> Result<Value> {
        self.prepare(command)?;
        let Some((_, count, descriptor_set)) = &mut self.prepared else {
            return Err(Error::new("watch", "a descriptor set", "there is no descriptor set"));
        };
        let active = size(command, "active")?.min(*count);
        let (min, max) = (number(command, "min_rounds")?, number(command, "max_rounds")?);
        let budget = number(command, "microseconds")? * 1000;
        let mut rng = Rng::from_seed(command["seed"].as_u64().unwrap_or(1));
        // The first round is different, because it sees the effects of the registration.
        descriptor_set.round(active, &mut rng)?;
        let (mut rounds, mut wait_time) = (0, 0);
        let before = UsageSnapshot::now();
        let started = now();
        mark::begin();
        while rounds < min || (rounds < max && now() - started < budget) {
            wait_time += descriptor_set.round(active, &mut rng)?;
            rounds += 1;
        }
        mark::end();
        let used = before.elapsed();
        Ok(json!({ "rounds": rounds, "nanoseconds": wait_time, "usage": used }))
    }
}

fn descriptor_set(model: &str, count: usize) -> Result<Box<dyn Rounds>> {
    Ok(match model {
        "nonblocking" => Box::new(DescriptorSet::<Nonblocking>::new(count)?),
        "select" => Box::new(DescriptorSet::<Select>::new(count)?),
        "poll" => Box::new(DescriptorSet::<Poll>::new(count)?),
        "epoll-level" => Box::new(DescriptorSet::<EpollLevel>::new(count)?),
        "epoll-edge" => Box::new(DescriptorSet::<EpollEdge>::new(count)?),
        "signal" => Box::new(DescriptorSet::<Signal>::new(count)?),
        "linux-aio" => Box::new(DescriptorSet::<LinuxAio>::new(count)?),
        other => return Err(Error::new("wait by", other, "the model has no selector")),
    })
}

/// A set on which rounds can run.
trait Rounds {
    /// Runs one round and returns the nanoseconds from the first wait to the last read.
    fn round(&mut self, active: usize, rng: &mut Rng) -> Result<u64>;
}

/// Descriptors and a selector that watches them.
struct DescriptorSet<D> {
    selector: D,
    /// The read end of each descriptor, and the write end if it is a different one.
    descriptors: Vec<(OwnedFd, Option<OwnedFd>)>,
    ready: Vec<karez_reactor::Ready>,
}

impl<D: Selector> DescriptorSet<D> {
    fn new(count: usize) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        // If it fails, the first descriptor beyond the limit reports the error.
        let _best_effort = setrlimit(Resource::Nofile, raised);
        let mut selector = D::new().context("start a thread to", "wait")?;
        let mut descriptors = Vec::with_capacity(count);
        for token in 0..count {
            let made = descriptor(D::WATCHES_EVENTFD);
            let (read_end, write_end) =
                made.context("open", format_args!("{count} descriptors"))?;
            let registered =
                selector.register(read_end.as_fd(), Token(token as u64), Interest::READ);
            registered.context("watch", format_args!("{count} descriptors"))?;
            descriptors.push((read_end, write_end));
        }
        let mut descriptor_set = Self { selector, descriptors, ready: Vec::new() };
        descriptor_set.drain()?;
        Ok(descriptor_set)
    }

    /// Consumes the events of the registration: an edge-triggered selector reports each descriptor
    /// as writable once.
    fn drain(&mut self) -> Result<()> {
        for _ in 0..self.descriptors.len() / MAX_EVENTS + 3 {
            self.ready.clear();
            self.wait(Some(Duration::ZERO))?;
            if self.ready.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.selector.wait(timeout, &mut self.ready).context("wait for", "descriptors")
    }
}

impl<D: Selector> Rounds for DescriptorSet<D> {
    fn round(&mut self, active: usize, rng: &mut Rng) -> Result<u64> {
        let count = self.descriptors.len();
        let (first, stride) = (rng.below(count), count / active.max(1));
        for one in 0..active {
            let (read_end, write_end) = &self.descriptors[(first + one * stride) % count];
            rustix::io::write(write_end.as_ref().unwrap_or(read_end), &WORD)
                .context("write to", "one")?;
        }
        let started = now();
        let mut left = active;
        while left > 0 {
            self.ready.clear();
            self.wait(Some(TIMEOUT))?;
            if self.ready.is_empty() && u128::from(now() - started) >= TIMEOUT.as_nanos() {
                return Err(Error::new(
                    "wait for",
                    "a ready descriptor",
                    "the selector reported no \
                    event",
                ));
            }
            for event in self.ready.iter().filter(|event| event.readable) {
                let index = usize::try_from(event.token.0).unwrap_or(usize::MAX);
                let Some((read_end, _)) = self.descriptors.get(index) else { continue };
                match rustix::io::read(read_end, &mut [0; 8]) {
                    Ok(_) => left = left.saturating_sub(1),
                    Err(rustix::io::Errno::AGAIN) => {}
                    Err(errno) => return Err(Error::new("read from", "one", errno)),
                }
            }
        }
        Ok(now() - started)
    }
}

fn descriptor(eventfds: bool) -> rustix::io::Result<(OwnedFd, Option<OwnedFd>)> {
    if eventfds {
        return Ok((eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?, None));
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (read_end, write_end) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((read_end, Some(write_end)))
}
