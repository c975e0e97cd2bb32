//! The worker that waits: by a demultiplexer of `karez-reactor`, the one that the server uses.
//!
//! A lap: some descriptors of a field are made ready, then it waits until each was told and reads
//! what it was told of. Timed is from the first wait to the last read; a model that only guesses
//! pays for its guesses there.
//!
//! What it does badly: whoever writes is the same thread, so nobody is ever asleep when something
//! becomes ready: the price of a wake-up by another thread is not in it.

use karez_reactor::{
    Demultiplexer, EpollEdge, EpollLevel, Interest, LinuxAio, Nonblocking, Poll, Select, Signal,
    Token,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use super::order::{number, size, text};
use super::sender::{Spent, now};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;
use crate::rng::Rng;

/// What makes a descriptor ready, and is read back: as large as an eventfd wants it.
const WORD: [u8; 8] = 1_u64.to_ne_bytes();

/// How long is waited for what is ready already; a model that forgets it is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that one wait may report and leave behind, and somewhat more.
const REPORTS: usize = 256;

/// The worker's field, which stays until another is asked for.
#[derive(Default)]
pub(super) struct Watcher {
    laid: Option<(String, usize, Box<dyn Laps>)>,
}

impl Watcher {
    /// Lays the field that an order is about, unless it is there already.
    pub(super) fn lay(&mut self, order: &Value) -> Result<Value> {
        let (model, count) = (text(order, "model")?, size(order, "descriptors")?);
        if self.laid.as_ref().is_none_or(|(of, so_many, _)| (&**of, *so_many) != (model, count)) {
            // There may not be descriptors enough for two.
            self.laid = None;
            self.laid = Some((model.to_owned(), count, field(model, count)?));
        }
        Ok(Value::Null)
    }

    /// Waits by a model, so many laps or so long; what they took.
    pub(super) fn watch(&mut self, order: &Value) -> Result<Value> {
        self.lay(order)?;
        let Some((_, count, field)) = &mut self.laid else {
            return Err(Error::new("watch", "a field", "there is none"));
        };
        let active = size(order, "active")?.min(*count);
        let (least, most) = (number(order, "least")?, number(order, "most")?);
        let enough = number(order, "microseconds")? * 1000;
        let mut rng = Rng::from_seed(order["seed"].as_u64().unwrap_or(1));
        // The first lap is not like the others: it finds what registering has prepared.
        field.lap(active, &mut rng)?;
        let (mut laps, mut waiting) = (0, 0);
        let before = Spent::so_far();
        let begun = now();
        mark::begin();
        while laps < least || (laps < most && now() - begun < enough) {
            waiting += field.lap(active, &mut rng)?;
            laps += 1;
        }
        mark::end();
        let used = before.until_now();
        Ok(json!({ "laps": laps, "nanoseconds": waiting, "used": used }))
    }
}

fn field(model: &str, count: usize) -> Result<Box<dyn Laps>> {
    Ok(match model {
        "nonblocking" => Box::new(Field::<Nonblocking>::lay(count)?),
        "select" => Box::new(Field::<Select>::lay(count)?),
        "poll" => Box::new(Field::<Poll>::lay(count)?),
        "epoll-level" => Box::new(Field::<EpollLevel>::lay(count)?),
        "epoll-edge" => Box::new(Field::<EpollEdge>::lay(count)?),
        "signal" => Box::new(Field::<Signal>::lay(count)?),
        "linux-aio" => Box::new(Field::<LinuxAio>::lay(count)?),
        other => return Err(Error::new("wait by", other, "it is no demultiplexer")),
    })
}

/// What laps can be made on.
trait Laps {
    /// One lap; the nanoseconds from the first wait to the last read.
    fn lap(&mut self, active: usize, rng: &mut Rng) -> Result<u64>;
}

/// Descriptors and a demultiplexer that watches them.
struct Field<D> {
    demultiplexer: D,
    /// Where is read, and where is written if that is another.
    descriptors: Vec<(OwnedFd, Option<OwnedFd>)>,
    ready: Vec<karez_reactor::Ready>,
}

impl<D: Demultiplexer> Field<D> {
    fn lay(count: usize) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        // Without it the next descriptor that is too many says so.
        let _as_many_as_may_be = setrlimit(Resource::Nofile, raised);
        let mut demultiplexer = D::new().context("begin to", "wait")?;
        let mut descriptors = Vec::with_capacity(count);
        for token in 0..count {
            let made = descriptor(D::WATCHES_EVENTFD);
            let (near, far) = made.context("open", format_args!("{count} descriptors"))?;
            let registered =
                demultiplexer.register(near.as_fd(), Token(token as u64), Interest::READ);
            registered.context("watch", format_args!("{count} descriptors"))?;
            descriptors.push((near, far));
        }
        let mut field = Self { demultiplexer, descriptors, ready: Vec::new() };
        field.settle()?;
        Ok(field)
    }

    /// Hears what registering made it say: an edge model tells once that all can be written.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..self.descriptors.len() / REPORTS + 3 {
            self.ready.clear();
            self.wait(Some(Duration::ZERO))?;
            if self.ready.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.demultiplexer.wait(timeout, &mut self.ready).context("wait for", "descriptors")
    }
}

impl<D: Demultiplexer> Laps for Field<D> {
    fn lap(&mut self, active: usize, rng: &mut Rng) -> Result<u64> {
        let count = self.descriptors.len();
        let (first, apart) = (rng.below(count), count / active.max(1));
        for one in 0..active {
            let (near, far) = &self.descriptors[(first + one * apart) % count];
            rustix::io::write(far.as_ref().unwrap_or(near), &WORD).context("write to", "one")?;
        }
        let begun = now();
        let mut left = active;
        while left > 0 {
            self.ready.clear();
            self.wait(Some(PATIENCE))?;
            if self.ready.is_empty() && u128::from(now() - begun) >= PATIENCE.as_nanos() {
                return Err(Error::new("wait for", "one that is ready", "nobody told of it"));
            }
            for told in self.ready.iter().filter(|told| told.readable) {
                let place = usize::try_from(told.token.0).unwrap_or(usize::MAX);
                let Some((near, _)) = self.descriptors.get(place) else { continue };
                match rustix::io::read(near, &mut [0; 8]) {
                    Ok(_) => left = left.saturating_sub(1),
                    Err(rustix::io::Errno::AGAIN) => {}
                    Err(errno) => return Err(Error::new("read from", "one", errno)),
                }
            }
        }
        Ok(now() - begun)
    }
}

fn descriptor(eventfds: bool) -> rustix::io::Result<(OwnedFd, Option<OwnedFd>)> {
    if eventfds {
        return Ok((eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?, None));
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((near, Some(far)))
}
