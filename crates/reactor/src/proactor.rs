//! The Proactor: one thread, one completion model, its listeners and its connections. The
//! counterpart of the [Reactor](crate::reactor), which is told when it may try; this one is told
//! what has been done.
//!
//! A turn waits once, takes what came of each operation, begins what follows from it, and lets
//! newcomers in. Then come the deadlines that have passed, after one more look at what is complete:
//! a wait may have been interrupted, or be long over when this thread runs again. A connection that is closed is forgotten at
//! once; its descriptor goes with the last operation that holds it.

use karez_sys::{Completion, Handle, Operation, Outcome};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::alarms::Alarms;
use crate::completer::Completer;
use crate::connections::Connections;
use crate::demultiplexer::Token;
use crate::dialogue::{Dialogue, Rest};
use crate::error::named;
use crate::inbox::{Inbox, Letter};
use crate::mailroom::Mailroom;
use crate::order::{Errand, Order};
use crate::pool::Pool;
use crate::reactor::{DoneOf, JobOf, MailOf, Parts};
use crate::stop::Stop;
use crate::task::Service;
use crate::tools::Tools;
use crate::transient::tolerate;

mod door;
mod post;

use door::Door;

/// What is called so says that the waker has been woken.
const WAKE: u64 = u64::MAX;

/// Listeners count down from here; no connection's token is as high.
const LISTENER: u64 = u64::MAX - 1;

/// Before a deadline counts: calls that fetch what is complete, of which each may bring a part only
/// (io_uring does 20 pieces of deferred work at a time).
const LOOKS: usize = 64;

/// After the grace: how long to wait for operations to say how far they came.
const FAREWELL: Duration = Duration::from_millis(250);

pub(crate) struct Proactor<'a, S: Service, C> {
    tools: Tools<C>,
    service: &'a S,
    admission: &'a Admission,
    stop: &'a Stop,
    pool: &'a Pool<Order<JobOf<S>>>,
    offloads_all: bool,
    inbox: Arc<Inbox<DoneOf<S>>>,
    /// Where mail for its tasks comes, if any of them has a mailbox.
    mailroom: Option<Arc<Mailroom<MailOf<S>>>>,
    door: Door<DoneOf<S>>,
    connections: Connections<Dialogue<S::Task>>,
    alarms: Alarms,
    /// Whose deadlines have passed in this turn.
    overdue: Vec<Token>,
    /// After the stop has begun: when the grace ends.
    end: Option<Instant>,
    letters: Vec<Letter<DoneOf<S>>>,
    now: Instant,
}

impl<'a, S: Service, C: Completer> Proactor<'a, S, C> {
    pub(crate) fn new(completer: C, parts: Parts<'a, S>) -> io::Result<Self> {
        let Parts { service, admission, stop, listeners, heirs, inbox, pool, offloads_all } = parts;
        for listener in listeners.iter().filter(|_| C::ACCEPTS_WAIT) {
            listener.set_blocking().map_err(named("ioctl FIONBIO"))?;
        }
        Ok(Self {
            tools: Tools::new(completer),
            service,
            admission,
            stop,
            pool,
            offloads_all,
            inbox,
            mailroom: None,
            door: Door::new(listeners, heirs),
            connections: Connections::new(),
            alarms: Alarms::default(),
            overdue: Vec::new(),
            end: None,
            letters: Vec::new(),
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
        self.bid_farewell();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        tolerate(self.tools.completer.wait(timeout, done)).map_err(named("wait"))
    }

    /// All that follows from what was done. Nothing in it blocks, which `.ci/sanitize realtime` has
    /// RealtimeSanitizer find out.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn turn(&mut self, done: &mut Vec<Completion>, later: &mut Vec<Completion>) {
        self.now = Instant::now();
        self.take(done, later);
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
        let moments = [self.door.pause, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.alarms.next(self.now)).min()
    }

    fn note(&mut self, completion: Completion) {
        let token = Token(completion.tag);
        if completion.tag == WAKE {
            self.wake();
        } else if let Some(connection) = self.connections.get_mut(token) {
            connection.complete(completion, self.now, &mut self.tools);
            self.advance(token);
        } else if let Outcome::Accepted(accepted) = completion.outcome {
            self.accepted(completion.tag, completion.last, accepted);
        } else if completion.last {
            // The last of a closed connection: its descriptor is free.
            self.door.pause = None;
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        connection.deadline.clear();
        match connection.advance(self.offloads_all, self.now, &mut self.tools) {
            Rest::Closed => self.close(token),
            Rest::StillWorking(until) => self.alarms.set(token, &mut connection.deadline, until),
            Rest::Working(job, until) => {
                self.alarms.set(token, &mut connection.deadline, until);
                self.connections.set_busy(token);
                return self.order(token, job, until);
            }
            Rest::Waiting { idle: true, .. } if self.end.is_some() => self.close(token),
            Rest::Waiting { until, idle, still } => {
                if let Some(until) = until {
                    self.alarms.set(token, &mut connection.deadline, until);
                }
                match (idle, still) {
                    (_, true) => {} // it was told of something that was not for it
                    (true, _) => self.connections.set_idle(token),
                    (false, _) => self.connections.set_busy(token),
                }
            }
        }
        self.abandon_job(token);
    }

    /// Has a job done by the pool.
    fn order(&mut self, token: Token, job: JobOf<S>, until: Instant) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if let Some(unwanted) = connection.ticket.take() {
            self.pool.abandon(unwanted);
        }
        let (errand, serial) = (Errand::Job(job), connection.serial);
        let (device, admit) = (errand.device(), errand.admit());
        let order = Order { errand, token, serial, inbox: Arc::clone(&self.inbox) };
        match self.pool.submit(device, until, admit, order) {
            Ok(ticket) => connection.ticket = Some(ticket),
            Err(_) => {
                connection.rejected(self.now);
                self.advance(token);
            }
        }
    }

    /// Tells the pool if a connection does not wait any more for its job.
    fn abandon_job(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !connection.awaits_worker()
            && let Some(ticket) = connection.ticket.take()
        {
            self.pool.abandon(ticket);
        }
    }

    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        connection.abort(&mut self.tools);
        if let Some(ticket) = connection.ticket.take() {
            self.pool.abandon(ticket);
        }
        let dismissed = connection.dismissed;
        drop(connection);
        self.leave();
        if dismissed {
            self.stop.wake_all();
        }
        let connections = &mut self.connections;
        let live = connections.len();
        self.alarms.sweep(live, |token| connections.contains(token));
    }

    /// Collects the connections whose deadlines have passed; false if there are none.
    fn find_overdue(&mut self) -> bool {
        while let Some(alarm) = self.alarms.pop(self.now) {
            let Some(connection) = self.connections.get_mut(alarm.1) else {
                continue;
            };
            if self.alarms.ring(alarm, &mut connection.deadline, self.now) {
                self.overdue.push(alarm.1);
            }
        }
        !self.overdue.is_empty()
    }

    /// Ends the wishes whose deadlines have passed, after what has been completed before. One that
    /// rings late is extended first: the kernel, or a thread, could not go on either.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn time_out_overdue(&mut self) {
        let mut overdue = std::mem::take(&mut self.overdue);
        for token in overdue.drain(..) {
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            let deadline = &mut connection.deadline;
            if deadline.has_passed(self.now) && !self.alarms.extend(token, deadline, self.now) {
                deadline.clear();
                connection.time_out(self.now, &mut self.tools);
                self.advance(token);
            }
        }
        self.overdue = overdue;
        self.admit_all();
        self.accept();
    }

    fn watch_waker(&mut self) {
        let waker = Arc::clone(self.inbox.shared_waker()) as Handle;
        self.tools.completer.start(WAKE, Operation::Readable(waker));
    }

    /// Cancels what is in flight, so that each task can be told how far it came.
    fn bid_farewell(&mut self) {
        for connection in self.connections.iter_mut() {
            connection.abort(&mut self.tools);
        }
        let (end, mut done) = (Instant::now() + FAREWELL, Vec::new());
        while self.connections.iter_mut().any(|connection| connection.is_flying()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.tools.completer.wait(Some(left), &mut done).is_err() {
                break;
            }
            for completion in done.drain(..) {
                if let Some(connection) = self.connections.get_mut(Token(completion.tag)) {
                    connection.complete(completion, self.now, &mut self.tools);
                }
            }
        }
        for connection in self.connections.iter_mut() {
            connection.abandon(self.now);
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
