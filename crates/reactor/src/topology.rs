//! Topologies: how event loops and threads are laid out, and which model supports which.

use std::fmt;
use std::str::FromStr;

use crate::models::Model;

/// A threading layout: how event loops and threads are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topology {
    /// One event loop in one thread does everything. While it waits for a disk, all connections wait; on
    /// [`Model::Uring`], where the kernel opens and reads files, only other jobs block. Calls on
    /// [remote](crate::Device::remote) devices are made by threads of their own. For
    /// [`Model::Blocking`]: one acceptor, and a thread per connection.
    Single,
    /// One event loop, and a pool of threads for jobs that may block. For [`Model::Blocking`]: a
    /// bounded pool of threads, each with one connection at a time.
    Workers,
    /// A main event loop accepts and hands each connection to the event loop that has the fewest. Jobs that may block are run by a pool.
    Multi,
    /// Several event loops, each with its own listener on the same address (`SO_REUSEPORT`,
    /// Linux 3.9); the kernel spreads the connections. Jobs that may block are run by
    /// a pool.
    Reuseport,
}

impl Topology {
    /// Every topology, in the order in which help and tests show them.
    pub const ALL: &'static [Self] = &[Self::Single, Self::Workers, Self::Multi, Self::Reuseport];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Workers => "workers",
            Self::Multi => "multi",
            Self::Reuseport => "reuseport",
        }
    }

    /// Returns whether several event loops have connections, so that their number can be chosen.
    #[must_use]
    pub const fn has_reactors(self) -> bool {
        matches!(self, Self::Multi | Self::Reuseport)
    }

    /// Returns whether there is a pool, so that its size can be chosen.
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

/// The pairs of a model and a topology that there are. Where one of the two is not chosen, the
/// first pair that suits is taken. A topology without a pool comes after those with one, because
/// its event loop waits for the disk.
pub const ALLOWED: &[(Model, Topology)] = &pairs();

/// The topologies of a model that has event loops.
const OF_EVENT_LOOPS: [Topology; 4] =
    [Topology::Reuseport, Topology::Workers, Topology::Single, Topology::Multi];

/// The topologies of [`Model::Blocking`], the last model.
const OF_BLOCKING: [Topology; 2] = [Topology::Single, Topology::Workers];

const EVENT_LOOP_PAIRS: usize = (Model::ALL.len() - 1) * OF_EVENT_LOOPS.len();

const fn pairs() -> [(Model, Topology); EVENT_LOOP_PAIRS + OF_BLOCKING.len()] {
    let mut pairs = [(Model::Blocking, OF_BLOCKING[0]); EVENT_LOOP_PAIRS + OF_BLOCKING.len()];
    let mut index = 0;
    while index < EVENT_LOOP_PAIRS {
        let (model, topology) = (index / OF_EVENT_LOOPS.len(), index % OF_EVENT_LOOPS.len());
        pairs[index] = (Model::ALL[model], OF_EVENT_LOOPS[topology]);
        index += 1;
    }
    while index < pairs.len() {
        pairs[index] = (Model::Blocking, OF_BLOCKING[index - EVENT_LOOP_PAIRS]);
        index += 1;
    }
    pairs
}
