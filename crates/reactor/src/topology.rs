//! Topologies: how reactors and threads are laid out, and which model goes with which.

use std::fmt;
use std::str::FromStr;

use crate::models::Model;

/// How reactors and threads are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One reactor in one thread does everything: while it waits for a disk, all wait, but on
    /// [`Model::Uring`], where the kernel waits for names and files, only for other jobs. Calls on
    /// [remote](crate::Device::remote) devices are left to threads that are made for them. For
    /// [`Model::Blocking`]: one acceptor, and a thread per connection.
    Single,
    /// One reactor, and a pool of threads for jobs that may block. For [`Model::Blocking`]: a
    /// bounded pool of threads, each with one connection at a time.
    Workers,
    /// A main reactor accepts and hands each connection to the one of several sub-reactors that
    /// has the fewest. Jobs that may block go to a pool.
    Multi,
    /// A reactor per thread, each with its own listener on the same address (`SO_REUSEPORT`,
    /// Linux 3.9); the kernel spreads the connections. Jobs that may block go to a pool.
    Reuseport,
}

impl Topology {
    /// Every topology, in the order in which help and tests show them.
    pub const ALL: &'static [Self] = &[Self::Single, Self::Workers, Self::Multi, Self::Reuseport];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Workers => "workers",
            Self::Multi => "multi",
            Self::Reuseport => "reuseport",
        }
    }

    /// Whether several reactors hold connections, so that their number can be chosen.
    #[must_use]
    pub const fn has_reactors(self) -> bool {
        matches!(self, Self::Multi | Self::Reuseport)
    }

    /// Whether there is a pool, so that its size can be chosen.
    #[must_use]
    pub const fn has_workers(self) -> bool {
        !matches!(self, Self::Single)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Topology {
    type Err = UnknownTopology;

    fn from_str(name: &str) -> Result<Self, UnknownTopology> {
        Self::ALL.iter().copied().find(|topology| topology.name() == name).ok_or(UnknownTopology)
    }
}

/// No topology has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTopology;

impl fmt::Display for UnknownTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Topology::ALL.iter().map(|topology| topology.name()).collect();
        write!(f, "no topology has this name; there are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownTopology {}

/// What goes with what: the one place that says it. Where something is left open, the first that
/// suits is taken.
pub const ALLOWED: &[(Model, Topology)] = &[
    (Model::EpollEdge, Topology::Reuseport),
    (Model::EpollEdge, Topology::Single),
    (Model::EpollEdge, Topology::Workers),
    (Model::EpollEdge, Topology::Multi),
    (Model::EpollLevel, Topology::Reuseport),
    (Model::EpollLevel, Topology::Single),
    (Model::EpollLevel, Topology::Workers),
    (Model::EpollLevel, Topology::Multi),
    (Model::Poll, Topology::Reuseport),
    (Model::Poll, Topology::Single),
    (Model::Poll, Topology::Workers),
    (Model::Poll, Topology::Multi),
    (Model::Select, Topology::Reuseport),
    (Model::Select, Topology::Single),
    (Model::Select, Topology::Workers),
    (Model::Select, Topology::Multi),
    (Model::Signal, Topology::Reuseport),
    (Model::Signal, Topology::Single),
    (Model::Signal, Topology::Workers),
    (Model::Signal, Topology::Multi),
    (Model::LinuxAio, Topology::Reuseport),
    (Model::LinuxAio, Topology::Single),
    (Model::LinuxAio, Topology::Workers),
    (Model::LinuxAio, Topology::Multi),
    (Model::Uring, Topology::Reuseport),
    (Model::Uring, Topology::Single),
    (Model::Uring, Topology::Workers),
    (Model::Uring, Topology::Multi),
    (Model::PosixAio, Topology::Reuseport),
    (Model::PosixAio, Topology::Single),
    (Model::PosixAio, Topology::Workers),
    (Model::PosixAio, Topology::Multi),
    (Model::Nonblocking, Topology::Reuseport),
    (Model::Nonblocking, Topology::Single),
    (Model::Nonblocking, Topology::Workers),
    (Model::Nonblocking, Topology::Multi),
    (Model::Blocking, Topology::Single),
    (Model::Blocking, Topology::Workers),
];
