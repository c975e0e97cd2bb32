//! The state that every event loop has.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acceptor::Acceptor;
use super::costly_queue::CostlyQueue;
use crate::admission::Admission;
use crate::clock;
use crate::connection::{Connection, EventLoopConnection};
use crate::io::Requests;
use crate::listener::Listener;
use crate::selector::Token;
use crate::shutdown::Shutdown;
use crate::slab::ConnectionSlab;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::MessageQueue;
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{Job, Service, Task};
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
    /// Those of them that were sending when they were enqueued: they run behind the others.
    pub(crate) senders: VecDeque<Token>,
    /// Those that wait for the time of a turn to begin costly work.
    pub(crate) costly: CostlyQueue,
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
            senders: VecDeque::new(),
            costly: CostlyQueue::default(),
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
            now: clock::now(),
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

    /// Returns the number of connections in the run queues.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len() + self.senders.len()
    }

    /// Returns how long the event loop may wait where nothing can be done at once.
    pub(crate) fn timeout(&mut self) -> Option<Duration> {
        if self.queued() + self.costly.len() > 0 {
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
        self.now = clock::now();
        self.requests.costly_left = COSTLY_PER_TURN;
    }

    /// Puts a connection into a run queue.
    pub(crate) fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !mem::replace(&mut connection.state().queued, true)
        {
            match connection.state().outbox.is_empty() {
                true => self.queue.push_back(token),
                false => self.senders.push_back(token),
            }
        }
    }

    /// Puts a connection that wants to begin costly work into the queue for it.
    pub(crate) fn enqueue_costly(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !mem::replace(&mut connection.state().queued, true)
        {
            self.costly.push(token);
        }
    }

    /// Takes a connection that may begin costly work out of its queue, while this turn has time for it.
    pub(crate) fn dequeue_costly(&mut self) -> Option<Token> {
        let may_start = !self.requests.costly_left.is_zero();
        let token = may_start.then(|| self.costly.pop()).flatten()?;
        self.set_dequeued(token);
        Some(token)
    }

    /// Takes the next connection that is not sending out of its run queue.
    pub(crate) fn dequeue(&mut self) -> Option<Token> {
        let token = self.queue.pop_front()?;
        self.set_dequeued(token);
        Some(token)
    }

    /// Takes the next connection that is sending out of its run queue.
    pub(crate) fn dequeue_sender(&mut self) -> Option<Token> {
        let token = self.senders.pop_front()?;
        self.set_dequeued(token);
        Some(token)
    }

    fn set_dequeued(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.state().queued = false;
        }
    }
}
