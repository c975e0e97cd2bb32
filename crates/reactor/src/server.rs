//! A server: a configuration whose addresses are bound, and the threads that serve them.

use rustix::thread::CpuSet;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use crate::admission::{Admission, Limits};
use crate::blocking;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
use crate::completion::event_loop::Proactor;
use crate::config::Config;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
use crate::driver::Driver;
use crate::error::{named, no_thread};
use crate::event_loop::core::{DoneOf, Parts};
use crate::handover::{Handover, InheritedListener, claim};
use crate::listener::{Address, Listener};
use crate::models::Model;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
#[cfg(feature = "aio")]
use crate::models::linux_aio::LinuxAio;
use crate::models::list::with_models;
use crate::models::nonblocking::Nonblocking;
use crate::models::poll::Poll;
#[cfg(all(feature = "aio", target_env = "gnu"))]
use crate::models::posix_aio::PosixAio;
use crate::models::select::Select;
use crate::models::signal::Signal;
#[cfg(feature = "uring")]
use crate::models::uring::Uring;
use crate::panics::contain;
use crate::pin;
use crate::readiness::event_loop::Reactor;
use crate::selector::Selector;
use crate::shutdown::Shutdown;
use crate::sync::inbox::Inbox;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::Service;
use crate::tcp_options::TcpOptions;
use crate::topology::Topology;

/// A server that is bound to its addresses: the kernel queues connections in its backlog, and none is
/// accepted before it [runs](Server::run).
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// The addresses that were asked for.
    requested: Vec<Address>,
    /// The same, with the chosen ports.
    addresses: Vec<Address>,
    /// The listeners of each event loop that accepts.
    listeners: Vec<Vec<Listener>>,
}

impl Server {
    /// Binds every address for every event loop that accepts.
    ///
    /// # Errors
    /// A model that the kernel does not support; the first address that cannot be bound, as
    /// [`Listener::bind`] names it.
    pub fn bind(config: Config, addresses: &[Address]) -> io::Result<Self> {
        Self::bind_with(config, addresses, &TcpOptions::default())
    }

    /// Binds as [`bind`](Self::bind) does, with options that all TCP connections have.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); an option that the kernel refuses.
    pub fn bind_with(
        config: Config,
        addresses: &[Address],
        options: &TcpOptions,
    ) -> io::Result<Self> {
        Self::bind_inherited(config, addresses, options, &mut Vec::new())
    }

    /// Binds as [`bind_with`](Self::bind_with) does the addresses for which there is no inherited socket, and
    /// takes over those sockets for which there is an address, out of `inherited`: so all that remain are
    /// not needed. Sockets of one address are spread over the event loops that accept.
    ///
    /// # Errors
    /// As [`bind_with`](Self::bind_with).
    pub fn bind_inherited(
        config: Config,
        addresses: &[Address],
        options: &TcpOptions,
        inherited: &mut Vec<InheritedListener>,
    ) -> io::Result<Self> {
        config.model().probe()?;
        let acceptors = if config.topology() == Topology::Reuseport { config.threads() } else { 1 };
        let mut bound = Vec::new();
        let mut listeners = vec![Vec::new(); acceptors];
        for (index, address) in addresses.iter().enumerate() {
            let claimed = claim(inherited, address);
            let mut own = match claimed.is_empty() {
                true => bind_for(acceptors, address, options)?,
                false => claimed
                    .into_iter()
                    .map(|listener| listener.into_listener(options))
                    .collect::<io::Result<Vec<_>>>()?,
            };
            own.iter_mut().for_each(|listener| listener.set_index(index));
            bound.extend(own.first().map(|listener| listener.address().clone()));
            // Each event loop has at least one, and each socket an event loop.
            for place in 0..acceptors.max(own.len()) {
                listeners[place % acceptors].push(own[place % own.len()].clone());
            }
        }
        Ok(Self { config, requested: addresses.to_vec(), addresses: bound, listeners })
    }

    /// Returns the addresses, with the chosen port where the port was 0.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter()
    }

    /// Returns a handle by which another process can be given the listeners.
    #[must_use]
    pub fn handover(&self) -> Handover {
        let listeners = self.listeners.iter().flatten();
        Handover::new(listeners.map(|listener| (listener, &self.requested[listener.index()])))
    }

    /// Serves until the shutdown is complete.
    ///
    /// # Errors
    /// A thread or an event loop that cannot be made. An error of one connection ends that connection
    /// alone.
    pub fn run<S: Service>(
        self,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let config = self.config;
        if config.model() == Model::Nonblocking && config.yields() {
            return self.run_selector(|| Ok(Nonblocking::yielding()), service, limits, shutdown);
        }
        macro_rules! run {
            (
                readiness {
                    $([$(#[$r_cfg:meta])?] $readiness:ident $r_name:literal $r_call:literal
                        $r_thread:ident $r_since:literal $r_doc:literal;)*
                }
                completion {
                    $([$(#[$c_cfg:meta])?] $completion:ident $c_name:literal $c_call:literal
                        $c_thread:ident $c_since:literal $c_doc:literal;)*
                }
                blocking $blocking:tt
            ) => {
                match config.model() {
                    $($(#[$r_cfg])? Model::$readiness => {
                        self.run_selector($readiness::new, service, limits, shutdown)
                    })*
                    $($(#[$c_cfg])? Model::$completion => {
                        self.run_driver::<S, $completion>(service, limits, shutdown)
                    })*
                    Model::Blocking => self.run_blocking(service, limits, shutdown),
                    #[allow(unreachable_patterns, reason = "all models may be compiled in")]
                    model => Err(model.not_compiled()),
                }
            };
        }
        with_models!(run)
    }

    /// Serves until the shutdown is complete, on a selector of the caller's in place of that of the
    /// configured model, which has to be a [readiness](Model::is_readiness) model. Each event loop makes
    /// one.
    ///
    /// # Errors
    /// As [`run`](Self::run); `InvalidInput` for another model.
    pub fn run_with<D: Selector, S: Service>(
        self,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        if !self.config.model().is_readiness() {
            let reason = "only a readiness model can be replaced by another selector";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        self.run_selector(D::new, service, limits, shutdown)
    }

    fn run_blocking<S: Service>(
        self,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        self.set_flags()?;
        blocking::event_loop::run(
            self.listeners.into_iter().flatten().collect(),
            service,
            limits,
            (self.config.topology() == Topology::Workers).then(|| self.config.workers()),
            self.config.blocking_threads(),
            shutdown,
        )
    }

    fn run_selector<S: Service, D: Selector>(
        self,
        new: fn() -> rustix::io::Result<D>,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let run_event_loop = move |parts: Parts<'_, S>| {
            let selector = new().map_err(named("set up the model"))?;
            Reactor::new(selector, parts)?.run()
        };
        self.run_event_loops(D::WATCHES_EVENTFD, run_event_loop, service, limits, shutdown)
    }

    #[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
    fn run_driver<S: Service, C: Driver>(
        self,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let run_event_loop = |parts: Parts<'_, S>| {
            let driver = C::new().map_err(named("set up the model"))?;
            Proactor::new(driver, parts).run()
        };
        self.run_event_loops(true, run_event_loop, service, limits, shutdown)
    }

    /// Runs all event loops. `run` runs one, to its end, on the thread that calls it.
    fn run_event_loops<S: Service>(
        self,
        watches_eventfd: bool,
        run: impl Fn(Parts<'_, S>) -> io::Result<()> + Copy + Send,
        service: &S,
        limits: Limits,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        self.set_flags()?;
        let config = self.config;
        let admission = Admission::new(limits);
        let cores = config.pins().then(pin::cores).transpose()?;
        let offloads_all = config.topology().has_workers();
        let pool = Pool::new(config.blocking_threads(), cores, PoolTask::run);
        if offloads_all {
            pool.start()?;
        }
        let thread_specs = self.thread_specs::<S>(watches_eventfd)?;
        let acceptors = thread_specs.iter().filter(|spec| !spec.listeners.is_empty()).count();
        shutdown.expect(thread_specs.len(), acceptors);
        let (ended, outcomes) = channel();
        let event_loops = thread_specs.len();
        thread::scope(|scope| {
            // If one cannot be made, the event loops that run have to end.
            let _others = TriggerOnDrop(shutdown);
            for ThreadSpec { name, core, listeners, balancer, inbox } in thread_specs {
                shutdown.subscribe(inbox.shared_waker());
                let (admission, pool) = (&admission, &pool);
                #[rustfmt::skip]
                let parts = Parts {
                    service, admission, shutdown, listeners, balancer, inbox, pool, offloads_all,
                };
                let core = core.zip(cores);
                let ended = ended.clone();
                let run = move || {
                    let outcome = contain(|| run_one(core, run, parts));
                    let panicked = || Err(io::Error::other("the thread of an event loop panicked"));
                    let _sent = ended.send(outcome.unwrap_or_else(panicked));
                };
                let thread = thread::Builder::new().name(name.clone()).spawn_scoped(scope, run);
                thread.map_err(no_thread(name))?;
            }
            // They are not joined: the kernel ends a thread after the operations of its ring, which may hang in
            // a file system. The process can end before.
            outcomes.iter().take(event_loops).fold(Ok(()), Result::and)
        })
    }

    /// Takes the listeners over from another process, if there is one: until now that accepts.
    fn set_flags(&self) -> io::Result<()> {
        self.listeners.iter().flatten().try_for_each(Listener::set_flags)
    }

    /// Returns the event loops, each with its listeners and its inbox.
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
        let main = (self.config.topology() == Topology::Multi)
            .then(|| spec("karez-main".to_owned(), None, acceptors.next().unwrap_or_default()))
            .transpose()?;
        let mut thread_specs = (0..self.config.threads())
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

/// An event loop that is to be run.
struct ThreadSpec<D> {
    name: String,
    /// The number of its core, where event loops are pinned.
    core: Option<usize>,
    listeners: Vec<Listener>,
    balancer: Vec<Arc<Inbox<D>>>,
    inbox: Arc<Inbox<D>>,
}

/// Runs one event loop. When it ends by an error or a panic, all event loops are shut down. One that ends in a
/// shutdown leaves the others to their connections.
fn run_one<S: Service>(
    core: Option<(usize, CpuSet)>,
    run: impl FnOnce(Parts<'_, S>) -> io::Result<()>,
    parts: Parts<'_, S>,
) -> io::Result<()> {
    let shutdown = parts.shutdown;
    let others = TriggerOnDrop(shutdown);
    if let Some((number, cores)) = core {
        pin::pin(&cores, number)?;
    }
    // The model belongs to the thread that makes it.
    run(parts)?;
    if shutdown.is_triggered() {
        mem::forget(others);
    }
    Ok(())
}

/// Triggers the shutdown when it is dropped, also by a panic.
struct TriggerOnDrop<'a>(&'a Shutdown);

impl Drop for TriggerOnDrop<'_> {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Returns a listener for each event loop that accepts on one address.
fn bind_for(
    acceptors: usize,
    address: &Address,
    options: &TcpOptions,
) -> io::Result<Vec<Listener>> {
    let first = Listener::bind_with(address, false, options)?;
    match first.address() {
        Address::Tcp(_) if acceptors > 1 => {
            // The first was bound without SO_REUSEPORT, so no other process has the address: with it, a
            // second server of the same user would share the port by accident.
            let real = first.address().clone();
            drop(first);
            (0..acceptors).map(|_| Listener::bind_with(&real, true, options)).collect()
        }
        // UNIX sockets have no SO_REUSEPORT: all event loops accept from one.
        _ => Ok(vec![first; acceptors]),
    }
}
