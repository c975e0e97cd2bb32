//! Layouts: a model, a topology and numbers of threads that go together, from what was said.

use std::num::NonZeroUsize;
use std::{fmt, io};

use crate::models::Model;
use crate::topology::{ALLOWED, Topology};

/// Threads of a pool for jobs when nobody says how many: they wait for disks, not for cores.
const WORKERS: usize = 16;

/// Threads of [`Model::Blocking`] in [`Topology::Workers`] when nobody says how many: each holds a
/// connection, idle or not.
const BLOCKING_WORKERS: usize = 256;

/// What somebody says about a layout; the rest is chosen to suit it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// How to wait.
    pub model: Option<Model>,
    /// How to lay out threads.
    pub topology: Option<Topology>,
    /// Reactors that hold connections.
    pub threads: Option<NonZeroUsize>,
    /// Threads of the pool, at most.
    pub workers: Option<NonZeroUsize>,
    /// Each reactor stays on a core of its own.
    pub pin: bool,
    /// [`Model::Nonblocking`] offers its core to others after each lap.
    pub yields: bool,
}

/// A model, a topology and numbers of threads that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    model: Model,
    topology: Topology,
    threads: usize,
    workers: usize,
    pin: bool,
    yields: bool,
}

/// What was chosen where the model was left open, and what was not.
#[derive(Debug)]
pub struct Choice {
    /// What the kernel grants.
    pub layout: Layout,
    /// What it refused before, the best first.
    pub refused: Vec<(Model, io::Error)>,
}

impl Layout {
    /// Fills in what was left open so that it suits what was said. `cores` is the number of
    /// reactors where there is a choice.
    ///
    /// # Errors
    /// A sentence, if what was said does not go together.
    pub fn choose(wishes: &Wishes, cores: NonZeroUsize) -> Result<Self, Refusal> {
        let (model, topology) = wishes.pair(cores)?;
        wishes.check(model, topology)?;
        let threads = wishes.threads.unwrap_or(cores).get();
        let workers = match model {
            Model::Blocking => BLOCKING_WORKERS,
            _ => WORKERS,
        };
        let workers = wishes.workers.map_or(workers, NonZeroUsize::get);
        Ok(Self {
            model,
            topology,
            threads: if topology.has_reactors() { threads } else { 1 },
            workers: if topology.has_workers() { workers } else { 0 },
            pin: wishes.pin,
            yields: wishes.yields,
        })
    }

    /// The same, but where the model was left open the kernel is asked as well: the first of
    /// [`Model::AUTO`] that suits and that it grants.
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn probe(wishes: &Wishes, cores: NonZeroUsize) -> Result<Choice, Refusal> {
        if wishes.model.is_some() {
            return Ok(Choice { layout: Self::choose(wishes, cores)?, refused: Vec::new() });
        }
        let suiting = |&model| Self::choose(&Wishes { model: Some(model), ..*wishes }, cores).ok();
        let mut refused = Vec::new();
        for layout in Model::AUTO.iter().filter_map(suiting) {
            match layout.model.probe() {
                Ok(()) => return Ok(Choice { layout, refused }),
                Err(error) => refused.push((layout.model, error)),
            }
        }
        // Nothing is granted, or nothing suits: the first says best what is wrong.
        Ok(Choice { layout: Self::choose(wishes, cores)?, refused })
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

    /// How many reactors hold connections. [`Model::Blocking`] has none and says 1.
    #[must_use]
    pub fn threads(self) -> usize {
        self.threads
    }

    /// How many threads the pool has at most; 0 where there is none.
    #[must_use]
    pub fn workers(self) -> usize {
        self.workers
    }

    /// How many threads at most make calls that may block on one device, at a time. Where there is
    /// no pool for all of them there is one for remote devices.
    pub(crate) fn blocking_threads(self) -> usize {
        if self.workers == 0 || self.model == Model::Blocking { WORKERS } else { self.workers }
    }

    pub(crate) fn pins(self) -> bool {
        self.pin
    }

    pub(crate) fn yields(self) -> bool {
        self.yields
    }
}

impl Wishes {
    fn pair(&self, cores: NonZeroUsize) -> Result<(Model, Topology), Refusal> {
        let many = self.threads.unwrap_or(cores).get() > 1;
        let suits = |&&(model, topology): &&(Model, Topology)| {
            self.model.is_none_or(|wanted| wanted == model)
                && match self.topology {
                    Some(wanted) => wanted == topology,
                    None => self.workers.is_none() || topology.has_workers(),
                }
        };
        ALLOWED
            .iter()
            .filter(suits)
            .copied()
            // With one thread, one reactor with one listener is the same and simpler.
            .find(|&(_, at)| self.topology.is_some() || many || !at.has_reactors())
            .or_else(|| ALLOWED.iter().find(suits).copied())
            .ok_or(Refusal::Pair(self.model, self.topology))
    }

    fn check(&self, model: Model, topology: Topology) -> Result<(), Refusal> {
        let several = self.threads.is_some_and(|threads| threads.get() > 1);
        if several && !topology.has_reactors() {
            Err(Refusal::Threads(model, topology))
        } else if self.workers.is_some() && !topology.has_workers() {
            Err(Refusal::Workers)
        } else if self.pin && model == Model::Blocking {
            Err(Refusal::Pin)
        } else if self.yields && model != Model::Nonblocking {
            Err(Refusal::Yield)
        } else {
            Ok(())
        }
    }
}

/// Why a layout makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The model has no such topology.
    Pair(Option<Model>, Option<Topology>),
    /// The topology has no number of reactors to choose.
    Threads(Model, Topology),
    /// The topology has no pool.
    Workers,
    /// The model has no reactors to pin.
    Pin,
    /// The model makes no laps.
    Yield,
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
            Self::Threads(Model::Blocking, Topology::Single) => f.write_str(
                "model blocking has a thread per connection, so it takes no number of threads",
            ),
            Self::Threads(Model::Blocking, _) => f.write_str(
                "model blocking has no reactors: the number of its threads is that of the workers",
            ),
            Self::Threads(_, topology) => write!(
                f,
                "topology {topology} is one reactor; for more take topology reuseport or multi"
            ),
            Self::Workers => f.write_str(
                "topology single has no workers; for a pool take topology workers, multi or \
                 reuseport",
            ),
            Self::Pin => f.write_str("model blocking has no reactors that could be pinned"),
            Self::Yield => f.write_str("only model nonblocking has laps after which to yield"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use {Model::*, Topology::*};

    fn choose(wishes: &Wishes) -> Result<(Model, Topology, usize), Refusal> {
        let layout = Layout::choose(wishes, NonZeroUsize::new(4).unwrap())?;
        Ok((layout.model(), layout.topology(), layout.threads()))
    }

    fn said(
        model: impl Into<Option<Model>>,
        topology: impl Into<Option<Topology>>,
        threads: usize,
    ) -> Wishes {
        let (model, topology) = (model.into(), topology.into());
        Wishes { model, topology, threads: NonZeroUsize::new(threads), ..Wishes::default() }
    }

    #[test]
    fn what_is_left_out_suits_what_is_said() {
        assert_eq!(choose(&said(None, None, 0)), Ok((EpollEdge, Reuseport, 4)));
        assert_eq!(choose(&said(None, None, 1)), Ok((EpollEdge, Single, 1)));
        assert_eq!(choose(&said(None, None, 3)), Ok((EpollEdge, Reuseport, 3)));
        assert_eq!(choose(&said(None, Single, 0)), Ok((EpollEdge, Single, 1)));
        assert_eq!(choose(&said(None, Reuseport, 1)), Ok((EpollEdge, Reuseport, 1)));
        assert_eq!(choose(&said(None, Workers, 0)), Ok((EpollEdge, Workers, 1)));
        assert_eq!(choose(&said(Blocking, None, 0)), Ok((Blocking, Single, 1)));
        assert_eq!(choose(&said(Select, None, 0)), Ok((Select, Reuseport, 4)));
        assert_eq!(choose(&said(Poll, Multi, 2)), Ok((Poll, Multi, 2)));
        let workers = NonZeroUsize::new(3);
        let wishes = Wishes { workers, ..said(Blocking, None, 0) };
        assert_eq!(choose(&wishes), Ok((Blocking, Workers, 1)));
        let wishes = Wishes { workers, ..said(None, None, 1) };
        assert_eq!(choose(&wishes), Ok((EpollEdge, Workers, 1)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            choose(&said(Blocking, Reuseport, 0)),
            Err(Refusal::Pair(Some(Blocking), Some(Reuseport)))
        );
        assert_eq!(choose(&said(Blocking, None, 2)), Err(Refusal::Threads(Blocking, Single)));
        assert_eq!(choose(&said(None, Single, 2)), Err(Refusal::Threads(EpollEdge, Single)));
        assert_eq!(choose(&said(Poll, Workers, 2)), Err(Refusal::Threads(Poll, Workers)));
        let workers = NonZeroUsize::new(3);
        let wishes = Wishes { workers, ..said(None, Single, 0) };
        assert_eq!(choose(&wishes), Err(Refusal::Workers));
        let wishes = Wishes { pin: true, ..said(Blocking, None, 0) };
        assert_eq!(choose(&wishes), Err(Refusal::Pin));
        let wishes = Wishes { yields: true, ..said(Poll, None, 0) };
        assert_eq!(choose(&wishes), Err(Refusal::Yield));
    }

    #[test]
    fn every_pair_is_allowed_once_and_only_blocking_is_choosy() {
        for &model in Model::ALL {
            for &topology in Topology::ALL {
                let wanted = model != Blocking || matches!(topology, Single | Workers);
                let count = ALLOWED.iter().filter(|pair| **pair == (model, topology)).count();
                assert_eq!(count, usize::from(wanted), "{model} × {topology}");
            }
        }
    }

    #[test]
    fn left_to_us_it_is_the_first_that_the_kernel_grants() {
        let cores = NonZeroUsize::MIN;
        let choice = Layout::probe(&Wishes::default(), cores).unwrap();
        assert_eq!(choice.layout.model(), Model::AUTO[choice.refused.len()]);
        let choice = Layout::probe(&said(Select, None, 0), cores).unwrap();
        assert_eq!(choice.layout.model(), Select);
    }
}
