//! Parameters of the experiment.

use karez_reactor::Model;
use rustix::process::{Resource, getrlimit};

use crate::workers::WorkerCommand;

/// Parameters of the experiment.
#[derive(Clone, Debug)]
pub struct ModelsPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// The models.
    pub models: Vec<Model>,
    /// Numbers of descriptors and connections.
    pub descriptors: Vec<u32>,
    /// Numbers of active ones; omitted if above the number of descriptors.
    pub active: Vec<u32>,
    /// Timed runs per combination.
    pub runs: usize,
    /// Duration of a run in microseconds.
    pub microseconds: u64,
}

impl ModelsPlan {
    /// Creates parameters for every model, 10 to 10,000 descriptors and the descriptor limit (at
    /// most 20,000), 1 and 100 active, nine runs of 20 ms.
    #[must_use]
    pub fn new(workers: WorkerCommand) -> Self {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // A worker has other open descriptors.
        let most = u32::try_from(limit.saturating_sub(64)).unwrap_or(u32::MAX).min(20_000);
        let descriptors = [10, 100, 1000, 10_000].into_iter().filter(|&count| count < most);
        let descriptors = descriptors.chain([most]);
        Self {
            workers,
            models: Model::ALL.to_vec(),
            descriptors: descriptors.collect(),
            active: vec![1, 100],
            runs: 9,
            microseconds: 20_000,
        }
    }

    /// Reduces the numbers and durations.
    #[must_use]
    pub fn quick(self) -> Self {
        let descriptors = self.descriptors.into_iter().filter(|&count| count <= 1000).collect();
        Self { descriptors, active: vec![1], runs: 3, microseconds: 2000, ..self }
    }
}
