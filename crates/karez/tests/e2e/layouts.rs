//! Layouts of the server under test: model × topology × via, from the tables of the crates.
//!
//! Not every product of the three: a via runs in a task's outbox, which does not depend on model or
//! topology, so every layout is tested with one via, and every via in a few layouts. HTTP does not
//! depend on either, so tests of responses use [a sample](sample()) of layouts, each test a
//! different one.
//!
//! A test of all layouts takes a third of them, which third depends on the caller's line: all tests
//! together use all layouts. `KAREZ_SHARE=N` moves the choice by N, so that three runs with different
//! numbers cover each test whole. With `KAREZ_LAYOUTS=all` in the environment every test uses every
//! layout, which takes long; with `KAREZ_LAYOUTS=workers` every layout whose reactors never block on a
//! disk, and no other.

use karez_reactor::{ALLOWED, Model, Topology};
use karez_transfer::{Direction, Via};
use std::fmt;
use std::panic::Location;
use std::thread;

/// A model, a topology and a via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub model: Model,
    pub topology: Topology,
    pub via: Via,
}

/// The via with which every layout is tested.
const VIA: Via = Via::Sendfile;

/// The layouts in which every via is tested: edge-triggered readiness, no readiness at all, and
/// signals, whose readiness depends on the bytes' path through the kernel.
const LAYOUTS: [(Model, Topology); 3] = [
    (Model::EpollEdge, Topology::Single),
    (Model::Blocking, Topology::Single),
    (Model::Signal, Topology::Single),
];

/// The vias that io_uring supports; all others run as `copy` there.
const GRANTED: [Via; 4] = [Via::Copy, Via::Splice, Via::Zerocopy, Via::Cow];

/// The number of layouts that [`sample`] adds to the fixed ones.
const OTHERS: usize = 3;

/// The number of parts into which layouts are divided.
const SHARES: usize = 3;

/// Returns a share of every layout with one via, and of every via in a few layouts.
#[track_caller]
pub fn all_with_vias() -> impl Iterator<Item = Layout> {
    share(every_with_vias())
}

fn every_with_vias() -> impl Iterator<Item = Layout> {
    let vias = LAYOUTS.iter().flat_map(|&(model, topology)| {
        Direction::FileToSocket.vias().iter().map(move |&via| Layout { model, topology, via })
    });
    let granted =
        GRANTED.iter().map(|&via| Layout { model: Model::Uring, topology: Topology::Single, via });
    let vias = vias.filter(|layout| layout.via != VIA).chain(granted);
    let vias = vias.filter(|layout| !only_workers() || layout.model != Model::Blocking);
    let vias = vias.map(|layout| match only_workers() {
        true => Layout { topology: Topology::Workers, ..layout },
        false => layout,
    });
    every().chain(vias)
}

/// Returns a share of the layouts whose I/O calls strace can see: the server makes them itself.
#[track_caller]
pub fn traced() -> impl Iterator<Item = Layout> {
    all_with_vias().filter(|layout| !layout.model.is_completion())
}

/// Returns a share of the layouts with one for each model and topology, for tests in which the via makes
/// no difference.
#[track_caller]
pub fn all() -> impl Iterator<Item = Layout> {
    share(every())
}

/// Returns the first layout and every third of the others.
#[track_caller]
fn share(layouts: impl Iterator<Item = Layout>) -> impl Iterator<Item = Layout> {
    let turn = std::env::var("KAREZ_SHARE").map_or(0, |turn| turn.parse().unwrap());
    let first: usize = Location::caller().line() as usize + turn;
    let whole = requested().is_some();
    let chosen = move |(number, _): &(usize, Layout)| {
        whole || *number == 0 || (number + first).is_multiple_of(SHARES)
    };
    layouts.enumerate().filter(chosen).map(|(_, layout)| layout)
}

fn every() -> impl Iterator<Item = Layout> {
    let may_wait = |(model, topology)| model == Model::Blocking || topology == Topology::Single;
    let met = ALLOWED.iter().filter(move |&&pair| !only_workers() || !may_wait(pair));
    met.map(|&(model, topology)| Layout { model, topology, via: VIA })
}

/// Returns two fixed layouts and some that depend on the caller's line, for tests in which the
/// layout makes no difference. All tests together use all layouts.
#[track_caller]
pub fn sample() -> impl Iterator<Item = Layout> {
    if requested().is_some() {
        return every().collect::<Vec<_>>().into_iter();
    }
    let line = Location::caller().line() as usize;
    let fixed =
        [LAYOUTS[0], LAYOUTS[1]].map(|(model, topology)| Layout { model, topology, via: VIA });
    let others: Vec<_> = every().filter(|layout| !fixed.contains(layout)).collect();
    let stride = others.len() / OTHERS;
    let others: Vec<_> =
        (0..OTHERS).map(|number| others[(line + number * stride) % others.len()]).collect();
    fixed.into_iter().chain(others).collect::<Vec<_>>().into_iter()
}

/// Returns one layout for each model, with a topology that depends on the caller's line, for tests
/// with many connections or system calls, in which the topology makes little difference.
#[track_caller]
pub fn each_model() -> impl Iterator<Item = Layout> {
    let line = Location::caller().line() as usize;
    let all: Vec<_> = every().collect();
    let chosen = |model: &Model| -> Vec<Layout> {
        let of_model: Vec<_> = all.iter().filter(|layout| layout.model == *model).collect();
        match of_model.len() {
            0 => Vec::new(),
            _ if requested().is_some() => of_model.into_iter().copied().collect(),
            count => vec![*of_model[line % count]],
        }
    };
    Model::ALL.iter().flat_map(chosen).collect::<Vec<_>>().into_iter()
}

/// Runs a test in these layouts concurrently, for tests in which each layout waits for a deadline.
pub fn concurrently(layouts: impl Iterator<Item = Layout>, test: impl Fn(Layout) + Sync) {
    thread::scope(|scope| {
        for layout in layouts {
            let test = &test;
            scope.spawn(move || test(layout));
        }
    });
}

/// Returns one of the cases for the layout with this number, in turn, or all of them where a set of
/// layouts is requested.
pub fn cases<T>(cases: &[T], number: usize) -> &[T] {
    match requested() {
        Some(_) => cases,
        None => std::slice::from_ref(&cases[number % cases.len()]),
    }
}

/// Returns the requested set of layouts.
pub fn requested() -> Option<String> {
    std::env::var("KAREZ_LAYOUTS").ok()
}

/// Returns whether only layouts whose reactors never block on a disk are requested.
fn only_workers() -> bool {
    requested().is_some_and(|ways| ways == "workers")
}

impl Layout {
    /// Returns the flags that select it.
    pub fn flags(self) -> Vec<&'static str> {
        let Self { model, topology, via } = self;
        let mut flags =
            vec!["--model", model.name(), "--topology", topology.name(), "--via", via.name()];
        if model == Model::Nonblocking {
            // Without it the busy loop would starve the clients on a small machine.
            flags.push("--yield");
        }
        flags
    }

    /// Returns whether the server makes no calls while it is idle.
    pub fn sleeps_when_idle(self) -> bool {
        self.model != Model::Nonblocking
    }

    /// Returns the call with which a reactor waits, if any.
    pub fn wait_call(self) -> Option<&'static str> {
        match self.model {
            Model::Blocking | Model::Nonblocking => None,
            Model::Select => Some("pselect6"),
            Model::Poll => Some("ppoll"),
            Model::EpollLevel | Model::EpollEdge => Some("epoll_pwait"),
            Model::Signal => Some("rt_sigtimedwait"),
            Model::LinuxAio => Some("io_getevents"),
            // strace does not see the I/O calls of these.
            Model::Uring => Some("io_uring_enter"),
            Model::PosixAio => Some("poll"),
            model => panic!("the call of model {model} is not known"),
        }
    }

    /// Returns the number of reactors.
    pub fn reactors(self) -> usize {
        let cores = std::thread::available_parallelism().unwrap().get();
        match (self.model, self.topology) {
            (Model::Blocking, _) => 0,
            (_, Topology::Single | Topology::Workers) => 1,
            (_, Topology::Multi) => 1 + cores,
            (_, Topology::Reuseport) => cores,
            (_, topology) => panic!("the reactors of topology {topology} are not known"),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.model, self.topology, self.via)
    }
}
