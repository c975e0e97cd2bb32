//! A server on a selector of the caller's own, with no other crate in scope than this one and rustix.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod echo;

use echo::Echoes;
use karez_reactor::{
    Address, Config, Interest, Limits, Model, Poll, Ready, Selector, Server, Shutdown, Token,
    Topology,
};
use rustix::io;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The waits of all selectors.
static WAITS: AtomicUsize = AtomicUsize::new(0);

/// poll(2), with its waits counted.
struct CountingPoll(Poll);

impl Selector for CountingPoll {
    const EDGE: bool = Poll::EDGE;
    const CLOSE_DEREGISTERS: bool = Poll::CLOSE_DEREGISTERS;
    const WATCHES_EVENTFD: bool = Poll::WATCHES_EVENTFD;

    fn new() -> io::Result<Self> {
        Poll::new().map(Self)
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.0.register(fd, token, interest)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.0.modify(fd, token, interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.deregister(fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        WAITS.fetch_add(1, Ordering::Relaxed);
        self.0.wait(timeout, ready)
    }
}

fn bind(model: Model, topology: Topology) -> Server {
    let config = Config::builder().model(model).topology(topology);
    let config = config.build(NonZeroUsize::new(2).unwrap()).unwrap();
    Server::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap()
}

#[test]
fn a_server_runs_on_a_selector_of_the_caller() {
    for &topology in Topology::ALL {
        let server = bind(Model::Poll, topology);
        let Some(&Address::Tcp(address)) = server.addresses().next() else { panic!() };
        let (shutdown, before) = (Shutdown::new(), WAITS.load(Ordering::Relaxed));
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                server.run_with::<CountingPoll, _>(&Echoes, Limits::default(), &shutdown)
            });
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"water").unwrap();
            let mut echo = [0; 5];
            client.read_exact(&mut echo).unwrap();
            assert_eq!(&echo, b"water", "{topology}");
            shutdown.trigger();
            running.join().unwrap().unwrap();
        });
        assert!(WAITS.load(Ordering::Relaxed) > before, "{topology}");
    }
}

#[test]
fn only_a_readiness_model_can_be_replaced() {
    let server = bind(Model::Blocking, Topology::Single);
    let run = server.run_with::<CountingPoll, _>(&Echoes, Limits::default(), &Shutdown::new());
    assert_eq!(run.unwrap_err().kind(), ErrorKind::InvalidInput);
}
