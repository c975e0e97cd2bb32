//! The task contract: what lives on I/O never does I/O.
//!
//! A [`Task`] says what it [wants](Want) and is told what [came of it](Event). How the wish is
//! granted is the model's business, so a task runs unchanged on every model. What goes into the
//! kernel goes by value (an outbox, a job) and comes back with the event, so nothing is freed or
//! reused while the kernel still looks at it.

use karez_sys::{Lookup, Opened};
use karez_transfer::{Device, Outbox};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::mailroom::{Home, NoMail};

/// What lives on one connection.
pub trait Task {
    /// What may block: it runs where the topology says (in topology single on the reactor's own
    /// thread, so that all wait for it, but for the names that io_uring [looks up](Job::lookup) and
    /// for [remote](Device::remote) devices), never inside [`Task::hear`].
    type Job: Job;

    /// What other tasks may tell it: [`NoMail`] for one that nobody talks to.
    type Mail: Send + 'static;

    /// Called once, before the first wish. A task that others may talk to takes its
    /// [mailbox](Home::mailbox) here and gives it to them.
    fn move_in(&mut self, _home: Home<'_, Self::Mail>) {}

    /// From now on this thread works for this task, until it is [put down](Self::put_down): it grants
    /// its wishes and lets it hear. May be said twice, and is not said where a deadline or a stop
    /// ends a wish. For a task that wants to know what it costs.
    fn taken_up(&mut self) {}

    /// The thread goes on to others, or waits. Not said by model blocking, whose thread has no others
    /// as long as the task lives.
    fn put_down(&mut self) {}

    /// What next? Asked after each event, and once at the start.
    fn want(&mut self) -> Want<Self::Job>;

    /// What came of the last wish. `now` is the model's clock, read once a turn.
    fn hear(&mut self, event: Event<'_, <Self::Job as Job>::Done, Self::Mail>, now: Instant);
}

/// Work that may block or compute for long.
pub trait Job: Send + 'static {
    /// What it yields.
    type Done: Send + 'static;

    /// The device whose answer the job waits for. Each device has its own workers and its own queue,
    /// so that one that hangs does not hold up the jobs of another. A job for a
    /// [remote](Device::remote) device is left to a worker in every topology. Asked before the job is
    /// tried.
    fn device(&self) -> Device {
        Device::default()
    }

    /// Does it, on whatever thread this is.
    fn run(self) -> Self::Done;

    /// Does it if that takes no waiting, and else gives itself back. Asked on the reactor's own
    /// thread, where there is a pool that would do it otherwise, or a ring that could look up what
    /// it needs: a job that is usually short saves two switches of threads.
    ///
    /// # Errors
    /// The job itself: it might block.
    fn try_run(self) -> Result<Self::Done, Self>
    where
        Self: Sized,
    {
        Err(self)
    }

    /// When it has given itself back: the name that it has to have opened before it can go on, if
    /// that is all that it would wait for. A model that looks names up while others have their turn
    /// (io_uring) does so and says what it [found](Self::found); on every other nobody asks.
    fn lookup(&mut self) -> Option<Lookup> {
        None
    }

    /// Goes on with what a name led to. Whoever looked may not know how (`EINVAL`, `EOPNOTSUPP`), or
    /// have been cut short (`ECANCELED`).
    ///
    /// # Errors
    /// The job itself: there is another [name](Self::lookup) to be looked up, or it has to be
    /// [run](Self::run).
    fn found(self, _found: rustix::io::Result<Opened>) -> Result<Self::Done, Self>
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

/// A wish. Exactly one is open at a time.
#[derive(Debug)]
pub enum Want<J> {
    /// Bytes from the peer, or [mail](Event::Mail) if that comes first. The model lends the
    /// buffer, so a task that waits holds none.
    Receive {
        /// When to give up and report [`Event::TimedOut`].
        until: Instant,
        /// Between two conversations: the connection may be closed without a word, to make room
        /// for another or because the server stops.
        idle: bool,
    },
    /// Sends all of the outbox.
    Send {
        /// What to send. It comes back with the event.
        outbox: Outbox,
        /// Give up when for so long not a byte could be handed to the kernel.
        stall: Duration,
    },
    /// Runs a job.
    Work {
        /// What to run.
        job: J,
        /// When to report [`Event::TimedOut`] instead of its result. The job itself cannot be
        /// interrupted: it keeps its worker until it returns, and its result is dropped. A job that
        /// runs on the reactor's own thread (topology single, no [remote](Device::remote) device) has
        /// no deadline.
        until: Instant,
    },
    /// Sends a FIN behind what was sent and goes on receiving (shutdown(2), `SHUT_WR`). Closing
    /// at once while the peer still sends would reset the connection and could take the last
    /// answer with it (RFC 9112 §9.6).
    Finish,
    /// Passes on what the peer sends to another socket and what that sends to the peer, each end
    /// of it too, until both have ended. If that comes to an early end, what was on its way is lost,
    /// and all that is left to do is to close.
    Relay {
        /// The other socket, connected. It is closed at the end.
        upstream: OwnedFd,
        /// Give up and report [`Event::TimedOut`] when for so long nothing came through.
        stall: Duration,
    },
    /// Closes the connection and drops the task.
    Close,
}

/// What came of a wish.
#[derive(Debug)]
pub enum Event<'a, D, M = NoMail> {
    /// Bytes from the peer; at least one.
    Received(&'a [u8]),
    /// Another task tells something. What the peer sends meanwhile is there for the next
    /// [`Want::Receive`].
    Mail(M),
    /// The peer will send nothing more (it may still read).
    PeerClosed,
    /// [`Want::Receive`] or [`Want::Work`] came to its time, or nothing moves in a [`Want::Relay`].
    TimedOut,
    /// The job of a [`Want::Work`] was dropped without being run: its device does not answer, or as
    /// many jobs as may already wait for it.
    Rejected,
    /// Receiving or relaying failed; or, while a job was running, the peer reset the connection, and
    /// the job's result will be dropped.
    Failed(io::Error),
    /// All of the outbox is in the kernel's hands. The outbox is empty.
    Sent(Outbox),
    /// Sending ended early. The outbox says how many bytes went out.
    Unsent(Outbox, Obstacle),
    /// The job is done.
    Worked(D),
    /// The FIN is on its way.
    Finished,
    /// Both sides have ended: how many bytes came from the peer, and how many from the upstream.
    Relayed([u64; 2]),
}

/// Why sending ended early.
#[derive(Debug)]
pub enum Obstacle {
    /// The file in front ended `missing` bytes before the range that was promised.
    Truncated {
        /// Bytes promised that do not exist.
        missing: u64,
    },
    /// The peer took nothing for the time allowed.
    TimedOut,
    /// The grace of a stop was over. The task is not asked for another wish.
    Stopped,
    /// The kernel refused.
    Failed(io::Error),
}

/// Makes a task for each connection.
pub trait Service: Sync {
    /// The tasks it makes.
    type Task: Task;

    /// A connection has come.
    fn connect(&self, peer: Peer, now: Instant) -> Self::Task;
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a UNIX socket.
    Unix,
}
