//! epoll_pwait(2), the common part of the two epoll models. Linux 2.6.19.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::{self, Errno};
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::selector::{Ready, Token};

/// Reports fetched by one call. More would only make the first connections wait for the last.
const BATCH: usize = 256;

/// An epoll instance and the memory of its answers.
pub(super) struct Epoll {
    pub(super) epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        let timeout = timeout.map(whole_milliseconds);
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => ready.extend(self.events.iter().map(report)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

fn report(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    Ready {
        token: Token(event.data.u64()),
        readable: broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
        writable: broken || flags.contains(EventFlags::OUT),
        read_closed: broken || flags.contains(EventFlags::RDHUP),
    }
}

/// epoll_pwait(2) counts in milliseconds: rounded up, for waking early would only mean waiting
/// again.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(86_400_000);
    let rounded = Duration::from_millis(u64::try_from(millis).unwrap_or(86_400_000));
    Timespec::try_from(rounded).unwrap_or(Timespec { tv_sec: 86_400, tv_nsec: 0 })
}
