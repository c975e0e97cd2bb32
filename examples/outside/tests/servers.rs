//! A server of karez-reactor: its configuration, its sockets, how it ends, and another process that takes over.

use karez_reactor::{
    ALLOWED, Address, Config, ConfigBuilder, ConfigError, Event, Handover, HandoverListener,
    InheritedListener, Interest, Io, Limits, Listener, Local, Model, NoJob, Peer, Poll, Ready,
    Selected, Selector, Server, Service, Shutdown, Task, TcpOptions, Token, Topology, UnknownModel,
    UnknownTopology, Via,
};
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends one byte, and closes.
struct Greeting;

impl Task for Greeting {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                io.outbox().push_bytes(vec![b'!']);
                io.notify_sent(karez_reactor::Mark(0));
            }
            _ => io.close(),
        }
    }
}

struct Greetings;

struct Nothing;

impl Local for Nothing {}

impl Service for Greetings {
    type Task = Greeting;

    fn connect(&self, _peer: Peer, _now: Instant) -> Greeting {
        Greeting
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        Some(Box::new(Nothing))
    }
}

fn address(server: &Server) -> SocketAddr {
    match server.addresses().next() {
        Some(Address::Tcp(address)) => *address,
        other => panic!("{other:?}"),
    }
}

fn greeted(address: SocketAddr) -> io::Result<()> {
    let mut greeting = String::new();
    TcpStream::connect(address)?.read_to_string(&mut greeting)?;
    assert_eq!(greeting, "!");
    Ok(())
}

fn anywhere() -> [Address; 1] {
    [Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))]
}

#[test]
fn models_and_topologies_have_names() -> Result<(), Box<dyn Error>> {
    let readiness = [
        Model::EpollEdge,
        Model::EpollLevel,
        Model::LinuxAio,
        Model::Nonblocking,
        Model::Poll,
        Model::Select,
        Model::Signal,
    ];
    for &model in Model::ALL {
        assert_eq!(model.name().parse::<Model>()?, model);
        assert!(!model.since().is_empty() && model.is_compiled());
        assert_eq!(model.is_readiness(), readiness.contains(&model), "{model}");
        assert_eq!(
            model.is_completion(),
            [Model::Uring, Model::PosixAio].contains(&model),
            "{model}"
        );
        let via = if model.is_completion() { Via::Copy } else { Via::Sendfile };
        assert_eq!(model.supported_via(Via::Sendfile), via, "{model}");
    }
    assert!(
        Model::AUTO.iter().any(|model| model.probe().is_ok()) && Model::Blocking.probe().is_ok()
    );
    let _: UnknownModel = "none".parse::<Model>().unwrap_err();
    let _: UnknownTopology = "none".parse::<Topology>().unwrap_err();
    for &topology in Topology::ALL {
        assert_eq!(topology.name().parse::<Topology>()?, topology);
        assert_eq!(
            topology.has_reactors(),
            [Topology::Multi, Topology::Reuseport].contains(&topology)
        );
        assert_eq!(topology.has_workers(), topology != Topology::Single, "{topology}");
    }
    Ok(())
}

#[test]
fn a_configuration_is_checked() -> Result<(), Box<dyn Error>> {
    let two = NonZeroUsize::MIN.saturating_add(1);
    let config = ConfigBuilder::new().topology(Topology::Workers).workers(two).threads(None);
    let config: Config = config.model(Model::Poll).pin(false).yields(false).build(two)?;
    assert_eq!((config.model(), config.topology()), (Model::Poll, Topology::Workers));
    assert_eq!((config.threads(), config.workers()), (1, 2));
    let Selected { config, .. } = Config::builder().build_supported(two)?;
    assert!(ALLOWED.contains(&(config.model(), config.topology())));
    let build = |builder: ConfigBuilder| builder.build(two).expect_err("it contradicts itself");
    let blocking = Config::builder().model(Model::Blocking);
    let pair = build(blocking.topology(Topology::Multi));
    assert!(matches!(pair, ConfigError::Pair(Some(Model::Blocking), Some(Topology::Multi))));
    let single = Config::builder().model(Model::Poll).topology(Topology::Single);
    assert!(matches!(
        build(single.threads(two)),
        ConfigError::Threads(Model::Poll, Topology::Single)
    ));
    assert!(matches!(build(single.workers(two)), ConfigError::Workers));
    assert!(matches!(build(single.yields(true)), ConfigError::Yield));
    assert!(matches!(build(blocking.pin(true)), ConfigError::Pin));
    assert!(!ConfigError::NotCompiled(Model::Uring).to_string().is_empty());
    Ok(())
}

#[test]
fn a_server_serves_and_ends() -> io::Result<()> {
    let two = NonZeroUsize::MIN.saturating_add(1);
    let config = Config::builder().build(two).map_err(io::Error::other)?;
    let mut options = TcpOptions::default();
    options.notsent_lowat = NonZeroU32::new(1 << 16);
    options.user_timeout = Some(MINUTE);
    assert_eq!((options.congestion.as_deref(), options.max_pacing_rate), (None, None));
    for drains in [false, true] {
        let server = Server::bind_with(config, &anywhere(), &options)?;
        let (address, shutdown) = (address(&server), Shutdown::new());
        let mut limits = Limits::new(100, Duration::ZERO);
        (limits.connections, limits.grace) = (limits.connections + 1, MINUTE);
        thread::scope(|scope| {
            let running = scope.spawn(|| server.run(&Greetings, limits, &shutdown));
            greeted(address)?;
            assert!(shutdown.responds_within(MINUTE) && !shutdown.is_triggered());
            if drains {
                shutdown.drain();
            } else {
                shutdown.trigger();
            }
            assert!(shutdown.stops_accepting_within(MINUTE) && shutdown.is_triggered());
            running.join().expect("the server does not panic")
        })?;
    }
    Ok(())
}

#[test]
fn another_server_takes_the_sockets() -> io::Result<()> {
    let config = Config::builder().topology(Topology::Single).model(Model::EpollLevel);
    let config = config.build(NonZeroUsize::MIN).map_err(io::Error::other)?;
    let directory = tempfile::tempdir()?;
    let name = Address::Unix(directory.path().join("socket"));
    let old = Server::bind(config, &anywhere())?;
    let extra = Listener::bind_with(&name, false, &TcpOptions::default())?;
    assert_eq!(extra.address(), &name);
    let mut handover: Handover = old.handover();
    handover.add(&extra, &name);
    let mut options = TcpOptions::default();
    options.user_timeout = Some(MINUTE);
    handover.set_tcp_options(&options)?;
    handover.own_names();
    let mut inherited = Vec::new();
    for HandoverListener { socket, requested, owns_name, .. } in handover.listeners() {
        inherited.push(InheritedListener::new(socket.try_clone()?, Some(requested), owns_name)?);
    }
    handover.keep_names();
    assert_eq!(inherited.len(), 2);
    assert!(inherited[0].owned_name().is_none() && inherited[1].address() == &name);
    let taken = InheritedListener::take_or_bind(&mut inherited, &name)?;
    assert_eq!(taken.address(), &name);
    let before = address(&old);
    let new = Server::bind_inherited(config, &anywhere(), &TcpOptions::default(), &mut inherited)?;
    drop(old);
    assert_eq!((address(&new), inherited.len()), (before, 0));
    let shutdown = Shutdown::new();
    thread::scope(|scope| {
        let running = scope.spawn(|| new.run(&Greetings, Limits::default(), &shutdown));
        greeted(before)?;
        shutdown.trigger();
        running.join().expect("the server does not panic")
    })
}

/// The waits of [`Counting`].
static WAITS: AtomicUsize = AtomicUsize::new(0);

/// poll(2), with its waits counted.
struct Counting(Poll);

impl Selector for Counting {
    const EDGE: bool = Poll::EDGE;
    const CLOSE_DEREGISTERS: bool = Poll::CLOSE_DEREGISTERS;
    const WATCHES_EVENTFD: bool = Poll::WATCHES_EVENTFD;
    const OFFLOADS_READS: bool = false;
    const SHARES_REGISTRATION: bool = Poll::SHARES_REGISTRATION;

    fn new() -> rustix::io::Result<Self> {
        Poll::new().map(Self)
    }

    fn register(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        self.0.register(fd, token, interest)
    }

    fn modify(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        self.0.modify(fd, token, interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.0.deregister(fd)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> rustix::io::Result<()> {
        WAITS.fetch_add(1, Ordering::Relaxed);
        self.0.wait(timeout, ready)
    }

    fn offload_read(
        &mut self,
        _: Token,
        part: karez_reactor::PageIn,
    ) -> Result<(), karez_reactor::PageIn> {
        Err(part)
    }

    fn next_completed_read(&mut self) -> Option<Token> {
        None
    }
}

#[test]
fn a_selector_of_this_crate() -> io::Result<()> {
    let config = Config::builder().model(Model::Poll).topology(Topology::Single);
    let config = config.build(NonZeroUsize::MIN).map_err(io::Error::other)?;
    let server = Server::bind(config, &anywhere())?;
    let (address, shutdown) = (address(&server), Shutdown::new());
    thread::scope(|scope| {
        let running = scope
            .spawn(|| server.run_with::<Counting, _>(&Greetings, Limits::default(), &shutdown));
        greeted(address)?;
        shutdown.trigger();
        running.join().expect("the server does not panic")
    })?;
    assert!(WAITS.load(Ordering::Relaxed) > 0);
    Ok(())
}
