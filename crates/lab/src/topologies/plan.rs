//! Which layouts are to be measured, and with which clients.

use karez_reactor::{ALLOWED, Model, Topology};
use std::path::{Path, PathBuf};

use crate::workers::WorkerCommand;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct TopologiesPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Models, each with every topology that goes with it.
    pub models: Vec<Model>,
    /// Topologies.
    pub topologies: Vec<Topology>,
    /// Connections of each kind; where there are none of a kind, mixes with it are left out.
    pub clients: ClientMix,
    /// Timed runs of each combination.
    pub runs: usize,
    /// How long a run is, in milliseconds.
    pub milliseconds: u64,
    /// Where to make files: on a disk, for memory has no cold ones.
    pub directory: PathBuf,
}

impl TopologiesPlan {
    /// epoll-edge and blocking in every topology, 32 fast, 8 slow and 4 blocking connections, nine
    /// runs of 300 ms.
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

    /// The same with three runs of 50 ms.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { runs: 3, milliseconds: 50, ..self }
    }

    pub(super) fn layouts(&self) -> impl Iterator<Item = (Model, Topology)> {
        let in_all =
            |&model: &Model| self.topologies.iter().map(move |&topology| (model, topology));
        self.models.iter().flat_map(in_all).filter(|pair| ALLOWED.contains(pair))
    }

    /// Fast ones alone, then with slow ones, then with all.
    pub(super) fn mixes(&self) -> Vec<ClientMix> {
        let ClientMix { fast, slow, .. } = self.clients;
        let mut mixes = vec![ClientMix { fast, slow: 0, blocking: 0 }];
        mixes.push(ClientMix { fast, slow, blocking: 0 });
        mixes.push(self.clients);
        mixes.dedup();
        mixes
    }
}

/// How many connections there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMix {
    /// They ask for 1 KiB that is in memory.
    pub fast: u32,
    /// They ask for 4 MiB, and take 64 KiB every 5 ms.
    pub slow: u32,
    /// They ask for 256 KiB that they have dropped from the page cache.
    pub blocking: u32,
}

impl ClientMix {
    /// As in `32 fast + 8 slow`.
    #[must_use]
    pub fn name(self) -> String {
        let kinds = [(self.fast, "fast"), (self.slow, "slow"), (self.blocking, "blocking")];
        let there = kinds.iter().filter(|(count, _)| *count > 0);
        there.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(" + ")
    }
}
