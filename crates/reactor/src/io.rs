//! What a task may ask for while it handles an event, and the record of it.
//!
//! [`Io`] makes no system call. It writes to a record that belongs to the event loop and is emptied by
//! the backend after each [`Task::handle`](crate::Task::handle), so asking costs no allocation.

use karez_transfer::{Mark, Outbox};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Jobs that one connection may have at a time.
pub(crate) const MAX_JOBS: usize = 64;

/// How long the peer may take no byte, where the task says nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Says what a task wants.
pub struct Io<'a, J> {
    now: Instant,
    outbox: &'a mut Outbox,
    requests: &'a mut Requests<J>,
    /// Jobs of this connection that run.
    jobs: usize,
}

/// What the tasks of an event loop have asked for, and nothing between two events.
pub(crate) struct Requests<J> {
    pub(crate) receive: Option<Receive>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) timer: Option<Option<Instant>>,
    pub(crate) jobs: VecDeque<(JobId, J)>,
    pub(crate) options: VecDeque<SocketOption>,
    pub(crate) relay: Option<(OwnedFd, Duration)>,
    pub(crate) shutdown_write: bool,
    pub(crate) close: Option<Close>,
}

/// A receive that is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) deadline: Instant,
    pub(crate) idle: bool,
    pub(crate) at_most: Option<NonZeroUsize>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// `TCP_NODELAY` (tcp(7)): whether small segments leave at once.
    NoDelay(bool),
    /// `TCP_USER_TIMEOUT` (tcp(7)), in milliseconds: how long sent data may stay unacknowledged.
    UserTimeout(u32),
    /// `SO_KEEPALIVE` (socket(7)).
    KeepAlive(bool),
}

impl SocketOption {
    /// Sets it.
    pub(crate) fn set(self, socket: impl AsFd) -> std::io::Result<()> {
        use rustix::net::sockopt;
        match self {
            Self::NoDelay(on) => sockopt::set_tcp_nodelay(socket, on)?,
            Self::UserTimeout(milliseconds) => sockopt::set_tcp_user_timeout(socket, milliseconds)?,
            Self::KeepAlive(on) => sockopt::set_socket_keepalive(socket, on)?,
        }
        Ok(())
    }
}

impl<'a, J> Io<'a, J> {
    pub(crate) fn new(
        now: Instant,
        outbox: &'a mut Outbox,
        requests: &'a mut Requests<J>,
        jobs: usize,
    ) -> Self {
        Self { now, outbox, requests, jobs }
    }

    /// Returns the clock of the event loop, which is read once a turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Arms receiving, once: for as many bytes as there are, or `at_most` so many, until `deadline`.
    /// What does not fit stays in the kernel. `idle`: while nothing is queued or running the connection
    /// is between two exchanges, and may be closed to make room for another or because the server
    /// shuts down.
    ///
    /// A bounded receive behind an unbounded one that has been delivered is an error of the task: a
    /// completion backend may have received more already. It then delivers what it has, in pieces of
    /// `at_most` bytes.
    pub fn receive(&mut self, deadline: Instant, idle: bool, at_most: Option<NonZeroUsize>) {
        self.requests.receive = Some(Receive { deadline, idle, at_most });
    }

    /// Returns the queue of what leaves, to append to.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.outbox
    }

    /// Sets how long the peer may take no byte before [`SendError::TimedOut`](crate::SendError): 60 s
    /// if it is not called.
    pub fn send_timeout(&mut self, stall: Duration) {
        self.requests.send_timeout = Some(stall);
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
        if self.jobs + self.requests.jobs.len() >= MAX_JOBS {
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

    /// Passes on what the peer sends to another, connected socket and what that sends to the peer, each
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
    pub(crate) fn new() -> Self {
        Self {
            receive: None,
            send_timeout: None,
            timer: None,
            jobs: VecDeque::new(),
            options: VecDeque::new(),
            relay: None,
            shutdown_write: false,
            close: None,
        }
    }
}

/// What a connection remembers of its task's requests, on every backend.
pub(crate) struct Wants {
    pub(crate) receive: Option<Receive>,
    pub(crate) timer: Option<Instant>,
    pub(crate) send_timeout: Duration,
    pub(crate) shutdown_write: bool,
    pub(crate) close: Option<Close>,
    /// Jobs that run.
    pub(crate) jobs: usize,
}

impl Wants {
    pub(crate) fn new() -> Self {
        let (receive, timer, close) = (None, None, None);
        let (send_timeout, shutdown_write, jobs) = (SEND_TIMEOUT, false, 0);
        Self { receive, timer, send_timeout, shutdown_write, close, jobs }
    }

    /// Takes over what a task has asked for; jobs, options and a relay stay in the record.
    pub(crate) fn take<J>(&mut self, requests: &mut Requests<J>) {
        if let Some(receive) = requests.receive.take() {
            self.receive = Some(receive);
        }
        if let Some(timer) = requests.timer.take() {
            self.timer = timer;
        }
        if let Some(stall) = requests.send_timeout.take() {
            self.send_timeout = stall;
        }
        self.shutdown_write |= std::mem::take(&mut requests.shutdown_write);
        if let Some(close) = requests.close.take() {
            self.close = Some(close);
        }
    }

    /// Returns the earlier of the deadlines of the receive and the timer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let receive = self.receive.map(|receive| receive.deadline);
        receive.into_iter().chain(self.timer).min()
    }
}

impl<J> fmt::Debug for Io<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}
