//! A layout with its listeners bound, ready to run a service.

use rustix::thread::CpuSet;
use std::io;
use std::sync::Arc;
use std::thread;

use crate::admission::{Admission, Limits};
use crate::blocking;
use crate::completion::event_loop::Proactor;
use crate::config::Layout;
use crate::driver::Completer;
use crate::error::{named, no_thread};
use crate::listener::{Address, Listener};
use crate::models::Model;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
use crate::models::linux_aio::LinuxAio;
use crate::models::nonblocking::Nonblocking;
use crate::models::poll::Poll;
#[cfg(target_env = "gnu")]
use crate::models::posix_aio::PosixAio;
use crate::models::select::Select;
use crate::models::signal::Signal;
use crate::models::uring::Uring;
use crate::pin;
use crate::readiness::event_loop::{DoneOf, Parts, Reactor};
use crate::selector::Demultiplexer;
use crate::shutdown::Stop;
use crate::sync::inbox::Inbox;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::Service;
use crate::topology::Topology;

/// A layout whose addresses are bound: connections already queue in its backlog,
/// and none is accepted yet.
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
        let acceptors = if layout.topology() == Topology::Reuseport { layout.threads() } else { 1 };
        let mut listeners = vec![Vec::new(); acceptors];
        for address in addresses {
            let own = bind_for(acceptors, address)?;
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
            Model::Blocking => blocking::event_loop::run(
                &self.listeners.into_iter().flatten().collect::<Vec<_>>(),
                service,
                limits,
                (self.layout.topology() == Topology::Workers).then(|| self.layout.workers()),
                self.layout.blocking_threads(),
                stop,
            ),
            Model::Nonblocking if self.layout.yields() => {
                let model = || Ok(Nonblocking::yielding());
                let eventfd = Nonblocking::WATCHES_EVENTFD;
                self.run_reactors(eventfd, |parts| run_reactor(model, parts), service, limits, stop)
            }
            Model::Nonblocking => self.run_readiness::<S, Nonblocking>(service, limits, stop),
            Model::Select => self.run_readiness::<S, Select>(service, limits, stop),
            Model::Poll => self.run_readiness::<S, Poll>(service, limits, stop),
            Model::EpollLevel => self.run_readiness::<S, EpollLevel>(service, limits, stop),
            Model::EpollEdge => self.run_readiness::<S, EpollEdge>(service, limits, stop),
            Model::Signal => self.run_readiness::<S, Signal>(service, limits, stop),
            Model::LinuxAio => self.run_readiness::<S, LinuxAio>(service, limits, stop),
            #[cfg(target_env = "gnu")]
            Model::PosixAio => self.run_completion::<S, PosixAio>(service, limits, stop),
            // Refused when it was probed.
            #[cfg(not(target_env = "gnu"))]
            Model::PosixAio => Err(io::ErrorKind::Unsupported.into()),
            Model::Uring => self.run_completion::<S, Uring>(service, limits, stop),
        }
    }

    fn run_readiness<S: Service, D: Demultiplexer>(
        self,
        service: &S,
        limits: Limits,
        stop: &Stop,
    ) -> io::Result<()> {
        let react = |parts: Parts<'_, S>| run_reactor(D::new, parts);
        self.run_reactors(D::WATCHES_EVENTFD, react, service, limits, stop)
    }

    fn run_completion<S: Service, C: Completer>(
        self,
        service: &S,
        limits: Limits,
        stop: &Stop,
    ) -> io::Result<()> {
        let proact = |parts: Parts<'_, S>| {
            let completer = C::new().map_err(named("set up the model"))?;
            Proactor::new(completer, parts)?.run()
        };
        self.run_reactors(true, proact, service, limits, stop)
    }

    /// `run` is one reactor, from its beginning to its end, on the thread that calls it.
    fn run_reactors<S: Service>(
        self,
        watches_eventfd: bool,
        run: impl Fn(Parts<'_, S>) -> io::Result<()> + Copy + Send,
        service: &S,
        limits: Limits,
        stop: &Stop,
    ) -> io::Result<()> {
        let layout = self.layout;
        let admission = Admission::new(limits);
        let cores = layout.pins().then(pin::cores).transpose()?;
        let offloads_all = layout.topology().has_workers();
        let pool = Pool::new(layout.blocking_threads(), cores, PoolTask::run);
        if offloads_all {
            pool.start()?;
        }
        let thread_specs = self.thread_specs::<S>(watches_eventfd)?;
        thread::scope(|scope| {
            // If not all can be made, those that were have to end.
            let _others = StopOthers(stop);
            let mut threads = Vec::new();
            for ThreadSpec { name, core, listeners, balancer, inbox } in thread_specs {
                stop.rouses(inbox.shared_waker());
                let (admission, pool) = (&admission, &pool);
                #[rustfmt::skip]
                let parts = Parts {
                    service, admission, stop, listeners, balancer, inbox, pool, offloads_all,
                };
                let core = core.zip(cores);
                let run = move || run_one(core, run, parts);
                let thread = thread::Builder::new().name(name.clone()).spawn_scoped(scope, run);
                threads.push(thread.map_err(no_thread(name))?);
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
    fn thread_specs<S: Service>(
        self,
        watches_eventfd: bool,
    ) -> io::Result<Vec<ThreadSpec<DoneOf<S>>>> {
        let spec = |name: String, core, listeners| -> io::Result<ThreadSpec<DoneOf<S>>> {
            let waker = if watches_eventfd {
                Waker::eventfd().map_err(named("eventfd"))
            } else {
                Waker::pipe().map_err(named("pipe2"))
            };
            let inbox = Arc::new(Inbox::new(Arc::new(waker?)));
            Ok(ThreadSpec { name, core, listeners, balancer: Vec::new(), inbox })
        };
        let mut acceptors = self.listeners.into_iter();
        let main = (self.layout.topology() == Topology::Multi)
            .then(|| spec("karez-main".to_owned(), None, acceptors.next().unwrap_or_default()))
            .transpose()?;
        let mut thread_specs = (0..self.layout.threads())
            .map(|number| {
                spec(format!("karez-{number}"), Some(number), acceptors.next().unwrap_or_default())
            })
            .collect::<io::Result<Vec<_>>>()?;
        if let Some(mut main) = main {
            main.balancer = thread_specs.iter().map(|spec| Arc::clone(&spec.inbox)).collect();
            thread_specs.push(main);
        }
        Ok(thread_specs)
    }
}

/// A reactor that is to be.
struct ThreadSpec<D> {
    name: String,
    /// Which core is its own, by its turn, where each is to have one.
    core: Option<usize>,
    listeners: Vec<Listener>,
    balancer: Vec<Arc<Inbox<D>>>,
    inbox: Arc<Inbox<D>>,
}

/// Runs one reactor. If it ends in whatever way, the others stop too: half a server helps nobody.
fn run_one<S: Service>(
    core: Option<(usize, CpuSet)>,
    run: impl FnOnce(Parts<'_, S>) -> io::Result<()>,
    parts: Parts<'_, S>,
) -> io::Result<()> {
    let _others = StopOthers(parts.stop);
    if let Some((number, cores)) = core {
        pin::pin(&cores, number)?;
    }
    // A model may be bound to the thread that makes it.
    run(parts)
}

fn run_reactor<S: Service, D: Demultiplexer>(
    model: fn() -> rustix::io::Result<D>,
    parts: Parts<'_, S>,
) -> io::Result<()> {
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
fn bind_for(acceptors: usize, address: &Address) -> io::Result<Vec<Listener>> {
    let first = Listener::bind(address, false)?;
    match first.address() {
        Address::Tcp(_) if acceptors > 1 => {
            // The first was bound without SO_REUSEPORT, so the address is nobody else's: with it,
            // a second karez of the same user would share the port unasked.
            let real = first.address().clone();
            drop(first);
            (0..acceptors).map(|_| Listener::bind(&real, true)).collect()
        }
        // UNIX sockets know no SO_REUSEPORT: the reactors take turns at one.
        _ => Ok(vec![first; acceptors]),
    }
}
