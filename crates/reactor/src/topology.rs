//! Topologies: how reactors and threads are laid out, and which model goes with which.

use std::fmt;
use std::num::NonZeroUsize;

use crate::models::Model;

/// How reactors and threads are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One reactor in one thread does everything. For [`Model::Blocking`]: one acceptor, and a
    /// thread per connection.
    Single,
    /// A reactor per thread, each with its own listener on the same address (`SO_REUSEPORT`,
    /// Linux 3.9); the kernel spreads the connections.
    Reuseport,
}

impl Topology {
    /// Every topology, in the order in which help and tests show them.
    pub const ALL: &'static [Self] = &[Self::Single, Self::Reuseport];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Reuseport => "reuseport",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A model, a topology and a number of threads that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    model: Model,
    topology: Topology,
    threads: usize,
}

/// What goes with what: the one place that says it.
pub const ALLOWED: &[(Model, Topology)] = &[
    (Model::EpollEdge, Topology::Reuseport),
    (Model::EpollEdge, Topology::Single),
    (Model::Uring, Topology::Reuseport),
    (Model::Uring, Topology::Single),
    (Model::Blocking, Topology::Single),
];

impl Layout {
    /// Fills in what was left open so that it suits what was said. `cores` is the number of
    /// threads where there is a choice.
    ///
    /// # Errors
    /// A sentence, if what was said does not go together.
    pub fn choose(
        model: Option<Model>,
        topology: Option<Topology>,
        threads: Option<NonZeroUsize>,
        cores: NonZeroUsize,
    ) -> Result<Self, Refusal> {
        let many = threads.unwrap_or(cores).get() > 1;
        let suits = |&&(a, b): &&(Model, Topology)| {
            model.is_none_or(|model| a == model) && topology.is_none_or(|topology| b == topology)
        };
        let (model, topology) = ALLOWED
            .iter()
            .filter(suits)
            .copied()
            // With one thread, one reactor with one listener is the same and simpler.
            .find(|&(_, at)| topology.is_some() || many || at == Topology::Single)
            .or_else(|| ALLOWED.iter().find(suits).copied())
            .ok_or(Refusal::Pair(model, topology))?;
        match (topology, threads) {
            (Topology::Single, Some(threads)) if threads.get() > 1 => Err(Refusal::Threads(model)),
            (Topology::Single, _) => Ok(Self { model, topology, threads: 1 }),
            (Topology::Reuseport, _) => {
                Ok(Self { model, topology, threads: threads.unwrap_or(cores).get() })
            }
        }
    }

    /// How it waits.
    #[must_use]
    pub fn model(self) -> Model {
        self.model
    }

    /// How its threads are laid out.
    #[must_use]
    pub fn topology(self) -> Topology {
        self.topology
    }

    /// How many reactors there are. [`Model::Blocking`] has as many threads as connections.
    #[must_use]
    pub fn threads(self) -> usize {
        self.threads
    }
}

/// Why a layout makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The model has no such topology.
    Pair(Option<Model>, Option<Topology>),
    /// The topology has no number of threads to choose.
    Threads(Model),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(model, topology) => {
                let name = topology.map_or("this", Topology::name);
                let with = model.map_or("this", Model::name);
                let fitting: Vec<_> = ALLOWED
                    .iter()
                    .filter(|(allowed, _)| Some(*allowed) == *model)
                    .map(|(_, topology)| topology.name())
                    .collect();
                let fitting = fitting.join(" or ");
                write!(f, "topology {name} does not go with model {with}, which takes {fitting}")
            }
            Self::Threads(Model::Blocking) => f.write_str(
                "model blocking has a thread per connection, so it takes no number of threads",
            ),
            Self::Threads(_) => {
                f.write_str("topology single is one thread; for more take topology reuseport")
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        model: Option<Model>,
        topology: Option<Topology>,
        threads: usize,
    ) -> Result<(Model, Topology, usize), Refusal> {
        let cores = NonZeroUsize::new(4).unwrap();
        let layout = Layout::choose(model, topology, NonZeroUsize::new(threads), cores)?;
        Ok((layout.model(), layout.topology(), layout.threads()))
    }

    #[test]
    fn what_is_left_out_suits_what_is_said() {
        use {Model::*, Topology::*};
        assert_eq!(choose(None, None, 0), Ok((EpollEdge, Reuseport, 4)));
        assert_eq!(choose(None, None, 1), Ok((EpollEdge, Single, 1)));
        assert_eq!(choose(None, None, 3), Ok((EpollEdge, Reuseport, 3)));
        assert_eq!(choose(None, Some(Single), 0), Ok((EpollEdge, Single, 1)));
        assert_eq!(choose(None, Some(Reuseport), 1), Ok((EpollEdge, Reuseport, 1)));
        assert_eq!(choose(Some(Blocking), None, 0), Ok((Blocking, Single, 1)));
        assert_eq!(choose(Some(EpollEdge), None, 0), Ok((EpollEdge, Reuseport, 4)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        use {Model::*, Topology::*};
        assert_eq!(
            choose(Some(Blocking), Some(Reuseport), 0),
            Err(Refusal::Pair(Some(Blocking), Some(Reuseport)))
        );
        assert_eq!(choose(Some(Blocking), None, 2), Err(Refusal::Threads(Blocking)));
        assert_eq!(choose(None, Some(Single), 2), Err(Refusal::Threads(EpollEdge)));
    }
}
