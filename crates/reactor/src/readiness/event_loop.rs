//! The Reactor: one thread, one demultiplexer, its listeners and its connections.
//!
//! A turn waits once, notes what is ready, accepts, and lets each ready connection have its share.
//! Then come the deadlines that have passed, [after one more look](super::overdue). Nothing in it blocks
//! but the wait, unless a task's job does and there is no pool that it could go to (topology single).
//!
//! On edges a connection is registered once. On levels its interest has to follow what its task wants:
//! what changed in a turn is told to the demultiplexer once, before the next wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{ReadinessConnection, Turn, TurnContext};
use crate::admission::Admission;
use crate::error::named;
use crate::io::Requests;
use crate::listener::Listener;
use crate::selector::{Demultiplexer, Interest, Ready, Token};
use crate::shutdown::Stop;
use crate::slab::ConnectionSlab;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::MessageQueue;
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{Job, JobError, Service, Task};
use crate::timers::TimerHeap;
use crate::transient::tolerate;
use karez_transfer::Outbox;

use super::accept::Acceptor;

/// The receive buffer lent to tasks: one a reactor, however many connections it has.
const BUFFER: usize = 64 << 10;

/// The waker by which [`Stop`], the pool and other reactors wake this one.
const WAKE: Token = Token(u64::MAX);

/// Listeners count down from here; no connection's token is as high.
pub(super) const LISTENER: u64 = u64::MAX - 1;

/// The jobs of a service's tasks.
pub(crate) type JobOf<S> = <<S as Service>::Task as Task>::Job;

/// What comes of them.
pub(crate) type DoneOf<S> = <JobOf<S> as Job>::Done;

/// What its tasks tell each other.
pub(crate) type MailOf<S> = <<S as Service>::Task as Task>::Message;

/// What a reactor is given; the rest it makes itself, in its own thread.
pub(crate) struct Parts<'a, S: Service> {
    pub(crate) service: &'a S,
    pub(crate) admission: &'a Admission,
    pub(crate) stop: &'a Stop,
    pub(crate) listeners: Vec<Listener>,
    /// Who gets the connections that are accepted here, if that is not this reactor.
    pub(crate) balancer: Vec<Arc<Inbox<DoneOf<S>>>>,
    pub(crate) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Threads for what may block: for all of it, or only for remote devices.
    pub(crate) pool: &'a Pool<PoolTask<JobOf<S>>>,
    pub(crate) offloads_all: bool,
}

pub(crate) struct Reactor<'a, S: Service, D> {
    pub(super) demultiplexer: D,
    pub(super) service: &'a S,
    pub(super) admission: &'a Admission,
    pub(super) stop: &'a Stop,
    pub(super) pool: &'a Pool<PoolTask<JobOf<S>>>,
    offloads_all: bool,
    pub(super) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Where mail for its tasks comes, if any of them has a mailbox.
    pub(super) messages: Option<Arc<MessageQueue<MailOf<S>>>>,
    pub(super) acceptor: Acceptor<DoneOf<S>>,
    pub(super) connections: ConnectionSlab<ReadinessConnection<S::Task>>,
    /// Who may have a share of this turn.
    pub(super) queue: VecDeque<Token>,
    /// Whose interest may not be what the demultiplexer was told.
    pub(super) changed: Vec<Token>,
    pub(super) timers: TimerHeap,
    /// Connections whose deadlines have passed in this turn.
    pub(super) overdue: Vec<Token>,
    /// After the stop has begun: when the grace ends.
    pub(super) end: Option<Instant>,
    pub(super) notifications: Vec<Notification<DoneOf<S>>>,
    pub(super) buffer: Vec<u8>,
    pub(super) requests: Requests<JobOf<S>>,
    pub(super) offloads: Vec<Offload<JobOf<S>>>,
    pub(super) now: Instant,
}

impl<'a, S: Service, D: Demultiplexer> Reactor<'a, S, D> {
    pub(crate) fn new(mut demultiplexer: D, parts: Parts<'a, S>) -> io::Result<Self> {
        let Parts { service, admission, stop, listeners, balancer, inbox, pool, offloads_all } =
            parts;
        demultiplexer
            .register(inbox.waker().as_fd(), WAKE, Interest::READ)
            .map_err(named("register the waker"))?;
        for (listener, number) in listeners.iter().zip(0..) {
            demultiplexer
                .register(listener.as_fd(), Token(LISTENER - number), Interest::READ)
                .map_err(named("register the listener"))?;
        }
        Ok(Self {
            demultiplexer,
            service,
            admission,
            stop,
            pool,
            offloads_all,
            inbox,
            messages: None,
            acceptor: Acceptor::new(listeners, balancer),
            connections: ConnectionSlab::new(),
            queue: VecDeque::new(),
            changed: Vec::new(),
            timers: TimerHeap::default(),
            overdue: Vec::new(),
            end: None,
            notifications: Vec::new(),
            buffer: vec![0; BUFFER],
            requests: Requests::new(),
            offloads: Vec::new(),
            now: Instant::now(),
        })
    }

    /// Turns until the stop is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.is_over() {
            let timeout = self.prepare()?;
            self.wait(timeout, &mut ready)?;
            self.turn(&mut ready);
            if self.find_overdue() {
                self.wait(Some(Duration::ZERO), &mut ready)?;
                self.time_out_overdue(&mut ready);
            }
        }
        for token in self.connections.tokens() {
            self.with_connection(token, |connection, cx| connection.abandon(cx));
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        tolerate(self.demultiplexer.wait(timeout, ready)).map_err(named("wait"))
    }

    /// Tells the demultiplexer what has changed, and says how long it may wait.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn prepare(&mut self) -> io::Result<Option<Duration>> {
        if !D::EDGE {
            self.update_interests();
            self.update_listener_interest().map_err(named("watch the listener"))?;
        }
        Ok(self.timeout())
    }

    /// All that follows from what was reported. Nothing in it blocks, which `.ci/sanitize realtime`
    /// has RealtimeSanitizer find out.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn turn(&mut self, ready: &mut Vec<Ready>) {
        self.now = Instant::now();
        for report in ready.drain(..) {
            self.note(report);
        }
        if D::READS {
            self.note_reads();
        }
        self.accept_all();
        for _ in 0..self.queue.len() {
            if let Some(token) = self.queue.pop_front() {
                self.advance(token);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.connections.len() == 0 || end <= self.now)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.acceptor.has_pending() {
            return Some(Duration::ZERO);
        }
        let moments = [self.acceptor.backoff_until, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.timers.next(self.now)).min()
    }

    pub(super) fn note(&mut self, report: Ready) {
        if report.token == WAKE {
            self.handle_wakeup();
        } else if let Some(connection) = self.connections.get_mut(report.token) {
            connection.set_ready(report);
            self.enqueue(report.token);
        } else if !self.note_upstream(report)
            && let Ok(number) = usize::try_from(LISTENER - report.token.0)
        {
            self.acceptor.set_ready(number);
        }
    }

    pub(super) fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.queue.push_back(token);
        }
    }

    /// Returns an outbox that reports misses where they can be read without blocking this thread.
    pub(super) fn new_outbox(&self) -> Outbox {
        let mut outbox = Outbox::new();
        if self.offloads_all {
            outbox.tell_cold();
            return outbox;
        }
        if D::READS {
            outbox.tell_direct();
        }
        outbox.tell_remote();
        outbox
    }

    /// Calls `work` with a connection and what it works with, and hands out what may block.
    pub(super) fn with_connection<R>(
        &mut self,
        token: Token,
        work: impl FnOnce(&mut ReadinessConnection<S::Task>, &mut TurnContext<'_, JobOf<S>>) -> R,
    ) -> Option<R> {
        let connection = self.connections.get_mut(token)?;
        let mut cx = TurnContext {
            buffer: &mut self.buffer,
            requests: &mut self.requests,
            offloads: &mut self.offloads,
            pool: self.offloads_all,
            now: self.now,
        };
        let result = work(connection, &mut cx);
        for ticket in connection.unwanted.drain(..) {
            self.pool.abandon(ticket);
        }
        if !self.offloads.is_empty() {
            self.hand_out(token);
        }
        Some(result)
    }

    pub(super) fn advance(&mut self, token: Token) {
        let turn = self.with_connection(token, |connection, cx| {
            connection.queued = false;
            connection.deadline.clear();
            connection.advance(cx)
        });
        let (Some(turn), Some(connection)) = (turn, self.connections.get_mut(token)) else {
            return;
        };
        let relays = connection.has_relay();
        if !D::EDGE && connection.wanted() != connection.interest {
            self.changed.push(token);
        }
        match turn {
            Turn::Yielded => {
                self.connections.set_busy(token);
                self.enqueue(token);
            }
            Turn::Closed => return self.close(token),
            Turn::Blocked { idle: true, .. } if self.end.is_some() => return self.close(token),
            Turn::Blocked { deadline, idle, unchanged } => {
                if let Some(deadline) = deadline {
                    self.timers.set(token, &mut connection.deadline, deadline);
                }
                match (idle, unchanged) {
                    (_, true) => {} // the report was not about anything that it wants
                    (true, _) => self.connections.set_idle(token),
                    (false, _) => self.connections.set_busy(token),
                }
            }
        }
        if relays {
            self.follow_relay(token);
        }
    }

    /// Hands out what may block: to the model, if that can, or to the pool.
    fn hand_out(&mut self, token: Token) {
        let mut offloads = std::mem::take(&mut self.offloads);
        for offload in offloads.drain(..) {
            self.hand_out_one(token, offload);
        }
        self.offloads = offloads;
    }

    fn hand_out_one(&mut self, token: Token, mut offload: Offload<JobOf<S>>) {
        if D::READS
            && let Offload::PageIn(None, part) = offload
        {
            match self.demultiplexer.read(token, part) {
                Ok(()) => return,
                Err(part) => offload = Offload::PageIn(None, part),
            }
        }
        let Some(connection) = self.connections.get_mut(token) else { return };
        let (id, device, admit) = (offload.id(), offload.device(), offload.admit());
        let until = connection.offload_deadline(id, self.now);
        let task = PoolTask { offload, token, inbox: Arc::clone(&self.inbox) };
        let submitted = if self.offloads_all || device.remote {
            self.pool.submit(device, until, admit, task)
        } else {
            Err(task)
        };
        match submitted.map_err(|task| task.offload) {
            Ok(ticket) => return connection.tickets.push(id, ticket),
            Err(Offload::Job(id, _)) => connection.job_done(id, Err(JobError::Rejected)),
            Err(Offload::PageIn(tag, _)) => connection.wait_for_disk(tag),
        }
        self.enqueue(token);
    }

    pub(super) fn note_reads(&mut self) {
        while let Some(token) = self.demultiplexer.read_over() {
            // The connection may have ended, and its slot may be another's.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.page_in_done(None);
                self.enqueue(token);
            }
        }
    }

    pub(super) fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        self.forget_upstreams(&mut connection);
        for ticket in connection.tickets.drain() {
            self.pool.abandon(ticket);
        }
        if !D::FORGETS_CLOSED {
            // It is closed all the same, so nobody can act on a refusal.
            let _refused = self.demultiplexer.deregister(connection.socket.as_fd());
        }
        drop(connection);
        self.leave();
        let connections = &mut self.connections;
        let live = connections.len();
        self.timers.compact(live, |token| connections.contains(token));
    }

    /// Tells the demultiplexer what each connection that rests is to be watched for.
    fn update_interests(&mut self) {
        for token in std::mem::take(&mut self.changed) {
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            let wanted = connection.wanted();
            // One that shares the next turn, too, is told about when it rests.
            if connection.queued || wanted == connection.interest {
                continue;
            }
            match self.demultiplexer.modify(connection.socket.as_fd(), token, wanted) {
                Ok(()) => connection.interest = wanted,
                Err(_) => self.close(token), // nobody would hear of it any more
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "tests.rs"]
pub(crate) mod tests;
