//! A layout with its listeners bound, ready to run a service.

use std::io;
use std::thread;

use crate::admission::{Admission, Limits};
use crate::completer::Completer;
use crate::demultiplexer::Demultiplexer;
use crate::error::named;
use crate::listener::{Address, Listener};
use crate::models::Model;
use crate::models::blocking;
use crate::models::epoll_edge::EpollEdge;
use crate::models::uring::Uring;
use crate::proactor::Proactor;
use crate::reactor::Reactor;
use crate::stop::Stop;
use crate::task::Service;
use crate::topology::{Layout, Topology};

/// A layout whose addresses are bound: connections already queue up, and nobody takes them yet.
#[derive(Debug)]
pub struct Bound {
    layout: Layout,
    /// For each reactor its listeners.
    listeners: Vec<Vec<Listener>>,
}

impl Bound {
    /// Binds every address for every reactor of the layout.
    ///
    /// # Errors
    /// A model that the kernel refuses; the first address that cannot be had, as
    /// [`Listener::bind`] names it.
    pub fn bind(layout: Layout, addresses: &[Address]) -> io::Result<Self> {
        probe(layout.model())?;
        let mut listeners = vec![Vec::new(); layout.threads()];
        for address in addresses {
            let own = bind_for(layout, address)?;
            for (listeners, listener) in listeners.iter_mut().zip(own) {
                listeners.push(listener);
            }
        }
        Ok(Self { layout, listeners })
    }

    /// Where it listens: real ports for those that were 0.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().take(1).flatten().map(Listener::address)
    }

    /// Serves until the stop is complete.
    ///
    /// # Errors
    /// A thread or a reactor that cannot be made. What happens to single connections ends those
    /// alone.
    pub fn run<S: Service>(self, service: &S, limits: Limits, stop: &Stop) -> io::Result<()> {
        let admission = Admission::new(limits);
        match self.layout.model() {
            Model::Blocking => {
                let listeners: Vec<_> = self.listeners.into_iter().flatten().collect();
                blocking::run(&listeners, service, &admission, stop)
            }
            Model::EpollEdge => {
                self.run_reactors(service, &admission, stop, run_reactor::<S, EpollEdge>)
            }
            Model::Uring => self.run_reactors(service, &admission, stop, run_proactor::<S, Uring>),
        }
    }

    fn run_reactors<S: Service>(
        self,
        service: &S,
        admission: &Admission,
        stop: &Stop,
        run_one: Run<S>,
    ) -> io::Result<()> {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (listeners, number) in self.listeners.into_iter().zip(0..) {
                let run = move || run_one(listeners, service, admission, stop);
                let name = format!("karez-{number}");
                threads.push(thread::Builder::new().name(name).spawn_scoped(scope, run)?);
            }
            let outcomes = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a reactor's thread panicked")))
            });
            outcomes.fold(Ok(()), Result::and)
        })
    }
}

/// What runs one reactor of a model.
type Run<S> = fn(Vec<Listener>, &S, &Admission, &Stop) -> io::Result<()>;

/// Runs one reactor. If it ends in whatever way, the others stop too: half a server helps nobody.
fn run_reactor<S: Service, D: Demultiplexer>(
    listeners: Vec<Listener>,
    service: &S,
    admission: &Admission,
    stop: &Stop,
) -> io::Result<()> {
    let _others = StopOthers(stop);
    Reactor::<S, D>::new(listeners, service, admission, stop.clone()).and_then(Reactor::run)
}

/// The same for a completion model.
fn run_proactor<S: Service, C: Completer>(
    listeners: Vec<Listener>,
    service: &S,
    admission: &Admission,
    stop: &Stop,
) -> io::Result<()> {
    let _others = StopOthers(stop);
    Proactor::<S, C>::new(listeners, service, admission, stop.clone()).and_then(Proactor::run)
}

/// Begins the stop when it goes, also by a panic. (After a stop it changes nothing.)
struct StopOthers<'a>(&'a Stop);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// Asks the kernel for what the model needs, so that a refusal comes before anybody connects.
fn probe(model: Model) -> io::Result<()> {
    match model {
        Model::Blocking => Ok(()),
        Model::EpollEdge => EpollEdge::new().map(drop).map_err(named("epoll_create1")),
        // In a thread of its own: when a ring goes, the kernel interrupts whoever made it.
        Model::Uring => thread::scope(|scope| {
            let probe = || Uring::new().map(drop).map_err(named("io_uring_setup"));
            let thread = thread::Builder::new().spawn_scoped(scope, probe)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
        }),
    }
}

/// A listener for each reactor on one address.
fn bind_for(layout: Layout, address: &Address) -> io::Result<Vec<Listener>> {
    let first = Listener::bind(address, false)?;
    let several = layout.topology() == Topology::Reuseport && layout.threads() > 1;
    match first.address() {
        Address::Tcp(_) if several => {
            // The first was bound without SO_REUSEPORT, so the address is nobody else's: with it,
            // a second karez of the same user would share the port unasked.
            let real = first.address().clone();
            drop(first);
            (0..layout.threads()).map(|_| Listener::bind(&real, true)).collect()
        }
        // UNIX sockets know no SO_REUSEPORT: the reactors take turns at one.
        _ => Ok(vec![first; layout.threads()]),
    }
}
