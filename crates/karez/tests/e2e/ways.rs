//! The ways that the server offers, from the tables that it is made of: model × topology × via.
//!
//! Not every product of the three: a via runs in a task's outbox, which no model or topology looks
//! into, so every layout is met with one via and every via in a few layouts. And HTTP knows nothing
//! of either, so tests of what is answered meet [some](some()) layouts, each test others. With
//! `KAREZ_WAYS=all` in the environment they meet every one, which takes long; with
//! `KAREZ_WAYS=workers` every one in which no reactor may wait for a disk, and no other.

use karez_reactor::{ALLOWED, Model, Topology};
use karez_transfer::{Direction, Via};
use std::fmt;
use std::panic::Location;

/// A model, a topology and a via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub model: Model,
    pub topology: Topology,
    pub via: Via,
}

/// The via by which every layout is met.
const VIA: Via = Via::Sendfile;

/// The layouts in which every via is met: told once and for all, not told at all, and told by the
/// path that the bytes take in the kernel whether there is room again.
const LAYOUTS: [(Model, Topology); 3] = [
    (Model::EpollEdge, Topology::Single),
    (Model::Blocking, Topology::Single),
    (Model::Signal, Topology::Single),
];

/// The vias that io_uring has operations for; all others are `copy` there.
const GRANTED: [Via; 4] = [Via::Copy, Via::Splice, Via::Zerocopy, Via::Cow];

/// Layouts that [`some`] adds to those.
const OTHERS: usize = 3;

/// Every layout by one via, every via in a few.
pub fn all() -> impl Iterator<Item = Way> {
    let vias = LAYOUTS.iter().flat_map(|&(model, topology)| {
        Direction::FileToSocket.vias().iter().map(move |&via| Way { model, topology, via })
    });
    let granted =
        GRANTED.iter().map(|&via| Way { model: Model::Uring, topology: Topology::Single, via });
    let vias = vias.filter(|way| way.via != VIA).chain(granted);
    let vias = vias.filter(|way| !only_workers() || way.model != Model::Blocking);
    let vias = vias.map(|way| match only_workers() {
        true => Way { topology: Topology::Workers, ..way },
        false => way,
    });
    layouts().chain(vias)
}

/// Those whose calls a trace can see: the server makes them itself.
pub fn traced() -> impl Iterator<Item = Way> {
    all().filter(|way| !way.model.completes())
}

/// One for each model and topology, for tests in which the via makes no difference.
pub fn layouts() -> impl Iterator<Item = Way> {
    let may_wait = |(model, topology)| model == Model::Blocking || topology == Topology::Single;
    let met = ALLOWED.iter().filter(move |&&pair| !only_workers() || !may_wait(pair));
    met.map(|&(model, topology)| Way { model, topology, via: VIA })
}

/// Two layouts that are always the same and some that depend on the line of the caller, for tests
/// in which all this should make no difference. All tests together meet all of them.
#[track_caller]
pub fn some() -> impl Iterator<Item = Way> {
    if asked_for().is_some() {
        return layouts().collect::<Vec<_>>().into_iter();
    }
    let line = Location::caller().line() as usize;
    let fixed = [LAYOUTS[0], LAYOUTS[1]].map(|(model, topology)| Way { model, topology, via: VIA });
    let others: Vec<_> = layouts().filter(|way| !fixed.contains(way)).collect();
    let stride = others.len() / OTHERS;
    let others: Vec<_> =
        (0..OTHERS).map(|number| others[(line + number * stride) % others.len()]).collect();
    fixed.into_iter().chain(others).collect::<Vec<_>>().into_iter()
}

/// Which layouts a test is to meet, where somebody says so.
pub fn asked_for() -> Option<String> {
    std::env::var("KAREZ_WAYS").ok()
}

/// Only those in which no reactor may wait for a disk.
fn only_workers() -> bool {
    asked_for().is_some_and(|ways| ways == "workers")
}

impl Way {
    /// The flags that choose it.
    pub fn flags(self) -> Vec<&'static str> {
        let Self { model, topology, via } = self;
        let mut flags =
            vec!["--model", model.name(), "--topology", topology.name(), "--via", via.name()];
        if model == Model::Nonblocking {
            // It would leave too little of a small machine for those who ask.
            flags.push("--yield");
        }
        flags
    }

    /// Whether the server makes no call while nobody wants anything.
    pub fn rests(self) -> bool {
        self.model != Model::Nonblocking
    }

    /// The call by which a reactor waits, where it makes one.
    pub fn wait(self) -> Option<&'static str> {
        match self.model {
            Model::Blocking | Model::Nonblocking => None,
            Model::Select => Some("pselect6"),
            Model::Poll => Some("ppoll"),
            Model::EpollLevel | Model::EpollEdge => Some("epoll_pwait"),
            Model::Signal => Some("rt_sigtimedwait"),
            Model::LinuxAio => Some("io_getevents"),
            // These are not among the traced.
            Model::Uring => Some("io_uring_enter"),
            Model::PosixAio => Some("poll"),
        }
    }

    /// How many reactors there are.
    pub fn reactors(self) -> usize {
        let cores = std::thread::available_parallelism().unwrap().get();
        match (self.model, self.topology) {
            (Model::Blocking, _) => 0,
            (_, Topology::Single | Topology::Workers) => 1,
            (_, Topology::Multi) => 1 + cores,
            (_, Topology::Reuseport) => cores,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.model, self.topology, self.via)
    }
}
