//! An event loop that a seeded schedule drives, turn by turn, on one thread. For tests only (the feature `simulation`).
//!
//! The event loop, its connections, its transfers and its task are those of a server. Simulated are only their
//! surroundings: a selector that reports late, in any order and for nothing; a driver whose
//! operations complete late, in any order, partly or by an error; a pool whose work the caller runs when it likes; a
//! clock that the caller sets. Sockets are real, so the caller decides by its own ends what they take and give.
//!
//! # Limitations
//!
//! Model `blocking` and `posix-aio` are not simulated, nor are listeners. One event loop runs at a time, so what two do
//! to each other is left to `.ci/loom`.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::{Admission, Limits};
use crate::completion::event_loop::Proactor;
use crate::connection::Connection as _;
use crate::event_loop::admit::AdmitConnections as _;
use crate::event_loop::core::{JobOf, Parts};
use crate::event_loop::turns::EventLoop;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
use crate::models::poll::Poll;
use crate::readiness::event_loop::Reactor;
use crate::selector::Selector;
use crate::shutdown::Shutdown;
use crate::sync::inbox::Inbox;
use crate::sync::offload::PoolTask;
use crate::sync::pool::{Pool, Ticket};
use crate::sync::waker::Waker;
use crate::task::{Peer, Service};
use driver::ScheduledDriver;
use karez_sys::simulation::below;
use selector::ScheduledSelector;
use simulated::Simulated;

mod driver;
mod selector;
pub(crate) mod simulated;
mod waited;

pub use waited::Waited;

/// The model of a simulated event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedModel {
    /// epoll(7), edge-triggered.
    EpollEdge,
    /// epoll(7), level-triggered.
    EpollLevel,
    /// poll(2).
    Poll,
    /// Completions as those of io_uring(7), made by system calls.
    Completion,
}

impl SimulatedModel {
    /// All models.
    pub const ALL: [Self; 4] = [Self::EpollEdge, Self::EpollLevel, Self::Poll, Self::Completion];
}

/// A simulated event loop.
pub trait SimulatedLoop {
    /// Passes on a connection, as a listener does. It waits for a place behind those that wait already.
    fn connect(&mut self, socket: OwnedFd, peer: Peer);

    /// Runs one turn.
    ///
    /// # Errors
    /// As those that end an event loop.
    fn turn(&mut self) -> io::Result<Waited>;

    /// Returns how much work the pool has.
    fn offloads(&mut self) -> usize;

    /// Runs one piece of it, any of those that threads could have begun.
    fn run_offload(&mut self);

    /// Returns the number of connections, with those that wait for a place.
    fn connections(&mut self) -> usize;

    /// Returns the number of connections that wait for a place.
    fn pending(&mut self) -> usize;

    /// Returns whether the shutdown is complete.
    fn is_over(&mut self) -> bool;

    /// Does what an event loop does when its shutdown is complete.
    fn end(&mut self);

    /// Returns a connection of an event loop that [sleeps](Waited::sleeps), with an empty pool, that waits for something
    /// that has already happened.
    fn lost_wakeup(&mut self) -> Option<String>;

    /// Returns what each connection waits for.
    fn waits(&mut self) -> Vec<String>;

    /// Returns the operations in flight.
    fn operations(&self) -> usize;
}

/// Makes an event loop on this thread, and calls `run` with it. With `pool` it offloads all work that might block;
/// otherwise only that of remote devices.
///
/// # Errors
/// As the calls that make it.
pub fn simulate<S: Service, R>(
    service: &S,
    model: SimulatedModel,
    pool: bool,
    limits: Limits,
    shutdown: &Shutdown,
    run: impl FnOnce(&mut dyn SimulatedLoop) -> R,
) -> io::Result<R> {
    let admission = Admission::new(limits);
    let waker = Arc::new(Waker::eventfd()?);
    shutdown.subscribe(&waker);
    let inbox = Arc::new(Inbox::new(waker));
    let (offloads_all, pool) = (pool, Pool::without_threads(2, PoolTask::run));
    shutdown.expect(1, 0);
    let parts = Parts {
        service,
        admission: &admission,
        shutdown,
        listeners: Vec::new(),
        balancer: Vec::new(),
        inbox,
        pool: &pool,
        offloads_all,
    };
    let waited = Rc::new(Cell::new(Waited::default()));
    match model {
        SimulatedModel::EpollEdge => run_selector::<S, EpollEdge, R>(parts, &waited, run),
        SimulatedModel::EpollLevel => run_selector::<S, EpollLevel, R>(parts, &waited, run),
        SimulatedModel::Poll => run_selector::<S, Poll, R>(parts, &waited, run),
        SimulatedModel::Completion => {
            let (driver, operations) = ScheduledDriver::scheduled(Rc::clone(&waited));
            let mut event_loop = Proactor::new(driver, parts);
            event_loop.rearm_waker();
            Ok(run(&mut Steps { event_loop, begun: Vec::new(), waited, operations }))
        }
    }
}

fn run_selector<S: Service, D: Selector, R>(
    parts: Parts<'_, S>,
    waited: &Rc<Cell<Waited>>,
    run: impl FnOnce(&mut dyn SimulatedLoop) -> R,
) -> io::Result<R> {
    let selector = ScheduledSelector::<D>::scheduled(Rc::clone(waited))?;
    let event_loop = Reactor::new(selector, parts)?;
    let (waited, operations) = (Rc::clone(waited), Rc::default());
    Ok(run(&mut Steps { event_loop, begun: Vec::new(), waited, operations }))
}

struct Steps<L, S: Service> {
    event_loop: L,
    /// Work that threads have begun and not ended.
    begun: Vec<(Ticket, PoolTask<JobOf<S>>)>,
    waited: Rc<Cell<Waited>>,
    operations: Rc<Cell<usize>>,
}

impl<'a, S: Service + 'a, L: EventLoop<'a, Service = S> + Simulated> SimulatedLoop for Steps<L, S> {
    fn connect(&mut self, socket: OwnedFd, peer: Peer) {
        let pending = &mut self.event_loop.core().acceptor.pending;
        match pending.is_empty() {
            true => drop(self.event_loop.admit((socket, peer))),
            false => pending.push_back((socket, peer)),
        }
    }

    fn turn(&mut self) -> io::Result<Waited> {
        self.waited.take();
        self.event_loop.step()?;
        Ok(self.waited.get())
    }

    fn offloads(&mut self) -> usize {
        let pool = self.event_loop.core().pool;
        self.begun.extend(std::iter::from_fn(|| pool.begin_next()));
        self.begun.len()
    }

    fn run_offload(&mut self) {
        let count = self.offloads();
        if count > 0 {
            let (ticket, work) = self.begun.swap_remove(below(count));
            work.run();
            self.event_loop.core().pool.end(ticket);
        }
    }

    fn connections(&mut self) -> usize {
        let core = self.event_loop.core();
        core.connections.len() + core.acceptor.pending.len()
    }

    fn pending(&mut self) -> usize {
        self.event_loop.core().acceptor.pending.len()
    }

    fn is_over(&mut self) -> bool {
        self.event_loop.core().is_over()
    }

    fn end(&mut self) {
        self.event_loop.end();
    }

    fn lost_wakeup(&mut self) -> Option<String> {
        self.event_loop.find_lost_wakeup()
    }

    fn waits(&mut self) -> Vec<String> {
        let core = self.event_loop.core();
        core.connections.iter_mut().map(|connection| connection.state().describe()).collect()
    }

    fn operations(&self) -> usize {
        self.operations.get()
    }
}
