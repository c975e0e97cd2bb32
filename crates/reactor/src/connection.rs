//! One connection on a readiness model: a socket, a task, and the wish that is open.
//!
//! [`Connection::advance`] grants wishes until one has to wait or the connection has had its
//! share of the turn. A wish is tried first and waited for on `EAGAIN` only: most wishes are
//! granted without asking the demultiplexer at all.

use karez_transfer::{Outbox, Progress};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::alarms::Deadline;
use crate::task::{Event, Job, Obstacle, Task, Want};

/// Bytes that one connection may send in a turn before others have theirs.
const SHARE_BYTES: u64 = 1 << 20;

/// Wishes that one connection may be granted in a turn before others have theirs.
const SHARE_WISHES: u32 = 24;

pub(crate) struct Connection<T: Task> {
    pub(crate) socket: OwnedFd,
    pub(crate) deadline: Deadline,
    /// In the reactor's queue for this turn.
    pub(crate) queued: bool,
    task: T,
    wish: Wish,
    readable: bool,
    writable: bool,
    /// The peer's FIN or reset has been reported, so a short read does not mean "no more".
    hang_up: bool,
}

/// The open wish, as far as it has to be remembered.
enum Wish {
    /// The task has to be asked.
    Ask,
    Receive {
        until: Instant,
        idle: bool,
    },
    Send {
        outbox: Outbox,
        stall: Duration,
        since: Instant,
    },
}

/// Why a connection rests.
pub(crate) enum Rest {
    /// It waits for its socket, at most so long.
    Waiting { until: Instant, idle: bool },
    /// It has had its share and could go on at once.
    Sharing,
    /// It is over.
    Closed,
}

/// What came of one attempt to grant a wish.
enum Grant {
    Went(u64),
    Wait,
    Close,
}

impl<T: Task> Connection<T> {
    pub(crate) fn new(socket: OwnedFd, task: T) -> Self {
        Self {
            socket,
            deadline: Deadline::default(),
            queued: false,
            task,
            wish: Wish::Ask,
            readable: false,
            writable: true,
            hang_up: false,
        }
    }

    /// Remembers what the demultiplexer reported.
    pub(crate) fn note(&mut self, readable: bool, writable: bool, hang_up: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.hang_up |= hang_up;
    }

    /// Grants wishes until one has to wait, the share is spent, or the task wants no more.
    pub(crate) fn advance(&mut self, buffer: &mut [u8], now: Instant) -> Rest {
        let (mut wishes, mut bytes) = (0, 0);
        while wishes < SHARE_WISHES && bytes < SHARE_BYTES {
            match self.grant(buffer, now) {
                Grant::Went(moved) => {
                    wishes += 1;
                    bytes += moved;
                }
                Grant::Wait => return self.rest(now),
                Grant::Close => return Rest::Closed,
            }
        }
        Rest::Sharing
    }

    /// The deadline has passed.
    pub(crate) fn time_out(&mut self, now: Instant) {
        match std::mem::replace(&mut self.wish, Wish::Ask) {
            Wish::Ask => {}
            Wish::Receive { .. } => self.task.hear(Event::TimedOut, now),
            Wish::Send { outbox, .. } => {
                self.task.hear(Event::Unsent(outbox, Obstacle::TimedOut), now);
            }
        }
    }

    /// The grace is over: the last thing that the task hears.
    pub(crate) fn abandon(&mut self, now: Instant) {
        if let Wish::Send { .. } = self.wish {
            self.unsent(Obstacle::Stopped, now);
        }
    }

    fn rest(&self, now: Instant) -> Rest {
        match self.wish {
            Wish::Receive { until, idle } => Rest::Waiting { until, idle },
            Wish::Send { stall, since, .. } => Rest::Waiting { until: since + stall, idle: false },
            Wish::Ask => Rest::Waiting { until: now, idle: false },
        }
    }

    fn grant(&mut self, buffer: &mut [u8], now: Instant) -> Grant {
        match self.wish {
            Wish::Ask => self.ask(now),
            Wish::Receive { .. } => self.receive(buffer, now),
            Wish::Send { .. } => self.send(now),
        }
    }

    fn ask(&mut self, now: Instant) -> Grant {
        match self.task.want() {
            Want::Receive { until, idle } => self.wish = Wish::Receive { until, idle },
            Want::Send { outbox, stall } => self.wish = Wish::Send { outbox, stall, since: now },
            Want::Work(job) => self.task.hear(Event::Worked(job.run()), now),
            Want::Finish => {
                // A peer that is gone already needs no FIN.
                let _gone = shutdown(&self.socket, Shutdown::Write);
                self.task.hear(Event::Finished, now);
            }
            Want::Close => return Grant::Close,
        }
        Grant::Went(0)
    }

    fn receive(&mut self, buffer: &mut [u8], now: Instant) -> Grant {
        if !self.readable {
            return Grant::Wait;
        }
        let event = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Event::PeerClosed,
            Ok((count, _)) => {
                // A short count is as good as EAGAIN (epoll(7), question 9).
                self.readable = count == buffer.len() || self.hang_up;
                Event::Received(&buffer[..count])
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Grant::Wait;
            }
            Err(Errno::INTR) => return Grant::Went(0),
            Err(errno) => Event::Failed(errno.into()),
        };
        self.wish = Wish::Ask;
        self.task.hear(event, now);
        Grant::Went(0)
    }

    fn send(&mut self, now: Instant) -> Grant {
        let Wish::Send { outbox, since, .. } = &mut self.wish else {
            return Grant::Wait;
        };
        if !self.writable {
            return Grant::Wait;
        }
        match outbox.step(self.socket.as_fd()) {
            Ok(Progress::Moved(bytes)) => {
                *since = now;
                Grant::Went(bytes)
            }
            // The error queue of a socket makes it writable here; nothing else is ever needed, for
            // an outbox has no source but files and memory, and its steps wait for the disk.
            Ok(
                Progress::NeedsWritable
                | Progress::NeedsRelease
                | Progress::NeedsReadable
                | Progress::NeedsWorker,
            ) => {
                self.writable = false;
                Grant::Wait
            }
            Ok(Progress::Done) => self.sent(now),
            Ok(Progress::Truncated { missing }) => {
                self.unsent(Obstacle::Truncated { missing }, now)
            }
            Err(error) => self.unsent(Obstacle::Failed(error), now),
        }
    }

    fn sent(&mut self, now: Instant) -> Grant {
        if let Wish::Send { outbox, .. } = std::mem::replace(&mut self.wish, Wish::Ask) {
            self.task.hear(Event::Sent(outbox), now);
        }
        Grant::Went(0)
    }

    fn unsent(&mut self, obstacle: Obstacle, now: Instant) -> Grant {
        if let Wish::Send { outbox, .. } = std::mem::replace(&mut self.wish, Wish::Ask) {
            self.task.hear(Event::Unsent(outbox, obstacle), now);
        }
        Grant::Went(0)
    }
}
