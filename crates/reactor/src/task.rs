//! The task contract: a protocol without I/O.
//!
//! A [`Task`] lives on one connection. It handles events ([`Task::handle`]) and makes requests through
//! [`Io`]: to receive, to run jobs, to set a timer. It appends bytes and files to the connection's
//! [outbox](Io::outbox). The backend makes the calls, so a task runs unchanged on every model. Sending, receiving and jobs go on side by side.
//!
//! # Limitations
//!
//! On model blocking a connection is simplex as long as nothing is armed while it sends; then poll(2)
//! is asked before each call for the rest of that connection. Jobs run inline there.

use karez_sys::{OpenRequest, OpenedFile};
use karez_transfer::{Device, Mark, Tag, UnitEvent};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::io::{Io, JobId};
use crate::local::Local;
use crate::sync::mailbox::Context;

/// A protocol on one connection.
pub trait Task: Sized {
    /// Work that may block: it runs where the topology says (in topology single on the event loop's own
    /// thread, so that all connections wait for it, except for the names that io_uring
    /// [opens](Job::open_request) and for [remote](Device::remote) devices), never inside
    /// [`Task::handle`].
    type Job: Job;

    /// The messages that other threads may send to this task by its [mailbox](Context::mailbox):
    /// [`Infallible`](std::convert::Infallible) for a task without one.
    type Message: Send + 'static;

    /// Handles one event. The task makes its requests through `io`.
    ///
    /// # Panics
    /// The event loop panics where no event can follow: nothing is armed, queued or running, and the task has
    /// not [closed](Io::close) the connection. As after any panic in a task, the connection is reset, and
    /// the panic hook (`std::panic::set_hook`) receives the message, which names the type of the task and the
    /// event that it handled last.
    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Self::Job>);

    /// The outbox is below its low-water mark and the socket takes more: appends, or does nothing.
    fn fill(&mut self, _io: &mut Io<'_, Self::Job>) {}

    /// The thread begins to work for this task. May be called twice in a row. For a task that measures
    /// its cost.
    fn on_resume(&mut self) {}

    /// The thread goes on to other connections, or waits. Not called by model blocking, whose thread
    /// has no other connection as long as the task lives.
    fn on_yield(&mut self) {}
}

/// An event of a connection.
#[non_exhaustive]
pub enum Event<'a, T: Task> {
    /// The connection is open: the first event.
    Opened(Context<'a, T::Message>),
    /// At least one byte from the peer, as [`Io::receive`] allowed. Receiving is not armed any more.
    Received(&'a mut [u8], RecordType),
    /// The other connections that were ready have received, see [`Io::defer`]; or the turn of the
    /// event loop has time for costly work, see [`Io::start_costly`].
    Deferred,
    /// The peer will send nothing more; it may still read. Receiving is not armed any more.
    PeerClosed,
    /// The deadline of [`Io::receive`] has passed. Receiving is not armed any more.
    ReceiveTimedOut,
    /// The time of [`Io::set_timer`] has come.
    Timer,
    /// Everything before this mark has been handed to the kernel.
    Sent(Mark),
    /// Sending ended early. The outbox has been emptied; [`Outbox::moved`](karez_transfer::Outbox)
    /// says how many bytes have left.
    SendFailed(SendError),
    /// Something happened to the units of a stream.
    Unit(Tag, UnitEvent),
    /// A job is done, or will never be.
    JobDone(JobId, Result<<T::Job as Job>::Done, JobError>),
    /// A [`SocketOption`](crate::SocketOption) has been set, or not.
    Configured(io::Result<()>),
    /// The relay is over.
    Relayed(RelayEnd),
    /// Another thread sent a message.
    Message(T::Message),
    /// The connection will be closed: one chance to append a farewell. An evicted connection is closed
    /// at once; in a shutdown a busy one goes on to its end, but should not begin
    /// anything new. While the server drains, every one goes on.
    Closing(Reason),
    /// Receiving failed, or the peer reset the connection while a job was running: the connection is
    /// broken.
    Failed(io::Error),
}

/// Declares the names of the events of [`Event`].
macro_rules! event_names {
    ($($name:ident),*) => {
        /// The name of an event.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum EventName { $($name),* }

        impl EventName {
            pub(crate) fn of<T: Task>(event: &Event<'_, T>) -> Self {
                match event { $(Event::$name { .. } => Self::$name),* }
            }
        }
    };
}

event_names!(
    Opened,
    Received,
    Deferred,
    PeerClosed,
    ReceiveTimedOut,
    Timer,
    Sent,
    SendFailed,
    Unit,
    JobDone,
    Configured,
    Relayed,
    Message,
    Closing,
    Failed
);

impl<T: Task> fmt::Debug for Event<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(_) => f.write_str("Opened"),
            Self::Received(bytes, kind) => write!(f, "Received({} bytes, {kind:?})", bytes.len()),
            Self::Deferred => f.write_str("Deferred"),
            Self::PeerClosed => f.write_str("PeerClosed"),
            Self::ReceiveTimedOut => f.write_str("ReceiveTimedOut"),
            Self::Timer => f.write_str("Timer"),
            Self::Sent(mark) => write!(f, "Sent({mark:?})"),
            Self::SendFailed(error) => write!(f, "SendFailed({error:?})"),
            Self::Unit(tag, event) => write!(f, "Unit({tag:?}, {event:?})"),
            Self::JobDone(id, Ok(_)) => write!(f, "JobDone({id:?}, Ok(_))"),
            Self::JobDone(id, Err(error)) => write!(f, "JobDone({id:?}, Err({error:?}))"),
            Self::Configured(result) => write!(f, "Configured({result:?})"),
            Self::Relayed(end) => write!(f, "Relayed({end:?})"),
            Self::Message(_) => f.write_str("Message"),
            Self::Closing(reason) => write!(f, "Closing({reason:?})"),
            Self::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}

/// The type of a received record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordType {
    /// Bytes of the stream.
    Data,
    /// A record of TLS with another content type, delivered by the kernel (RFC 8446 §5.1).
    Control(u8),
}

/// Why sending ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The file in front ended `missing` bytes before the range that was promised.
    Truncated {
        /// Bytes promised that do not exist.
        missing: u64,
    },
    /// The peer took nothing for the time allowed ([`Io::send_timeout`]).
    TimedOut,
    /// The grace period of a shutdown is over. Nothing that the task wants now is done.
    ShutDown,
    /// The kernel refused.
    Failed(io::Error),
}

/// How a relay ended, and how many bytes it passed on.
#[derive(Debug)]
pub struct RelayEnd {
    /// Bytes from the client to the upstream.
    pub to_upstream: u64,
    /// Bytes from the upstream to the client.
    pub to_client: u64,
    /// Why it ended before both sides did, if so.
    pub error: Option<io::Error>,
}

impl RelayEnd {
    /// Returns the end of a relay that has not begun.
    pub(crate) fn failed(error: impl Into<io::Error>) -> Self {
        Self { to_upstream: 0, to_client: 0, error: Some(error.into()) }
    }
}

/// Why a connection will be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has been idle longest, and another one needs its place.
    Evicted,
    /// The server shuts down.
    Shutdown,
    /// The server [drains](crate::Shutdown::drain): the connection stays open, and should announce its end.
    Draining,
}

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// It panicked on its worker thread, which goes on with other jobs.
    Panicked,
    /// It was dropped without being run: its device does not answer, or as many jobs as may already
    /// wait for it.
    Rejected,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panicked => "the job panicked",
            Self::Rejected => "the job was rejected",
        })
    }
}

impl std::error::Error for JobError {}

/// Work that may block or compute for long.
pub trait Job: Send + 'static {
    /// The result.
    type Done: Send + 'static;

    /// Returns the device whose answer the job waits for. Each device has its own workers and its own
    /// queue, so that one that hangs does not hold up the jobs of another. A job for a
    /// [remote](Device::remote) device is left to a worker in every topology. Asked before the job is
    /// tried.
    fn device(&self) -> Device {
        Device::default()
    }

    /// Runs it, on whatever thread this is.
    fn run(self) -> Self::Done;

    /// Runs it if that does not block, and else returns it. Asked on the event loop's own thread,
    /// where there is a pool or a ring that would do it otherwise: a job that is usually short saves
    /// two switches of threads.
    ///
    /// # Errors
    /// The job itself: it might block.
    fn try_run(self) -> Result<Self::Done, Self>
    where
        Self: Sized,
    {
        Err(self)
    }

    /// After [`try_run`](Self::try_run) returned it: the name that has to be opened before it can go
    /// on, if that is all that it would wait for. A model that opens names asynchronously (io_uring)
    /// does so and calls [`opened`](Self::opened); on every other this is not called.
    fn open_request(&mut self) -> Option<OpenRequest> {
        None
    }

    /// Goes on with the file that was opened. The kernel may not know the operation (`EINVAL`,
    /// `EOPNOTSUPP`), or have cancelled it (`ECANCELED`).
    ///
    /// # Errors
    /// The job itself: there is another [name](Self::open_request) to be opened, or it has to be
    /// [run](Self::run).
    fn opened(self, _opened: rustix::io::Result<OpenedFile>) -> Result<Self::Done, Self>
    where
        Self: Sized,
    {
        Err(self)
    }
}

/// The job of a task that has none.
#[derive(Debug)]
pub enum NoJob {}

impl Job for NoJob {
    type Done = NoJob;

    fn run(self) -> Self {
        self
    }

    fn try_run(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// Makes a task for each connection.
pub trait Service: Sync {
    /// The tasks it makes.
    type Task: Task;

    /// Makes the task of a connection that has been accepted.
    fn connect(&self, peer: Peer, now: Instant) -> Self::Task;

    /// Makes the state that the tasks of one event loop share, in the thread of that loop. A task
    /// reaches it by [`Io::local`], without a lock. Not called on model `blocking`.
    fn local(&self) -> Option<Box<dyn Local>> {
        None
    }
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its address; `None` on a UNIX socket.
    pub address: Option<SocketAddr>,
    /// The listener that accepted the connection: the index of its address in
    /// [`Server::bind`](crate::Server::bind).
    pub listener: usize,
}

impl Peer {
    /// Returns a peer with an address, or without one on a UNIX socket.
    #[must_use]
    pub fn new(address: Option<SocketAddr>, listener: usize) -> Self {
        Self { address, listener }
    }
}
