//! The requests of a task while it handles an event, and their record.
//!
//! [`Io`] makes no system call. It writes to a record that belongs to the event loop and is emptied by
//! the backend after each [`Task::handle`](crate::Task::handle), so asking costs no allocation.

use karez_sys::{TlsDirection, TlsKeys, start_ktls};
use karez_transfer::{Mark, Outbox};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::local::Local;
use crate::moment::Moment;
use crate::shared_rate::{PacedSocket, RateShare};
use crate::stall::StallLimits;

/// Jobs that one connection may have at a time.
pub(crate) const MAX_JOBS: usize = 64;

/// How long the peer may take no byte, where the task says nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes the requests of a task.
pub struct Io<'a, J> {
    now: Instant,
    outbox: &'a mut Outbox,
    requests: &'a mut Requests<J>,
    /// Jobs of this connection that run.
    jobs: u16,
}

/// The requests of the task that handles an event; empty between two events.
pub(crate) struct Requests<J> {
    pub(crate) receive: Option<Receive>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) min_send_rate: Option<u64>,
    pub(crate) timer: Option<Option<Instant>>,
    pub(crate) jobs: VecDeque<(JobId, J)>,
    pub(crate) options: VecDeque<SocketOption>,
    pub(crate) pace: Option<PacedSocket>,
    pub(crate) relay: Option<(OwnedFd, Duration)>,
    pub(crate) shutdown_write: bool,
    pub(crate) close: Option<Close>,
    pub(crate) defer: bool,
    pub(crate) postpone: bool,
    /// See [`Io::epoch`]. This and the following are no requests: they are state of the event loop that
    /// [`Io`] reads.
    pub(crate) epoch: u64,
    /// Other connections are to receive in this turn.
    pub(crate) may_defer: bool,
    /// The time for costly work that is left in this turn, see [`Io::start_costly`].
    pub(crate) costly_left: Duration,
    /// State that the tasks of the event loop share.
    pub(crate) local: Option<Box<dyn Local>>,
}

/// A receive that is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) deadline: Moment,
    pub(crate) idle: bool,
    at_most: Option<NonZeroU32>,
}

impl Receive {
    fn new(deadline: Instant, idle: bool, at_most: Option<NonZeroUsize>) -> Self {
        let short = |most: NonZeroUsize| NonZeroU32::try_from(most).unwrap_or(NonZeroU32::MAX);
        Self { deadline: deadline.into(), idle, at_most: at_most.map(short) }
    }

    /// Returns the most bytes to receive; `None` for as many as there are.
    pub(crate) fn at_most(self) -> Option<NonZeroUsize> {
        self.at_most.and_then(|most| NonZeroUsize::try_from(most).ok())
    }
}

/// How a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// As close(2) does.
    Now,
    /// So that the peer's next call fails (`SO_LINGER` with 0 seconds, socket(7)).
    Reset,
}

/// Names a job of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// An option of a connection's socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SocketOption {
    /// `TCP_NODELAY` (tcp(7)): whether small segments leave at once.
    NoDelay(bool),
    /// `TCP_USER_TIMEOUT` (tcp(7)), in milliseconds: how long sent data may stay unacknowledged.
    UserTimeout(u32),
    /// `SO_KEEPALIVE` (socket(7)).
    KeepAlive(bool),
    /// `TLS_RX` (Documentation/networking/tls.rst, Linux 4.17): the kernel opens all records that have not
    /// been received, under these keys; set once more, behind a key update (Linux 6.14). Nothing may have
    /// been received beyond the handshake ([bounded receives](Io::receive)). From then on control
    /// records are delivered as [`RecordType::Control`](crate::RecordType::Control).
    TlsRx(TlsKeys),
}

impl SocketOption {
    /// Sets it.
    pub(crate) fn set(self, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        use rustix::net::sockopt;
        match self {
            Self::NoDelay(on) => sockopt::set_tcp_nodelay(socket, on)?,
            Self::UserTimeout(milliseconds) => sockopt::set_tcp_user_timeout(socket, milliseconds)?,
            Self::KeepAlive(on) => sockopt::set_socket_keepalive(socket, on)?,
            Self::TlsRx(keys) => start_ktls(socket, TlsDirection::Rx, &keys)?,
        }
        Ok(())
    }
}

impl<'a, J> Io<'a, J> {
    pub(crate) fn new(
        now: Instant,
        outbox: &'a mut Outbox,
        requests: &'a mut Requests<J>,
        jobs: u16,
    ) -> Self {
        Self { now, outbox, requests, jobs }
    }

    /// Returns the clock of the event loop, which is read once a turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Arms receiving, once: for as many bytes as there are, or `at_most` so many, until `deadline`.
    /// The rest stays in the kernel. `idle`: while nothing is queued or running the connection
    /// is between two exchanges, and may be closed to make room for another or because the server
    /// shuts down.
    ///
    /// A bounded receive behind an unbounded one that has been delivered is an error of the task: a
    /// completion backend may have received more already. It then delivers its buffer, in pieces of
    /// `at_most` bytes.
    pub fn receive(&mut self, deadline: Instant, idle: bool, at_most: Option<NonZeroUsize>) {
        self.requests.receive = Some(Receive::new(deadline, idle, at_most));
    }

    /// Returns the state that all tasks of this event loop share, made by
    /// [`Service::local`](crate::Service::local). `None` on model `blocking`, whose threads have one
    /// connection each, if the service has none, and for another type.
    pub fn local<L: Local>(&mut self) -> Option<&mut L> {
        let local: &mut dyn Any = self.requests.local.as_deref_mut()?;
        local.downcast_mut()
    }

    /// Returns a number that grows whenever the event loop may have taken bytes from the kernel. What
    /// the task learns of the world at an epoch is not older than any byte that was delivered before the
    /// epoch grows again: for a cache that is brought up to date once an epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.requests.epoch
    }

    /// Returns whether other connections are going to receive in this turn of the event loop. Not on
    /// a completion model, which receives ahead of its tasks, nor on model `blocking`, whose threads have
    /// one connection each.
    #[must_use]
    pub fn may_defer(&self) -> bool {
        self.requests.may_defer
    }

    /// Asks for [`Event::Deferred`](crate::Event::Deferred) after the other connections have received, so
    /// that a call can be made once for all of them. Until then the connection sends nothing, and gets no
    /// other event. Does nothing unless it [may](Self::may_defer).
    pub fn defer(&mut self) {
        self.requests.defer = self.requests.may_defer;
    }

    /// Paces the socket by its part of a rate, until the share is dropped. It has no effect on a UNIX socket.
    pub fn pace(&mut self, share: &RateShare) {
        self.requests.pace = Some(share.paced());
    }

    /// Asks to begin work that takes about `time` of the CPU, in the order of 0.1 ms or more, such as a signature.
    /// Returns false if such work has used up the time that it has in this turn of the event loop, 0.2 ms: then nothing
    /// must be begun, and [`Event::Deferred`](crate::Event::Deferred) is delivered in a later turn, for another
    /// try. Until then the connection sends nothing. So a flood of such work delays other connections by
    /// a bounded time. Of those that wait the newest and the oldest have the next turns alternately, so that a
    /// new one does not wait for all of a flood. Always true on model `blocking`, whose threads have one connection each.
    #[must_use]
    pub fn start_costly(&mut self, time: Duration) -> bool {
        let may_start = !self.requests.costly_left.is_zero();
        self.requests.costly_left = self.requests.costly_left.saturating_sub(time);
        self.requests.postpone |= !may_start;
        may_start
    }

    /// Returns the send queue, to append to.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.outbox
    }

    /// Sets how long the peer may take no byte before [`SendError::TimedOut`](crate::SendError): 60 s
    /// if it is not called.
    pub fn send_timeout(&mut self, stall: Duration) {
        self.requests.send_timeout = Some(stall);
    }

    /// Sets the rate at which the peer must take bytes on average, in bytes per second: one that takes less than
    /// that times the [send timeout](Self::send_timeout) in that time fails with
    /// [`SendError::TimedOut`](crate::SendError). Bytes count when the kernel has accepted them. With 0, as
    /// before the first call, any byte is enough.
    pub fn min_send_rate(&mut self, bytes_per_second: u64) {
        self.requests.min_send_rate = Some(bytes_per_second);
    }

    /// Asks for [`Event::Sent`](crate::Event::Sent) when everything that has been appended so far has
    /// been handed to the kernel.
    pub fn notify_sent(&mut self, mark: Mark) {
        self.outbox.push_mark(mark);
    }

    /// Has a job run; [`Event::JobDone`](crate::Event::JobDone) brings its result under this id. The time
    /// of the [timer](Self::set_timer) is when the job is overdue: a device whose jobs are overdue gets
    /// no more of them. The job itself cannot be interrupted, and keeps its worker until it returns.
    ///
    /// # Errors
    /// The job, where the connection has 64 of them already.
    pub fn run(&mut self, id: JobId, job: J) -> Result<(), J> {
        if usize::from(self.jobs) + self.requests.jobs.len() >= MAX_JOBS {
            return Err(job);
        }
        self.requests.jobs.push_back((id, job));
        Ok(())
    }

    /// Sets the one timer of the connection, or takes it back.
    pub fn set_timer(&mut self, at: Option<Instant>) {
        self.requests.timer = Some(at);
    }

    /// Sets an option of the socket; [`Event::Configured`](crate::Event::Configured) brings the result.
    /// It takes effect before any later receive.
    pub fn configure(&mut self, option: SocketOption) {
        self.requests.options.push_back(option);
    }

    /// Relays the bytes of the peer to another, connected socket and those of the other to the peer, each
    /// end of it too, until both have ended or nothing has come through for `stall_timeout`. The
    /// upstream is closed at the end. After an early end all that is left to do is to close.
    pub fn relay(&mut self, upstream: OwnedFd, stall_timeout: Duration) {
        self.requests.relay = Some((upstream, stall_timeout));
    }

    /// Sends a FIN behind the outbox and goes on receiving (shutdown(2), `SHUT_WR`). Closing at once
    /// while the peer still sends would reset the connection and could take the last bytes with it
    /// (RFC 9112 §9.6).
    pub fn shutdown_write(&mut self) {
        self.requests.shutdown_write = true;
    }

    /// Closes the connection at once and drops the task and its outbox.
    pub fn close(&mut self) {
        self.requests.close.get_or_insert(Close::Now);
    }

    /// The same, so that the peer cannot take it for a regular end: a reset on TCP.
    pub fn reset(&mut self) {
        self.requests.close = Some(Close::Reset);
    }
}

impl<J> Requests<J> {
    /// Drops the requests of a task that panicked, and keeps the state of the event loop.
    pub(crate) fn discard(&mut self) {
        let Self { epoch, may_defer, costly_left, local, .. } = mem::replace(self, Self::new());
        *self = Self { epoch, may_defer, costly_left, local, ..Self::new() };
    }

    pub(crate) fn new() -> Self {
        Self {
            receive: None,
            send_timeout: None,
            min_send_rate: None,
            timer: None,
            jobs: VecDeque::new(),
            options: VecDeque::new(),
            pace: None,
            relay: None,
            shutdown_write: false,
            close: None,
            epoch: 0,
            may_defer: false,
            defer: false,
            postpone: false,
            costly_left: Duration::MAX,
            local: None,
        }
    }
}

/// The requests that a connection remembers, on every backend.
pub(crate) struct Wants {
    pub(crate) receive: Option<Receive>,
    pub(crate) timer: Option<Moment>,
    pub(crate) stall: StallLimits,
    pub(crate) shutdown_write: bool,
    pub(crate) close: Option<Close>,
    /// Jobs that run.
    pub(crate) jobs: u16,
    /// The task goes on when the other connections have received.
    pub(crate) deferred: bool,
    /// The task goes on in the next turn of the event loop.
    pub(crate) postponed: bool,
}

impl Wants {
    pub(crate) fn new() -> Self {
        let (receive, timer, close) = (None, None, None);
        let (stall, shutdown_write, jobs) = (StallLimits::new(SEND_TIMEOUT), false, 0);
        let (deferred, postponed) = (false, false);
        Self { receive, timer, stall, shutdown_write, close, jobs, deferred, postponed }
    }

    /// Takes over the requests of a task; jobs, options and a relay stay in the record.
    pub(crate) fn take<J>(&mut self, requests: &mut Requests<J>) {
        if let Some(receive) = requests.receive.take() {
            self.receive = Some(receive);
        }
        if let Some(timer) = requests.timer.take() {
            self.timer = timer.map(Moment::from);
        }
        if let Some(stall) = requests.send_timeout.take() {
            self.stall.set_timeout(stall);
        }
        if let Some(rate) = requests.min_send_rate.take() {
            self.stall.set_min_rate(rate);
        }
        self.shutdown_write |= std::mem::take(&mut requests.shutdown_write);
        self.deferred |= std::mem::take(&mut requests.defer);
        self.postponed |= std::mem::take(&mut requests.postpone);
        if let Some(close) = requests.close.take() {
            self.close = Some(close);
        }
    }

    /// Returns the earlier of the deadlines of the receive and the timer.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let receive = self.receive.map(|receive| receive.deadline);
        receive.into_iter().chain(self.timer).min()
    }
}

impl<J> fmt::Debug for Io<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}
