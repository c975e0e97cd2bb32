//! Every way that the server offers: model × topology × via, from the tables that it is made of.

use karez_reactor::{ALLOWED, Model, Topology};
use karez_transfer::{Direction, Via};
use std::fmt;

/// A model, a topology and a via.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub model: Model,
    pub topology: Topology,
    pub via: Via,
}

/// All of them.
pub fn all() -> impl Iterator<Item = Way> {
    ALLOWED.iter().flat_map(|&(model, topology)| {
        Direction::FileToSocket.vias().iter().map(move |&via| Way { model, topology, via })
    })
}

/// One for each model and topology, for tests in which the via makes no difference.
pub fn layouts() -> impl Iterator<Item = Way> {
    ALLOWED.iter().map(|&(model, topology)| Way { model, topology, via: Via::Sendfile })
}

impl Way {
    /// The flags that choose it.
    pub fn flags(self) -> [&'static str; 6] {
        let Self { model, topology, via } = self;
        ["--model", model.name(), "--topology", topology.name(), "--via", via.name()]
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.model, self.topology, self.via)
    }
}
