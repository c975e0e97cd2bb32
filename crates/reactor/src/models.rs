//! The models: their names, and one file for each.

use std::str::FromStr;
use std::{fmt, io, thread};

use karez_transfer::Via;

use crate::driver::Completer as _;
use crate::error::{named, no_thread};
use crate::selector::Demultiplexer as _;

mod epoll;
pub(crate) mod epoll_edge;
pub(crate) mod epoll_level;
pub(crate) mod linux_aio;
pub(crate) mod nonblocking;
pub(crate) mod poll;
#[cfg(target_env = "gnu")]
pub(crate) mod posix_aio;
pub(crate) mod select;
pub(crate) mod signal;
pub(crate) mod uring;

use epoll_edge::EpollEdge;
use epoll_level::EpollLevel;
use linux_aio::LinuxAio;
use poll::Poll;
#[cfg(target_env = "gnu")]
use posix_aio::PosixAio;
use select::Select;
use signal::Signal;
use uring::Uring;

/// A way to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// A thread per connection and calls that block.
    Blocking,
    /// Asking every connection on every lap: it burns a core.
    Nonblocking,
    /// select(2) with bitmaps of any size.
    Select,
    /// poll(2).
    Poll,
    /// epoll(7), level-triggered.
    EpollLevel,
    /// epoll(7), edge-triggered.
    EpollEdge,
    /// A real-time signal for every change (fcntl(2), `F_SETSIG`).
    Signal,
    /// glibc's aio_read(3) and aio_write(3). Not on musl.
    PosixAio,
    /// Linux AIO's poll (io_submit(2)).
    LinuxAio,
    /// io_uring(7).
    Uring,
}

impl Model {
    /// Every model, in the order in which help and tests show them.
    pub const ALL: &'static [Self] = &[
        Self::EpollEdge,
        Self::EpollLevel,
        Self::Poll,
        Self::Select,
        Self::Signal,
        Self::LinuxAio,
        Self::Uring,
        Self::PosixAio,
        Self::Nonblocking,
        Self::Blocking,
    ];

    /// What is tried, the first first, when nobody says which model. Where epoll(7) is refused,
    /// level-triggered epoll is, too; signals are one a user and a process, and `nonblocking`
    /// burns a core, so these are for whoever asks for them.
    pub const AUTO: &'static [Self] = &[Self::EpollEdge, Self::Poll, Self::Select, Self::Blocking];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Nonblocking => "nonblocking",
            Self::Select => "select",
            Self::Poll => "poll",
            Self::EpollLevel => "epoll-level",
            Self::EpollEdge => "epoll-edge",
            Self::Signal => "signal",
            Self::PosixAio => "posix-aio",
            Self::LinuxAio => "linux-aio",
            Self::Uring => "uring",
        }
    }

    /// Whether it is told that something has been done, and not when to try it: then the kernel, or
    /// a thread, makes the calls.
    #[must_use]
    pub const fn completes(self) -> bool {
        matches!(self, Self::Uring | Self::PosixAio)
    }

    /// By which via it moves a file where this one is asked for: a readiness model by any, one that
    /// [completes](Self::completes) by what it has an operation for.
    #[must_use]
    pub fn grants(self, via: Via) -> Via {
        match self {
            Self::Uring => Uring::grants(via),
            #[cfg(target_env = "gnu")]
            Self::PosixAio => PosixAio::grants(via),
            _ => via,
        }
    }

    /// Asks the kernel for what the model needs, so that a refusal comes before anybody connects.
    ///
    /// # Errors
    /// Named after the call: `epoll_create1: Function not implemented (os error 38)`.
    pub fn probe(self) -> io::Result<()> {
        match self {
            Self::Blocking | Self::Nonblocking => Ok(()),
            Self::Select => Select::new().map(drop).map_err(named("pselect6")),
            Self::Poll => Poll::new().map(drop).map_err(named("ppoll")),
            Self::EpollLevel => EpollLevel::new().map(drop).map_err(named("epoll_create1")),
            Self::EpollEdge => EpollEdge::new().map(drop).map_err(named("epoll_create1")),
            // It changes the signal mask of whoever makes it.
            Self::Signal => apart(|| Signal::new().map(drop).map_err(named("rt_sigtimedwait"))),
            #[cfg(target_env = "gnu")]
            Self::PosixAio => PosixAio::new().map(drop).map_err(named("posix-aio")),
            #[cfg(not(target_env = "gnu"))]
            Self::PosixAio => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "posix-aio is glibc's, and this program was built without it",
            )),
            Self::LinuxAio => LinuxAio::new()
                .map(drop)
                .map_err(named("io_setup (fs.aio-max-nr is shared by all processes)")),
            // When a ring goes, the kernel interrupts whoever made it.
            Self::Uring => apart(|| Uring::new().map(drop).map_err(named("io_uring_setup"))),
        }
    }

    /// Since when there is such a way.
    #[must_use]
    pub const fn since(self) -> &'static str {
        match self {
            Self::Blocking | Self::Nonblocking => "since always",
            Self::Select => "since always, as pselect6 2.6.16",
            Self::Poll => "since Linux 2.1.23, as ppoll 2.6.16",
            Self::EpollLevel | Self::EpollEdge => "since Linux 2.5.44",
            Self::Signal => "since Linux 2.4",
            Self::PosixAio => "by glibc 2.1, in threads of its own",
            Self::LinuxAio => "since Linux 2.6, polls 4.18",
            Self::Uring => "since Linux 5.1",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        Self::ALL.iter().copied().find(|model| model.name() == name).ok_or(UnknownModel)
    }
}

/// No model has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownModel;

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        write!(f, "no model has this name; there are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownModel {}

/// Probes in a thread of its own.
fn apart(probe: fn() -> io::Result<()>) -> io::Result<()> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("karez-probe".to_owned());
        let thread = thread.spawn_scoped(scope, probe).map_err(no_thread("karez-probe"))?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
    })
}
