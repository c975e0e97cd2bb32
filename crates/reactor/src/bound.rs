//! A layout with its listeners bound, ready to run a service.

use rustix::thread::CpuSet;
use std::io;
use std::sync::Arc;
use std::thread;

use crate::admission::{Admission, Limits};
use crate::demultiplexer::Demultiplexer;
use crate::error::named;
use crate::inbox::Inbox;
use crate::layout::Layout;
use crate::listener::{Address, Listener};
use crate::models::Model;
use crate::models::blocking;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
use crate::models::nonblocking::Nonblocking;
use crate::models::poll::Poll;
use crate::models::select::Select;
use crate::models::signal::Signal;
use crate::order::Order;
use crate::pin;
use crate::pool::Pool;
use crate::reactor::{DoneOf, Parts, Reactor};
use crate::stop::Stop;
use crate::task::Service;
use crate::topology::Topology;
use crate::waker::Waker;

/// A layout whose addresses are bound: connections already queue up, and nobody takes them yet.
#[derive(Debug)]
pub struct Bound {
    layout: Layout,
    /// For each reactor that accepts its listeners.
    listeners: Vec<Vec<Listener>>,
}

impl Bound {
    /// Binds every address for every reactor of the layout.
    ///
    /// # Errors
    /// A model that the kernel refuses; the first address that cannot be had, as
    /// [`Listener::bind`] names it.
    pub fn bind(layout: Layout, addresses: &[Address]) -> io::Result<Self> {
        layout.model().probe()?;
        let doors = if layout.topology() == Topology::Reuseport { layout.threads() } else { 1 };
        let mut listeners = vec![Vec::new(); doors];
        for address in addresses {
            let own = bind_for(doors, address)?;
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
        match self.layout.model() {
            Model::Blocking => blocking::run(
                &self.listeners.into_iter().flatten().collect::<Vec<_>>(),
                service,
                limits,
                (self.layout.topology() == Topology::Workers).then(|| self.layout.workers()),
                stop,
            ),
            Model::Nonblocking if self.layout.yields() => {
                self.run_reactors(|| Ok(Nonblocking::yielding()), service, limits, stop)
            }
            Model::Nonblocking => self.run_reactors(Nonblocking::new, service, limits, stop),
            Model::Select => self.run_reactors(Select::new, service, limits, stop),
            Model::Poll => self.run_reactors(Poll::new, service, limits, stop),
            Model::EpollLevel => self.run_reactors(EpollLevel::new, service, limits, stop),
            Model::EpollEdge => self.run_reactors(EpollEdge::new, service, limits, stop),
            Model::Signal => self.run_reactors(Signal::new, service, limits, stop),
        }
    }

    fn run_reactors<S: Service, D: Demultiplexer>(
        self,
        model: fn() -> rustix::io::Result<D>,
        service: &S,
        limits: Limits,
        stop: &Stop,
    ) -> io::Result<()> {
        let layout = self.layout;
        let admission = Admission::new(limits);
        let cores = layout.pins().then(pin::cores).transpose()?;
        let pool = layout.topology().has_workers();
        let pool = pool.then(|| Pool::new(layout.workers(), cores, Order::perform)).transpose()?;
        let crew = self.crew::<S, D>()?;
        thread::scope(|scope| {
            // If not all can be made, those that were have to end.
            let _others = StopOthers(stop);
            let mut threads = Vec::new();
            for Post { name, core, listeners, heirs, inbox } in crew {
                stop.rouses(inbox.shared_waker());
                let (admission, pool) = (&admission, pool.as_ref());
                let parts = Parts { service, admission, stop, listeners, heirs, inbox, pool };
                let core = core.zip(cores);
                let run = move || run_one(core, model, parts);
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

    /// Who is to run, and with what.
    fn crew<S: Service, D: Demultiplexer>(self) -> io::Result<Vec<Post<DoneOf<S>>>> {
        let post = |name: String, core, listeners| -> io::Result<Post<DoneOf<S>>> {
            let waker = if D::WATCHES_EVENTFD {
                Waker::eventfd().map_err(named("eventfd"))
            } else {
                Waker::pipe().map_err(named("pipe2"))
            };
            let inbox = Arc::new(Inbox::new(Arc::new(waker?)));
            Ok(Post { name, core, listeners, heirs: Vec::new(), inbox })
        };
        let mut doors = self.listeners.into_iter();
        let main = (self.layout.topology() == Topology::Multi)
            .then(|| post("karez-main".to_owned(), None, doors.next().unwrap_or_default()))
            .transpose()?;
        let mut crew = (0..self.layout.threads())
            .map(|number| {
                post(format!("karez-{number}"), Some(number), doors.next().unwrap_or_default())
            })
            .collect::<io::Result<Vec<_>>>()?;
        if let Some(mut main) = main {
            main.heirs = crew.iter().map(|post| Arc::clone(&post.inbox)).collect();
            crew.push(main);
        }
        Ok(crew)
    }
}

/// A reactor that is to be.
struct Post<D> {
    name: String,
    /// Which core is its own, by its turn, where each is to have one.
    core: Option<usize>,
    listeners: Vec<Listener>,
    heirs: Vec<Arc<Inbox<D>>>,
    inbox: Arc<Inbox<D>>,
}

/// Runs one reactor. If it ends in whatever way, the others stop too: half a server helps nobody.
fn run_one<S: Service, D: Demultiplexer>(
    core: Option<(usize, CpuSet)>,
    model: fn() -> rustix::io::Result<D>,
    parts: Parts<'_, S>,
) -> io::Result<()> {
    let _others = StopOthers(parts.stop);
    if let Some((number, cores)) = core {
        pin::pin(&cores, number)?;
    }
    // Here, for a model may be bound to the thread that makes it.
    let demultiplexer = model().map_err(named("set up the model"))?;
    Reactor::new(demultiplexer, parts)?.run()
}

/// Begins the stop when it goes, also by a panic. (After a stop it changes nothing.)
struct StopOthers<'a>(&'a Stop);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// A listener for each reactor that accepts on one address.
fn bind_for(doors: usize, address: &Address) -> io::Result<Vec<Listener>> {
    let first = Listener::bind(address, false)?;
    match first.address() {
        Address::Tcp(_) if doors > 1 => {
            // The first was bound without SO_REUSEPORT, so the address is nobody else's: with it,
            // a second karez of the same user would share the port unasked.
            let real = first.address().clone();
            drop(first);
            (0..doors).map(|_| Listener::bind(&real, true)).collect()
        }
        // UNIX sockets know no SO_REUSEPORT: the reactors take turns at one.
        _ => Ok(vec![first; doors]),
    }
}
