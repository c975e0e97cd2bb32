//! Configurations: a model, a topology and numbers of threads that suit each other.

use std::num::NonZeroUsize;
use std::{fmt, io};

use crate::models::Model;
use crate::topology::{ALLOWED, Topology};

/// The default number of threads of a pool for jobs: they wait for disks, not for cores.
const WORKERS: usize = 16;

/// The default number of threads of [`Model::Blocking`] in [`Topology::Workers`]: each has a connection,
/// idle or not.
const BLOCKING_WORKERS: usize = 256;

/// Builds a [`Config`]. Options that are not set are chosen to suit those that are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigBuilder {
    model: Option<Model>,
    topology: Option<Topology>,
    threads: Option<NonZeroUsize>,
    workers: Option<NonZeroUsize>,
    pin: bool,
    yields: bool,
}

/// A model, a topology and numbers of threads that suit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    model: Model,
    topology: Topology,
    threads: usize,
    workers: usize,
    pin: bool,
    yields: bool,
}

/// A configuration whose model the kernel supports, and the models that it does not support.
#[derive(Debug)]
#[non_exhaustive]
pub struct Selected {
    /// The configuration.
    pub config: Config,
    /// The models that were tried before, the first first, and why they cannot be used.
    pub refused: Vec<(Model, io::Error)>,
}

impl ConfigBuilder {
    /// Returns a builder with no option set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the model.
    #[must_use]
    pub fn model(self, model: impl Into<Option<Model>>) -> Self {
        Self { model: model.into(), ..self }
    }

    /// Sets the topology.
    #[must_use]
    pub fn topology(self, topology: impl Into<Option<Topology>>) -> Self {
        Self { topology: topology.into(), ..self }
    }

    /// Sets the number of event loops that have connections.
    #[must_use]
    pub fn threads(self, threads: impl Into<Option<NonZeroUsize>>) -> Self {
        Self { threads: threads.into(), ..self }
    }

    /// Sets the maximum number of threads of the pool.
    #[must_use]
    pub fn workers(self, workers: impl Into<Option<NonZeroUsize>>) -> Self {
        Self { workers: workers.into(), ..self }
    }

    /// Sets whether each event loop is pinned to a core of its own.
    #[must_use]
    pub fn pin(self, pin: bool) -> Self {
        Self { pin, ..self }
    }

    /// Sets whether [`Model::Nonblocking`] yields its core after each lap (sched_yield(2)).
    #[must_use]
    pub fn yields(self, yields: bool) -> Self {
        Self { yields, ..self }
    }

    /// Builds the configuration. `cores` is the number of event loops where there is a choice.
    ///
    /// # Errors
    /// Options that do not suit each other.
    pub fn build(self, cores: NonZeroUsize) -> Result<Config, ConfigError> {
        let (model, topology) = self.pair(cores)?;
        self.check(model, topology)?;
        let threads = self.threads.unwrap_or(cores).get();
        let workers = match model {
            Model::Blocking => BLOCKING_WORKERS,
            _ => WORKERS,
        };
        let workers = self.workers.map_or(workers, NonZeroUsize::get);
        Ok(Config {
            model,
            topology,
            threads: if topology.has_reactors() { threads } else { 1 },
            workers: if topology.has_workers() { workers } else { 0 },
            pin: self.pin,
            yields: self.yields,
        })
    }

    /// Builds a configuration that the kernel supports: where no model is set, the first of
    /// [`Model::AUTO`] that suits and that can be [probed](Model::probe).
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_supported(self, cores: NonZeroUsize) -> Result<Selected, ConfigError> {
        if self.model.is_some() {
            return Ok(Selected { config: self.build(cores)?, refused: Vec::new() });
        }
        let suiting = |&model| self.model(model).build(cores).ok();
        let mut refused = Vec::new();
        for config in Model::AUTO.iter().filter_map(suiting) {
            match config.model.probe() {
                Ok(()) => return Ok(Selected { config, refused }),
                Err(error) => refused.push((config.model, error)),
            }
        }
        // No model is supported, or none suits: the error of the first says best why.
        Ok(Selected { config: self.build(cores)?, refused })
    }

    fn pair(&self, cores: NonZeroUsize) -> Result<(Model, Topology), ConfigError> {
        if let Some(model) = self.model.filter(|model| !model.is_compiled()) {
            return Err(ConfigError::NotCompiled(model));
        }
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
            // With one thread, one event loop with one listener is the same and simpler.
            .find(|&(_, at)| self.topology.is_some() || many || !at.has_reactors())
            .or_else(|| ALLOWED.iter().find(suits).copied())
            .ok_or(ConfigError::Pair(self.model, self.topology))
    }

    fn check(&self, model: Model, topology: Topology) -> Result<(), ConfigError> {
        let several = self.threads.is_some_and(|threads| threads.get() > 1);
        if several && !topology.has_reactors() {
            Err(ConfigError::Threads(model, topology))
        } else if self.workers.is_some() && !topology.has_workers() {
            Err(ConfigError::Workers)
        } else if self.pin && model == Model::Blocking {
            Err(ConfigError::Pin)
        } else if self.yields && model != Model::Nonblocking {
            Err(ConfigError::Yield)
        } else {
            Ok(())
        }
    }
}

impl Config {
    /// Returns a builder with no option set.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// Returns the model.
    #[must_use]
    pub fn model(self) -> Model {
        self.model
    }

    /// Returns the topology.
    #[must_use]
    pub fn topology(self) -> Topology {
        self.topology
    }

    /// Returns the number of event loops that have connections; 1 for [`Model::Blocking`], which has none.
    #[must_use]
    pub fn threads(self) -> usize {
        self.threads
    }

    /// Returns the maximum number of threads of the pool; 0 where there is none.
    #[must_use]
    pub fn workers(self) -> usize {
        self.workers
    }

    /// Returns the maximum number of threads that make blocking calls on one device at a time. Where there
    /// is no pool for all devices, there is one for remote devices.
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

/// The reason why options do not suit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The model is not compiled in.
    NotCompiled(Model),
    /// The model does not support the topology.
    Pair(Option<Model>, Option<Topology>),
    /// The topology has a fixed number of event loops.
    Threads(Model, Topology),
    /// The topology has no pool.
    Workers,
    /// The model has no event loops to pin.
    Pin,
    /// The model has no laps after which to yield.
    Yield,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCompiled(model) => write!(f, "model {model} is not compiled in"),
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

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use {Model::*, Topology::*};

    fn choose(builder: &ConfigBuilder) -> Result<(Model, Topology, usize), ConfigError> {
        let config = builder.build(NonZeroUsize::new(4).unwrap())?;
        Ok((config.model(), config.topology(), config.threads()))
    }

    fn options(
        model: impl Into<Option<Model>>,
        topology: impl Into<Option<Topology>>,
        threads: usize,
    ) -> ConfigBuilder {
        ConfigBuilder::new().model(model).topology(topology).threads(NonZeroUsize::new(threads))
    }

    #[test]
    fn what_is_left_out_suits_what_is_options() {
        assert_eq!(choose(&options(None, None, 0)), Ok((EpollEdge, Reuseport, 4)));
        assert_eq!(choose(&options(None, None, 1)), Ok((EpollEdge, Workers, 1)));
        assert_eq!(choose(&options(Poll, None, 1)), Ok((Poll, Workers, 1)));
        #[cfg(feature = "uring")]
        assert_eq!(choose(&options(Uring, None, 1)), Ok((Uring, Workers, 1)));
        assert_eq!(choose(&options(None, None, 3)), Ok((EpollEdge, Reuseport, 3)));
        assert_eq!(choose(&options(None, Single, 0)), Ok((EpollEdge, Single, 1)));
        assert_eq!(choose(&options(None, Reuseport, 1)), Ok((EpollEdge, Reuseport, 1)));
        assert_eq!(choose(&options(None, Workers, 0)), Ok((EpollEdge, Workers, 1)));
        assert_eq!(choose(&options(Blocking, None, 0)), Ok((Blocking, Single, 1)));
        assert_eq!(choose(&options(Select, None, 0)), Ok((Select, Reuseport, 4)));
        assert_eq!(choose(&options(Poll, Multi, 2)), Ok((Poll, Multi, 2)));
        let workers = NonZeroUsize::new(3);
        let builder = options(Blocking, None, 0).workers(workers);
        assert_eq!(choose(&builder), Ok((Blocking, Workers, 1)));
        let builder = options(None, None, 1).workers(workers);
        assert_eq!(choose(&builder), Ok((EpollEdge, Workers, 1)));
    }

    #[test]
    fn options_that_do_not_suit_are_an_error() {
        assert_eq!(
            choose(&options(Blocking, Reuseport, 0)),
            Err(ConfigError::Pair(Some(Blocking), Some(Reuseport)))
        );
        assert_eq!(
            choose(&options(Blocking, None, 2)),
            Err(ConfigError::Threads(Blocking, Single))
        );
        assert_eq!(choose(&options(None, Single, 2)), Err(ConfigError::Threads(EpollEdge, Single)));
        assert_eq!(choose(&options(Poll, Workers, 2)), Err(ConfigError::Threads(Poll, Workers)));
        let workers = NonZeroUsize::new(3);
        let builder = options(None, Single, 0).workers(workers);
        assert_eq!(choose(&builder), Err(ConfigError::Workers));
        let builder = options(Blocking, None, 0).pin(true);
        assert_eq!(choose(&builder), Err(ConfigError::Pin));
        let builder = options(Poll, None, 0).yields(true);
        assert_eq!(choose(&builder), Err(ConfigError::Yield));
    }

    #[test]
    fn every_pair_is_allowed_once_but_for_blocking() {
        for &model in Model::ALL {
            for &topology in Topology::ALL {
                let wanted = model != Blocking || matches!(topology, Single | Workers);
                let count = ALLOWED.iter().filter(|pair| **pair == (model, topology)).count();
                assert_eq!(count, usize::from(wanted), "{model} × {topology}");
            }
        }
    }

    #[test]
    fn the_first_supported_model_is_selected() {
        let cores = NonZeroUsize::MIN;
        let selected = ConfigBuilder::new().build_supported(cores).unwrap();
        assert_eq!(selected.config.model(), Model::AUTO[selected.refused.len()]);
        let selected = options(Select, None, 0).build_supported(cores).unwrap();
        assert_eq!(selected.config.model(), Select);
    }

    #[test]
    fn a_model_that_is_not_compiled_is_an_error() {
        let built = options(Uring, None, 0).build(NonZeroUsize::MIN).map(Config::model);
        let expected =
            if cfg!(feature = "uring") { Ok(Uring) } else { Err(ConfigError::NotCompiled(Uring)) };
        assert_eq!(built, expected);
    }
}
