//! The state that every event loop has, and its connections' way through it: registered, resumed, run
//! for a turn, closed.
//!
//! [`EventLoop`] is the contract of a backend. It is compiled once for each model, so that one model
//! does not pay for another.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acceptor::Acceptor;
use crate::admission::Admission;
use crate::connection::{Connection, ContextOf, EventLoopConnection, Turn, TurnContext};
use crate::io::{Close, Requests};
use crate::listener::Listener;
use crate::panics::contain;
use crate::selector::Token;
use crate::shutdown::Shutdown;
use crate::slab::ConnectionSlab;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::{Context, MessageQueue};
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{Job, JobError, Peer, Service, Task};
use crate::timers::TimerHeap;

/// The token of the waker by which [`Shutdown`], the pool and other event loops wake this one.
pub(crate) const WAKE: Token = Token(u64::MAX);

/// Listeners count down from here; no connection's token is as high.
pub(crate) const LISTENER: u64 = u64::MAX - 1;

/// The time of a turn in which connections may begin costly work: two handshakes with an ECDSA key, or one with
/// an RSA key.
const COSTLY_PER_TURN: Duration = Duration::from_micros(200);

/// The tasks of a service.
pub(crate) type TaskOf<S> = <S as Service>::Task;

/// The jobs of a service's tasks.
pub(crate) type JobOf<S> = <TaskOf<S> as Task>::Job;

/// The results of these jobs.
pub(crate) type DoneOf<S> = <JobOf<S> as Job>::Done;

/// The messages to a service's tasks.
pub(crate) type MessageOf<S> = <TaskOf<S> as Task>::Message;

/// The parts that an event loop is made from; the rest it makes in its own thread.
pub(crate) struct Parts<'a, S: Service> {
    pub(crate) service: &'a S,
    pub(crate) admission: &'a Admission,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) listeners: Vec<Listener>,
    /// The reactors that get the connections; none where this event loop keeps them.
    pub(crate) balancer: Vec<Arc<Inbox<DoneOf<S>>>>,
    pub(crate) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Threads for blocking work: for all of it, or only for remote devices.
    pub(crate) pool: &'a Pool<PoolTask<JobOf<S>>>,
    pub(crate) offloads_all: bool,
}

/// The state that every event loop has.
pub(crate) struct Core<'a, S: Service, K: Connection> {
    pub(crate) service: &'a S,
    pub(crate) admission: &'a Admission,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) pool: &'a Pool<PoolTask<JobOf<S>>>,
    pub(crate) offloads_all: bool,
    pub(crate) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Messages to the tasks, if any of them has a mailbox.
    pub(crate) messages: Option<Arc<MessageQueue<MessageOf<S>>>>,
    pub(crate) acceptor: Acceptor<DoneOf<S>>,
    pub(crate) connections: ConnectionSlab<K>,
    /// Connections that run in the next turn, or in this one.
    pub(crate) queue: VecDeque<Token>,
    /// Connections whose tasks go on when the others of this turn have received.
    pub(crate) deferred: Vec<Token>,
    pub(crate) timers: TimerHeap,
    /// Connections whose deadlines have passed in this turn.
    pub(crate) overdue: Vec<Token>,
    /// The end of the grace period, once the shutdown has begun.
    pub(crate) grace_end: Option<Instant>,
    /// The shutdown leaves idle connections open.
    pub(crate) draining: bool,
    /// It has listeners, and has not said that it accepts no more.
    pub(crate) accepts: bool,
    /// The last round of [`Shutdown::respond`].
    pub(crate) round: u64,
    pub(crate) notifications: Vec<Notification<DoneOf<S>>>,
    pub(crate) resources: K::Resources,
    pub(crate) requests: Requests<JobOf<S>>,
    pub(crate) offloads: Vec<Offload<JobOf<S>>>,
    /// The clock, read once a turn.
    pub(crate) now: Instant,
}

impl<'a, S: Service, K: Connection> Core<'a, S, K> {
    /// Returns the state and the listeners.
    pub(crate) fn new(parts: Parts<'a, S>, resources: K::Resources) -> (Self, Vec<Listener>) {
        let Parts { service, admission, shutdown, listeners, balancer, inbox, pool, offloads_all } =
            parts;
        let mut requests = Requests::new();
        if balancer.is_empty() {
            requests.local = service.local();
        }
        let core = Self {
            service,
            admission,
            shutdown,
            pool,
            offloads_all,
            inbox,
            messages: None,
            acceptor: Acceptor::new(balancer),
            connections: ConnectionSlab::new(),
            queue: VecDeque::new(),
            deferred: Vec::new(),
            timers: TimerHeap::default(),
            overdue: Vec::new(),
            grace_end: None,
            draining: false,
            accepts: !listeners.is_empty(),
            round: 0,
            notifications: Vec::new(),
            resources,
            requests,
            offloads: Vec::new(),
            now: Instant::now(),
        };
        (core, listeners)
    }

    /// Returns whether the shutdown is complete.
    pub(crate) fn is_over(&self) -> bool {
        let ended = || self.connections.len() == 0 && !self.expects_connections();
        self.grace_end.is_some_and(|end| end <= self.now || ended())
    }

    /// Returns whether a connection that has been accepted may be on its way to this event loop.
    fn expects_connections(&self) -> bool {
        // In this order: an event loop passes on its last connection before it accepts no more.
        let accepting = self.shutdown.is_accepting();
        accepting || !self.acceptor.pending.is_empty() || self.inbox.load() > 0
    }

    /// Returns how long the event loop may wait where nothing can be done at once.
    pub(crate) fn timeout(&mut self) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let local = self.requests.local.as_mut().and_then(|local| local.tend(self.now));
        let moments = [self.acceptor.backoff_until, self.grace_end, local];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.timers.next(self.now)).min()
    }
}

impl<S: Service, K: EventLoopConnection> Core<'_, S, K> {
    /// Notes the time of a turn, and what it may do.
    pub(crate) fn begin_turn(&mut self) {
        self.now = Instant::now();
        self.requests.costly_left = COSTLY_PER_TURN;
    }

    /// Puts a connection into the run queue.
    pub(crate) fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !mem::replace(&mut connection.state().queued, true)
        {
            self.queue.push_back(token);
        }
    }

    /// Takes the next connection out of the run queue.
    pub(crate) fn dequeue(&mut self) -> Option<Token> {
        let token = self.queue.pop_front()?;
        if let Some(connection) = self.connections.get_mut(token) {
            connection.state().queued = false;
        }
        Some(token)
    }
}

/// An event loop of one backend.
pub(crate) trait EventLoop<'a>: Sized {
    type Service: Service + 'a;
    type Connection: EventLoopConnection<Task = TaskOf<Self::Service>>;

    fn core(&mut self) -> &mut Core<'a, Self::Service, Self::Connection>;

    /// Starts to serve a connection that has been admitted.
    fn register(&mut self, socket: OwnedFd, peer: Peer);

    /// Lets a connection run: at once, or in this turn.
    fn resume(&mut self, token: Token);

    /// Stops accepting for good.
    fn close_listeners(&mut self);

    /// The same without the loss of a connection that has been accepted. Returns whether it is done; else it
    /// will [be](Self::accepting_ended) when the last of them has arrived.
    fn retire_listeners(&mut self) -> bool {
        self.close_listeners();
        true
    }

    /// Notes that no connection will be accepted any more.
    fn accepting_ended(&mut self) {
        let core = self.core();
        if mem::take(&mut core.accepts) {
            core.shutdown.acceptor_ended();
        }
    }

    /// Ends the work of the backend for a connection that is being closed; true if its descriptor is free
    /// when it is dropped.
    fn disconnect(&mut self, connection: &mut Self::Connection) -> bool;

    /// Watches the waker again.
    fn rearm_waker(&mut self) {}

    /// Updates registrations after a turn of a connection.
    fn after_turn(&mut self, _token: Token) {}

    /// Takes work that the model itself can do without blocking; returns any other.
    fn offload(
        &mut self,
        _token: Token,
        offload: Offload<JobOf<Self::Service>>,
    ) -> Option<Offload<JobOf<Self::Service>>> {
        Some(offload)
    }

    /// Delivers the first event of a connection.
    fn open(&mut self, token: Token) {
        let mut messages = self.core().messages.take();
        let waker = Arc::clone(self.core().inbox.shared_waker());
        self.with_connection(token, |connection, cx| {
            let context = Context { token, queue: &mut messages, waker: Some(&waker) };
            connection.open(context, cx);
        });
        self.core().messages = messages;
        self.resume(token);
    }

    /// Calls `work` with a connection and its context, and hands out blocking work.
    fn with_connection<R>(
        &mut self,
        token: Token,
        work: impl FnOnce(&mut Self::Connection, &mut ContextOf<'_, Self::Connection>) -> R,
    ) -> Option<R> {
        let core = self.core();
        let connection = core.connections.get_mut(token)?;
        let mut cx = TurnContext {
            resources: &mut core.resources,
            requests: &mut core.requests,
            offloads: &mut core.offloads,
            pool: core.offloads_all,
            now: core.now,
        };
        let Some(result) = contain(|| work(connection, &mut cx)) else {
            self.close_panicked(token);
            return None;
        };
        for ticket in connection.state().tickets.drain_unwanted() {
            core.pool.abandon(ticket);
        }
        if !core.offloads.is_empty() {
            self.hand_out(token);
        }
        Some(result)
    }

    /// Hands out blocking work: to the model, if it takes it, or to the pool.
    fn hand_out(&mut self, token: Token) {
        let mut offloads = mem::take(&mut self.core().offloads);
        for offload in offloads.drain(..) {
            if let Some(offload) = self.offload(token, offload) {
                self.submit(token, offload);
            }
        }
        self.core().offloads = offloads;
    }

    /// Submits work to the pool, or reports to the connection that it is rejected.
    fn submit(&mut self, token: Token, offload: Offload<JobOf<Self::Service>>) {
        let core = self.core();
        let Some(connection) = core.connections.get_mut(token) else { return };
        let state = connection.state();
        let (id, device, admit) = (offload.id(), offload.device(), offload.admit());
        let until = state.offload_deadline(id, core.now);
        let task = PoolTask { offload, token, inbox: Arc::clone(&core.inbox) };
        let submitted = if core.offloads_all || device.remote {
            core.pool.submit(device, until, admit, task)
        } else {
            Err(task)
        };
        match submitted.map_err(|task| task.offload) {
            Ok(ticket) => return state.tickets.push(id, ticket),
            Err(Offload::Job(id, _)) => state.job_done(id, Err(JobError::Rejected)),
            // No thread reads the pages, so the steps of the outbox do.
            Err(Offload::PageIn(tag, _)) => {
                state.outbox.block_on_misses();
                connection.page_in_done(tag);
            }
        }
        core.enqueue(token);
    }

    /// Runs a turn of a connection.
    fn run_turn(&mut self, token: Token) {
        let turn = self.with_connection(token, |connection, cx| {
            connection.state().deadline.clear();
            connection.advance(cx)
        });
        let core = self.core();
        let (Some(turn), Some(connection)) = (turn, core.connections.get_mut(token)) else {
            return;
        };
        match turn {
            Turn::Closed => return self.close(token),
            Turn::Blocked { idle: true, .. } if core.grace_end.is_some() && !core.draining => {
                return self.close(token);
            }
            Turn::Yielded if connection.state().wants.deferred => {
                core.connections.set_busy(token);
                return core.deferred.push(token);
            }
            Turn::Yielded => {
                let state = connection.state();
                state.deferred_due |= mem::take(&mut state.wants.postponed);
                core.connections.set_busy(token);
                core.enqueue(token);
            }
            Turn::Blocked { deadline, idle, unchanged } => {
                if let Some(deadline) = deadline {
                    core.timers.set(token, &mut connection.state().deadline, deadline);
                }
                match (idle, unchanged) {
                    (_, true) => {} // the event was not about anything that the task wants
                    (true, _) => core.connections.set_idle(token),
                    (false, _) => core.connections.set_busy(token),
                }
            }
        }
        self.after_turn(token);
    }

    /// Closes a connection and frees its place.
    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.core().connections.remove(token) else { return };
        let frees_descriptor = self.disconnect(&mut connection);
        let core = self.core();
        for ticket in connection.state().tickets.drain() {
            core.pool.abandon(ticket);
        }
        let evicting = connection.state().evicting;
        // The destructor of a task is its own code.
        let _panicked = contain(|| drop(connection));
        self.leave(frees_descriptor);
        let core = self.core();
        if evicting {
            core.shutdown.wake_all();
        }
        let connections = &mut core.connections;
        let live = connections.len();
        core.timers.compact(live, |token| connections.contains(token));
    }

    /// Closes a connection whose task panicked, by a reset, and discards what it has left behind.
    fn close_panicked(&mut self, token: Token) {
        self.discard_shared();
        let core = self.core();
        if let Some(connection) = core.connections.get_mut(token) {
            connection.state().wants.close = Some(Close::Reset);
            connection.prepare_close();
        }
        self.close(token);
    }

    /// Closes all connections after a panic outside of a task, whose effect on them is unknown.
    fn close_all_panicked(&mut self) {
        for token in self.core().connections.tokens() {
            self.close_panicked(token);
        }
        self.discard_shared();
    }

    /// Discards requests, and the state that tasks share, which a panic may have left half done.
    fn discard_shared(&mut self) {
        let core = self.core();
        let _panicked = contain(|| {
            core.requests.discard();
            core.offloads.clear();
        });
        let local = core.requests.local.take();
        let had_local = local.is_some();
        let _panicked = contain(|| drop(local));
        if had_local {
            core.requests.local = contain(|| core.service.local()).flatten();
        }
    }

    /// Frees the place of a connection, for one that waits here or on another event loop.
    fn leave(&mut self, frees_descriptor: bool) {
        let core = self.core();
        core.inbox.dec_load();
        core.admission.leave();
        if frees_descriptor {
            core.acceptor.backoff_until = None;
        }
        core.acceptor.retry();
        if core.acceptor.pending.is_empty() && core.admission.take_eviction_request() {
            core.shutdown.wake_all();
        }
    }
}
