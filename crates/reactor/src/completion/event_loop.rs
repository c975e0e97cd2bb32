//! The Proactor: one thread, one completion model, its listeners and its connections. The
//! counterpart of the [Reactor](crate::readiness::event_loop), which is told when it may try; this one is told
//! what has been done.
//!
//! A turn waits once, takes what came of each operation, begins what follows from it, and lets
//! newcomers in. Then come the deadlines that have passed, after one more look at what is complete:
//! a wait may have been interrupted, or be long over when this thread runs again. A connection that is
//! closed is forgotten at once; its descriptor goes with the last operation that holds it.

use karez_sys::{Completion, Handle, Operation, Outcome};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::accept::Acceptor;
use super::connection::{CompletionConnection, Turn, TurnContext};
use super::context::Backend;
use crate::admission::Admission;
use crate::driver::Completer;
use crate::error::named;
use crate::io::Requests;
use crate::readiness::event_loop::{DoneOf, JobOf, MailOf, Parts};
use crate::selector::Token;
use crate::shutdown::Stop;
use crate::slab::ConnectionSlab;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::MessageQueue;
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{JobError, Service};
use crate::timers::TimerHeap;
use crate::transient::tolerate;

/// What is called so says that the waker has been woken.
const WAKE: u64 = u64::MAX;

/// Listeners count down from here; no connection's token is as high.
pub(super) const LISTENER: u64 = u64::MAX - 1;

/// Before a deadline counts: calls that fetch what is complete, of which each may bring a part only
/// (io_uring does 20 pieces of deferred work at a time).
const LOOKS: usize = 64;

/// After the grace: how long to wait for operations to say how far they came.
const FAREWELL: Duration = Duration::from_millis(250);

pub(crate) struct Proactor<'a, S: Service, C> {
    pub(super) backend: Backend<C>,
    pub(super) service: &'a S,
    pub(super) admission: &'a Admission,
    pub(super) stop: &'a Stop,
    pub(super) pool: &'a Pool<PoolTask<JobOf<S>>>,
    offloads_all: bool,
    pub(super) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Where mail for its tasks comes, if any of them has a mailbox.
    pub(super) messages: Option<Arc<MessageQueue<MailOf<S>>>>,
    pub(super) acceptor: Acceptor<DoneOf<S>>,
    pub(super) connections: ConnectionSlab<CompletionConnection<S::Task>>,
    pub(super) timers: TimerHeap,
    /// Connections whose deadlines have passed in this turn.
    overdue: Vec<Token>,
    /// After the stop has begun: when the grace ends.
    pub(super) end: Option<Instant>,
    pub(super) notifications: Vec<Notification<DoneOf<S>>>,
    /// Connections that used up their budget in the last turn.
    pub(super) queue: VecDeque<Token>,
    pub(super) requests: Requests<JobOf<S>>,
    pub(super) offloads: Vec<Offload<JobOf<S>>>,
    pub(super) now: Instant,
}

impl<'a, S: Service, C: Completer> Proactor<'a, S, C> {
    pub(crate) fn new(completer: C, parts: Parts<'a, S>) -> io::Result<Self> {
        let Parts { service, admission, stop, listeners, balancer, inbox, pool, offloads_all } =
            parts;
        for listener in listeners.iter().filter(|_| C::ACCEPTS_WAIT) {
            listener.set_blocking().map_err(named("ioctl FIONBIO"))?;
        }
        Ok(Self {
            backend: Backend::new(completer),
            service,
            admission,
            stop,
            pool,
            offloads_all,
            inbox,
            messages: None,
            acceptor: Acceptor::new(listeners, balancer),
            connections: ConnectionSlab::new(),
            timers: TimerHeap::default(),
            overdue: Vec::new(),
            end: None,
            notifications: Vec::new(),
            queue: VecDeque::new(),
            requests: Requests::new(),
            offloads: Vec::new(),
            now: Instant::now(),
        })
    }

    /// Turns until the stop is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let (mut done, mut later) = (Vec::new(), Vec::new());
        self.watch_waker();
        self.accept();
        while !self.is_over() {
            self.wait(self.timeout(), &mut done)?;
            self.turn(&mut done, &mut later);
            if self.find_overdue() {
                for _ in 0..LOOKS {
                    self.wait(Some(Duration::ZERO), &mut done)?;
                    if done.is_empty() {
                        break;
                    }
                    self.take(&mut done, &mut later);
                }
                self.time_out_overdue();
            }
        }
        self.abort_all();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        tolerate(self.backend.driver.wait(timeout, done)).map_err(named("wait"))
    }

    /// All that follows from what was done. Nothing in it blocks, which `.ci/sanitize realtime` has
    /// RealtimeSanitizer find out.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn turn(&mut self, done: &mut Vec<Completion>, later: &mut Vec<Completion>) {
        self.now = Instant::now();
        self.take(done, later);
        for _ in 0..self.queue.len() {
            if let Some(token) = self.queue.pop_front() {
                if let Some(connection) = self.connections.get_mut(token) {
                    connection.queued = false;
                }
                self.advance(token);
            }
        }
        self.admit_all();
        self.accept();
    }

    fn take(&mut self, done: &mut Vec<Completion>, later: &mut Vec<Completion>) {
        for completion in done.drain(..) {
            // These may cost somebody the place, who may have been heard in this turn.
            if completion.tag == WAKE || matches!(completion.outcome, Outcome::Accepted(_)) {
                later.push(completion);
            } else {
                self.note(completion);
            }
        }
        for completion in later.drain(..) {
            self.note(completion);
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.connections.len() == 0 || end <= self.now)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let moments = [self.acceptor.backoff_until, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.timers.next(self.now)).min()
    }

    fn note(&mut self, completion: Completion) {
        let token = Token(completion.tag);
        if completion.tag == WAKE {
            self.handle_wakeup();
        } else if self.connections.contains(token) {
            self.with_connection(token, |connection, cx| connection.complete(completion, cx));
            self.advance(token);
        } else if let Outcome::Accepted(accepted) = completion.outcome {
            self.accepted(completion.tag, completion.last, accepted);
        } else if completion.last {
            // The last of a closed connection: its descriptor is free.
            self.acceptor.backoff_until = None;
        }
    }

    /// Calls `work` with a connection and what it works with, and hands out what may block.
    pub(super) fn with_connection<R>(
        &mut self,
        token: Token,
        work: impl FnOnce(&mut CompletionConnection<S::Task>, &mut TurnContext<'_, C, JobOf<S>>) -> R,
    ) -> Option<R> {
        let connection = self.connections.get_mut(token)?;
        let mut cx = TurnContext {
            backend: &mut self.backend,
            requests: &mut self.requests,
            offloads: &mut self.offloads,
            pool: self.offloads_all,
            now: self.now,
        };
        let result = work(connection, &mut cx);
        if !self.offloads.is_empty() {
            self.hand_out(token);
        }
        Some(result)
    }

    /// Hands jobs to the pool.
    fn hand_out(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        for offload in self.offloads.drain(..) {
            let (id, device, admit) = (offload.id(), offload.device(), offload.admit());
            let until = connection.job_deadline(self.now);
            let task = PoolTask { offload, token, inbox: Arc::clone(&self.inbox) };
            match self.pool.submit(device, until, admit, task) {
                Ok(ticket) => connection.tickets.push(id, ticket),
                Err(PoolTask { offload: Offload::Job(id, _), .. }) => {
                    connection.job_done(id, Err(JobError::Rejected));
                    if !std::mem::replace(&mut connection.queued, true) {
                        self.queue.push_back(token);
                    }
                }
                Err(_) => {} // here the kernel reads
            }
        }
    }

    pub(super) fn advance(&mut self, token: Token) {
        let turn = self.with_connection(token, |connection, cx| {
            connection.deadline.clear();
            connection.advance(cx)
        });
        let (Some(turn), Some(connection)) = (turn, self.connections.get_mut(token)) else {
            return;
        };
        match turn {
            Turn::Closed => self.close(token),
            Turn::Yielded => {
                if !std::mem::replace(&mut connection.queued, true) {
                    self.queue.push_back(token);
                }
                self.connections.set_busy(token);
            }
            Turn::Waiting { idle: true, .. } if self.end.is_some() => self.close(token),
            Turn::Waiting { deadline, idle, unchanged } => {
                if let Some(deadline) = deadline {
                    self.timers.set(token, &mut connection.deadline, deadline);
                }
                match (idle, unchanged) {
                    (_, true) => {} // the completion was not about anything that it wants
                    (true, _) => self.connections.set_idle(token),
                    (false, _) => self.connections.set_busy(token),
                }
            }
        }
    }

    pub(super) fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        connection.abort(&mut self.backend);
        for ticket in connection.tickets.drain() {
            self.pool.abandon(ticket);
        }
        let evicting = connection.evicting;
        drop(connection);
        self.leave();
        if evicting {
            self.stop.wake_all();
        }
        let connections = &mut self.connections;
        let live = connections.len();
        self.timers.compact(live, |token| connections.contains(token));
    }

    /// Collects the connections whose deadlines have passed; false if there are none.
    fn find_overdue(&mut self) -> bool {
        while let Some(timer) = self.timers.pop(self.now) {
            let Some(connection) = self.connections.get_mut(timer.1) else {
                continue;
            };
            if self.timers.fire(timer, &mut connection.deadline, self.now) {
                self.overdue.push(timer.1);
            }
        }
        !self.overdue.is_empty()
    }

    /// Times out what has not come or left by its deadline, after what has been completed before. One
    /// that fires late is extended first: the kernel, or a thread, could not go on either.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn time_out_overdue(&mut self) {
        let mut overdue = std::mem::take(&mut self.overdue);
        for token in overdue.drain(..) {
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            let deadline = &mut connection.deadline;
            if deadline.has_passed(self.now) && !self.timers.extend(token, deadline, self.now) {
                deadline.clear();
                self.with_connection(token, |connection, cx| connection.time_out(cx));
                self.advance(token);
            }
        }
        self.overdue = overdue;
        self.admit_all();
        self.accept();
    }

    pub(super) fn watch_waker(&mut self) {
        let waker = Arc::clone(self.inbox.shared_waker()) as Handle;
        self.backend.driver.start(WAKE, Operation::Readable(waker));
    }

    /// Cancels what is in flight, so that each task can be told how far it came.
    fn abort_all(&mut self) {
        for connection in self.connections.iter_mut() {
            connection.abort(&mut self.backend);
        }
        let (end, mut done) = (Instant::now() + FAREWELL, Vec::new());
        while self.connections.iter_mut().any(|connection| connection.is_sending()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.backend.driver.wait(Some(left), &mut done).is_err() {
                break;
            }
            for completion in done.drain(..) {
                let token = Token(completion.tag);
                self.with_connection(token, |connection, cx| connection.complete(completion, cx));
            }
        }
        for token in self.connections.tokens() {
            self.with_connection(token, |connection, cx| connection.abandon(cx));
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "tests.rs"]
mod tests;
