//! A harness for tests of a task: a connection without a socket or an event loop.
//!
//! It delivers events and remembers the requests of the task, as every backend does; the test decides
//! which events follow. The outbox can be stepped into one end of a socket pair.
//!
//! ```
//! use karez_reactor::testing::Harness;
//! use karez_reactor::{Event, Io, NoJob, RecordType, Task};
//! use std::time::{Duration, Instant};
//!
//! struct Echo;
//!
//! impl Task for Echo {
//!     type Job = NoJob;
//!     type Message = std::convert::Infallible;
//!
//!     fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
//!         if let Event::Received(bytes, _) = event {
//!             io.outbox().push_bytes(bytes.to_vec());
//!         }
//!         io.receive(io.now() + Duration::from_secs(60), true, None);
//!     }
//! }
//!
//! let mut driver = Harness::new(Echo, Instant::now());
//! driver.open();
//! assert!(driver.receive().is_some_and(|receive| receive.idle));
//! driver.handle(Event::Received(&mut *b"hello".to_vec(), RecordType::Data));
//! assert_eq!(driver.outbox().queued(), 5);
//! ```
//!
//! # Limitations
//!
//! Nothing happens by itself: jobs do not run, deadlines do not pass, and messages are not delivered.

use karez_transfer::Outbox;
use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::{Close, Io, JobId, Requests, SocketOption, Wants};
use crate::local::Local;
use crate::moment::Moment;
use crate::selector::Token;
use crate::sync::mailbox::{Context, MessageQueue};
use crate::task::{Event, Task};

/// One connection of a test.
pub struct Harness<T: Task> {
    task: T,
    now: Instant,
    outbox: Outbox,
    requests: Requests<T::Job>,
    wants: Wants,
    queue: Option<Arc<MessageQueue<T::Message>>>,
}

/// A receive that a task has armed by [`Io::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArmedReceive {
    /// When it times out.
    pub deadline: Instant,
    /// Whether the connection is idle while nothing else is going on.
    pub idle: bool,
    /// The most bytes, if there is a bound.
    pub at_most: Option<usize>,
}

/// How a task has ended its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// By [`Io::close`].
    Regularly,
    /// By [`Io::reset`].
    ByReset,
}

impl<T: Task> Harness<T> {
    /// Returns a connection that is not open yet.
    pub fn new(task: T, now: Instant) -> Self {
        let (outbox, requests, wants) = (Outbox::new(), Requests::new(), Wants::new());
        Self { task, now, outbox, requests, wants, queue: None }
    }

    /// Sets the state that [`Io::local`] returns.
    pub fn set_local(&mut self, local: Option<Box<dyn Local>>) {
        self.requests.local = local;
    }

    /// Delivers [`Event::Opened`].
    pub fn open(&mut self) {
        let mut queue = self.queue.take();
        let context = Context { token: Token(0), queue: &mut queue, waker: None };
        self.handle(Event::Opened(context));
        self.queue = queue;
    }

    /// Delivers an event.
    pub fn handle(&mut self, event: Event<'_, T>) {
        match event {
            Event::Received(..) | Event::PeerClosed | Event::ReceiveTimedOut | Event::Failed(_) => {
                self.wants.receive = None;
                self.requests.epoch += 1;
            }
            Event::Timer => self.wants.timer = None,
            Event::JobDone(..) => self.wants.jobs = self.wants.jobs.saturating_sub(1),
            _ => {}
        }
        let mut io = Io::new(self.now, &mut self.outbox, &mut self.requests, self.wants.jobs);
        self.task.handle(event, &mut io);
        self.wants.take(&mut self.requests);
    }

    /// Asks the task to append, as a backend does when the outbox is below its low-water mark.
    pub fn fill(&mut self) {
        let mut io = Io::new(self.now, &mut self.outbox, &mut self.requests, self.wants.jobs);
        self.task.fill(&mut io);
        self.wants.take(&mut self.requests);
    }

    /// Returns the task.
    pub fn task(&mut self) -> &mut T {
        &mut self.task
    }

    /// Returns the clock that the task sees.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Returns the bytes that the task has appended and that are not sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Returns the receive that is armed.
    pub fn receive(&self) -> Option<ArmedReceive> {
        let receive = self.wants.receive?;
        let (deadline, at_most) = (receive.deadline.instant(), receive.at_most());
        Some(ArmedReceive { deadline, idle: receive.idle, at_most: at_most.map(NonZeroUsize::get) })
    }

    /// Returns the time of the timer.
    pub fn timer(&self) -> Option<Instant> {
        self.wants.timer.map(Moment::instant)
    }

    /// Returns how long the peer may take no byte.
    pub fn send_timeout(&self) -> Duration {
        self.wants.stall.timeout()
    }

    /// Takes the jobs that the task has handed out. Each counts until its [`Event::JobDone`].
    pub fn take_jobs(&mut self) -> Vec<(JobId, T::Job)> {
        self.wants.jobs += u16::try_from(self.requests.jobs.len()).unwrap_or(u16::MAX);
        self.requests.jobs.drain(..).collect()
    }

    /// Takes the options that are to be set.
    pub fn take_options(&mut self) -> Vec<SocketOption> {
        self.requests.options.drain(..).collect()
    }

    /// Takes the relay that has been asked for: the upstream and its stall timeout.
    pub fn take_relay(&mut self) -> Option<(OwnedFd, Duration)> {
        self.requests.relay.take()
    }

    /// Returns whether a FIN is to follow the outbox.
    pub fn shuts_down_write(&self) -> bool {
        self.wants.shutdown_write
    }

    /// Returns how the task has ended the connection, if it has.
    pub fn closed(&self) -> Option<Closed> {
        Some(match self.wants.close? {
            Close::Now => Closed::Regularly,
            Close::Reset => Closed::ByReset,
        })
    }
}

impl<T: Task> fmt::Debug for Harness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}
