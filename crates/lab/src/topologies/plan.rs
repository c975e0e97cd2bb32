//! Parameters of the experiment.

use karez_reactor::{ALLOWED, Model, Topology};
use std::path::{Path, PathBuf};

use crate::language::{msg, tr};
use crate::workers::WorkerCommand;

/// Parameters of the experiment.
#[derive(Clone, Debug)]
pub struct TopologiesPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// The models, each with every compatible topology.
    pub models: Vec<Model>,
    /// The topologies.
    pub topologies: Vec<Topology>,
    /// Connections of each kind; mixes that need a kind without connections are omitted.
    pub clients: ClientMix,
    /// Timed runs per combination.
    pub runs: usize,
    /// Duration of a run in milliseconds.
    pub milliseconds: u64,
    /// Directory of the test files, on a disk.
    pub directory: PathBuf,
}

impl TopologiesPlan {
    /// Creates parameters for epoll-edge and blocking in every topology, 32 fast, 8 slow and 4
    /// blocking connections, nine runs of 300 ms.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        Self {
            workers,
            models: vec![Model::EpollEdge, Model::Blocking],
            topologies: Topology::ALL.to_vec(),
            clients: ClientMix { fast: 32, slow: 8, blocking: 4 },
            runs: 9,
            milliseconds: 300,
            directory: directory.to_owned(),
        }
    }

    /// Reduces the parameters to three runs of 50 ms.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { runs: 3, milliseconds: 50, ..self }
    }

    pub(super) fn layouts(&self) -> impl Iterator<Item = (Model, Topology)> {
        let in_all =
            |&model: &Model| self.topologies.iter().map(move |&topology| (model, topology));
        self.models.iter().flat_map(in_all).filter(|pair| ALLOWED.contains(pair))
    }

    /// Returns fast clients alone, with slow clients, and with all kinds.
    pub(super) fn mixes(&self) -> Vec<ClientMix> {
        let ClientMix { fast, slow, .. } = self.clients;
        let mut mixes = vec![ClientMix { fast, slow: 0, blocking: 0 }];
        mixes.push(ClientMix { fast, slow, blocking: 0 });
        mixes.push(self.clients);
        mixes.dedup();
        mixes
    }
}

/// Numbers of connections of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMix {
    /// They request 1 KiB, cached.
    pub fast: u32,
    /// They request 4 MiB and read 64 KiB every 5 ms.
    pub slow: u32,
    /// They request 256 KiB that they have evicted from the page cache.
    pub blocking: u32,
}

impl ClientMix {
    /// Returns the name, such as `32 fast + 8 slow`.
    #[must_use]
    pub fn name(self) -> String {
        let kinds = [
            (self.fast, msg!("fast")),
            (self.slow, msg!("slow")),
            (self.blocking, msg!("blocking")),
        ];
        let there = kinds.iter().filter(|(count, _)| *count > 0);
        there.map(|(count, kind)| format!("{count} {}", tr(kind))).collect::<Vec<_>>().join(" + ")
    }
}
