//! The Reactor: one thread, one demultiplexer, its listeners and its connections.
//!
//! A turn waits once, notes what is ready, accepts, and lets each ready connection have its share.
//! Then come the deadlines that have passed, [after one more look](overdue). Nothing in it blocks but
//! the wait, unless a task's job does and there is no pool that it could go to (topology single).
//!
//! On edges a connection is registered once. On levels its interest has to follow its wish: what
//! changed in a turn is told to the demultiplexer once, before the next wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::alarms::Alarms;
use crate::connection::{Connection, Rest};
use crate::connections::Connections;
use crate::demultiplexer::{Demultiplexer, Interest, Ready, Token};
use crate::error::named;
use crate::inbox::{Inbox, Letter};
use crate::listener::Listener;
use crate::mailroom::Mailroom;
use crate::order::{Errand, Order};
use crate::outgoing::Others;
use crate::pool::Pool;
use crate::stop::Stop;
use crate::task::{Job, Service, Task};
use crate::transient::tolerate;

mod door;
mod overdue;
mod post;
mod upstream;

use door::Door;

/// The receive buffer lent to tasks: one a reactor, however many connections it has.
const BUFFER: usize = 64 << 10;

/// The waker by which [`Stop`], the pool and other reactors wake this one.
const WAKE: Token = Token(u64::MAX);

/// Listeners count down from here; no connection's token is as high.
const LISTENER: u64 = u64::MAX - 1;

/// The jobs of a service's tasks.
pub(crate) type JobOf<S> = <<S as Service>::Task as Task>::Job;

/// What comes of them.
pub(crate) type DoneOf<S> = <JobOf<S> as Job>::Done;

/// What its tasks tell each other.
pub(crate) type MailOf<S> = <<S as Service>::Task as Task>::Mail;

/// What a reactor is given; the rest it makes itself, in its own thread.
pub(crate) struct Parts<'a, S: Service> {
    pub(crate) service: &'a S,
    pub(crate) admission: &'a Admission,
    pub(crate) stop: &'a Stop,
    pub(crate) listeners: Vec<Listener>,
    /// Who gets the connections that are accepted here, if that is not this reactor.
    pub(crate) heirs: Vec<Arc<Inbox<DoneOf<S>>>>,
    pub(crate) inbox: Arc<Inbox<DoneOf<S>>>,
    /// Threads for what may block: for all of it, or only for remote devices.
    pub(crate) pool: &'a Pool<Order<JobOf<S>>>,
    pub(crate) offloads_all: bool,
}

pub(crate) struct Reactor<'a, S: Service, D> {
    demultiplexer: D,
    service: &'a S,
    admission: &'a Admission,
    stop: &'a Stop,
    pool: &'a Pool<Order<JobOf<S>>>,
    offloads_all: bool,
    inbox: Arc<Inbox<DoneOf<S>>>,
    /// Where mail for its tasks comes, if any of them has a mailbox.
    mailroom: Option<Arc<Mailroom<MailOf<S>>>>,
    door: Door<DoneOf<S>>,
    connections: Connections<Connection<S::Task>>,
    /// Who may have a share of this turn.
    queue: VecDeque<Token>,
    /// Whose interest may not be what the demultiplexer was told.
    changed: Vec<Token>,
    alarms: Alarms,
    /// Whose deadlines have passed in this turn.
    overdue: Vec<Token>,
    /// After the stop has begun: when the grace ends.
    end: Option<Instant>,
    letters: Vec<Letter<DoneOf<S>>>,
    buffer: Vec<u8>,
    now: Instant,
}

impl<'a, S: Service, D: Demultiplexer> Reactor<'a, S, D> {
    pub(crate) fn new(mut demultiplexer: D, parts: Parts<'a, S>) -> io::Result<Self> {
        let Parts { service, admission, stop, listeners, heirs, inbox, pool, offloads_all } = parts;
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
            mailroom: None,
            door: Door::new(listeners, heirs),
            connections: Connections::new(),
            queue: VecDeque::new(),
            changed: Vec::new(),
            alarms: Alarms::default(),
            overdue: Vec::new(),
            end: None,
            letters: Vec::new(),
            buffer: vec![0; BUFFER],
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
        for connection in self.connections.iter_mut() {
            connection.abandon(self.now);
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
            self.follow_wishes();
            self.follow_door().map_err(named("watch the listener"))?;
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
        if !self.queue.is_empty() || self.door.has_somebody() {
            return Some(Duration::ZERO);
        }
        let moments = [self.door.pause, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.alarms.next(self.now)).min()
    }

    fn note(&mut self, report: Ready) {
        if report.token == WAKE {
            self.wake();
        } else if let Some(connection) = self.connections.get_mut(report.token) {
            connection.note(report);
            self.enqueue(report.token);
        } else if !self.note_upstream(report)
            && let Ok(number) = usize::try_from(LISTENER - report.token.0)
        {
            self.door.knock(number);
        }
    }

    fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.queue.push_back(token);
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        connection.queued = false;
        connection.deadline.clear();
        let others = Others { pool: self.offloads_all, reads: D::READS };
        let rest = connection.advance(&mut self.buffer, others, self.now);
        let relays = connection.has_relay();
        if !D::EDGE && connection.wanted() != connection.interest {
            self.changed.push(token);
        }
        match rest {
            Rest::Sharing => {
                self.connections.set_busy(token);
                self.enqueue(token);
            }
            Rest::Closed => self.close(token),
            Rest::StillWorking(until) => self.alarms.set(token, &mut connection.deadline, until),
            Rest::Working(errand, until) => {
                if let Some(until) = until {
                    self.alarms.set(token, &mut connection.deadline, until);
                }
                self.connections.set_busy(token);
                self.order(token, errand, until.unwrap_or(self.now));
            }
            Rest::Waiting { idle: true, .. } if self.end.is_some() => self.close(token),
            Rest::Waiting { until, idle, still } => {
                self.alarms.set(token, &mut connection.deadline, until);
                match (idle, still) {
                    (_, true) => {} // it was told of something that was not for it
                    (true, _) => self.connections.set_idle(token),
                    (false, _) => self.connections.set_busy(token),
                }
            }
        }
        if relays {
            self.follow_relay(token);
        }
        self.abandon_errand(token);
    }

    /// Has it done by the model, if that can, or by the pool.
    fn order(&mut self, token: Token, mut errand: Errand<JobOf<S>>, until: Instant) {
        if D::READS
            && let Errand::Warm(part) = errand
        {
            match self.demultiplexer.read(token, part) {
                Ok(()) => return,
                Err(part) => errand = Errand::Warm(part),
            }
        }
        let Some(connection) = self.connections.get_mut(token) else { return };
        if let Some(unwanted) = connection.errand.ticket.take() {
            self.pool.abandon(unwanted);
        }
        let (device, admit, serial) = (errand.device(), errand.admit(), connection.errand.serial);
        let order = Order { errand, token, serial, inbox: Arc::clone(&self.inbox) };
        let refused = if self.offloads_all || device.remote {
            self.pool.submit(device, until, admit, order)
        } else {
            Err(order)
        };
        match refused {
            Ok(ticket) => return connection.errand.ticket = Some(ticket),
            Err(Order { errand: Errand::Job(_), .. }) => connection.rejected(self.now),
            Err(Order { errand: Errand::Warm(_), .. }) => connection.wait_for_disk(),
        }
        self.enqueue(token);
    }

    /// Tells the pool if a connection does not wait any more for what it had ordered.
    fn abandon_errand(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !connection.awaits_worker()
            && let Some(ticket) = connection.errand.ticket.take()
        {
            self.pool.abandon(ticket);
        }
    }

    fn note_reads(&mut self) {
        while let Some(token) = self.demultiplexer.read_over() {
            // The connection may have ended, and its place may be another's.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.warmed();
                self.enqueue(token);
            }
        }
    }

    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        self.forget_upstreams(&mut connection);
        if let Some(ticket) = connection.errand.ticket.take() {
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
        self.alarms.sweep(live, |token| connections.contains(token));
    }

    /// Tells the demultiplexer what each connection that rests is to be watched for.
    fn follow_wishes(&mut self) {
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
pub(crate) mod tests;
