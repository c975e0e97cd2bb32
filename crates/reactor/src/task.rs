//! The task contract: a protocol without I/O.
//!
//! A [`Task`] lives on one connection. It is told what happened by [`Task::handle`] and says through
//! [`Io`] what it wants: to receive, to have jobs run, to be woken by a timer. What it has to send, it
//! appends to the connection's [outbox](Io::outbox). How that is done is the business of the backend,
//! so a task runs unchanged on every model. Sending, receiving and jobs go on side by side.
//!
//! # Limitations
//!
//! On model blocking a connection is simplex as long as nothing is armed while it sends; then poll(2)
//! is asked before each call for the rest of that connection. Jobs run inline there.

use karez_sys::{Lookup, Opened};
use karez_transfer::{Device, Mark, Tag, UnitEvent};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::io::{Io, JobId};
use crate::sync::mailbox::Context;

/// A protocol on one connection.
pub trait Task: Sized {
    /// What may block: it runs where the topology says (in topology single on the event loop's own
    /// thread, so that all connections wait for it, except for the names that io_uring
    /// [opens](Job::open_request) and for [remote](Device::remote) devices), never inside
    /// [`Task::handle`].
    type Job: Job;

    /// What other threads may send to this task by its [mailbox](Context::mailbox):
    /// [`Infallible`](std::convert::Infallible) for a task without one.
    type Message: Send + 'static;

    /// Handles one event. What the task wants next, it says through `io`; a connection for which
    /// nothing is armed, queued or running is closed.
    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Self::Job>);

    /// The outbox is below its low-water mark and the socket takes more: appends, or does nothing.
    fn fill(&mut self, _io: &mut Io<'_, Self::Job>) {}

    /// The thread begins to work for this task. May be called twice in a row. For a task that measures
    /// what it costs.
    fn on_resume(&mut self) {}

    /// The thread goes on to other connections, or waits. Not called by model blocking, whose thread
    /// has no other connection as long as the task lives.
    fn on_yield(&mut self) {}
}

/// What happened on a connection.
#[non_exhaustive]
pub enum Event<'a, T: Task> {
    /// The connection is open: the first event.
    Opened(Context<'a, T::Message>),
    /// At least one byte from the peer, as [`Io::receive`] allowed. Receiving is not armed any more.
    Received(&'a mut [u8], RecordType),
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
    /// The connection will be closed: one chance to append a farewell. Where only an idle connection
    /// is to go, that is at once; in a shutdown a busy one goes on to its end, but should not begin
    /// anything new.
    Closing(Reason),
    /// Receiving failed, or the peer reset the connection while a job was running: the connection is
    /// broken.
    Failed(io::Error),
}

impl<T: Task> fmt::Debug for Event<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(_) => f.write_str("Opened"),
            Self::Received(bytes, kind) => write!(f, "Received({} bytes, {kind:?})", bytes.len()),
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

/// The type of what was received.
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

/// Why a connection will be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has been idle longest, and another one needs its place.
    Evicted,
    /// The server shuts down.
    Shutdown,
}

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// It panicked on its worker thread, which goes on with others.
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
    fn open_request(&mut self) -> Option<Lookup> {
        None
    }

    /// Goes on with the file that was opened. The kernel may not know the operation (`EINVAL`,
    /// `EOPNOTSUPP`), or have cancelled it (`ECANCELED`).
    ///
    /// # Errors
    /// The job itself: there is another [name](Self::open_request) to be opened, or it has to be
    /// [run](Self::run).
    fn opened(self, _opened: rustix::io::Result<Opened>) -> Result<Self::Done, Self>
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
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a UNIX socket.
    Unix,
}
