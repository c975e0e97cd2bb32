//! Model signal with a queue that holds nothing: every signal is lost, and all connections are
//! served all the same. A process of its own, for the limit is one of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod echo;

use echo::Echoes;
use karez_reactor::{
    ALLOWED, Address, Config, Interest, Limits, Model, Selector as _, Server, Shutdown, Signal,
    Token,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_overflow_reports_every_descriptor() {
    let maximum = getrlimit(Resource::Sigpending).maximum;
    setrlimit(Resource::Sigpending, Rlimit { current: Some(0), maximum }).unwrap();
    every_descriptor_is_reported();
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| *model == Model::Signal) {
        let builder = Config::builder().model(model).topology(topology);
        let config = builder.build(NonZeroUsize::new(2).unwrap()).unwrap();
        let bound = Server::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap();
        let Some(&Address::Tcp(address)) = bound.addresses().next() else { panic!() };
        let stop = Shutdown::new();
        let limits = Limits::new(100, LONG);
        thread::scope(|scope| {
            let server = scope.spawn(|| bound.run(&Echoes, limits, &stop));
            let mut streams: Vec<_> =
                (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            for round in 0..20 {
                for stream in &mut streams {
                    stream.write_all(&[round]).unwrap();
                }
                for stream in &mut streams {
                    let mut back = [0];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, [round]);
                }
            }
            // More than the socket buffers hold, so that room is reported, too.
            let mut large = streams.pop().unwrap();
            let mut reader = large.try_clone().unwrap();
            scope.spawn(move || large.write_all(&vec![7; 16 << 20]).unwrap());
            reader.read_exact(&mut vec![0; 16 << 20]).unwrap();
            stop.trigger();
            server.join().unwrap().unwrap();
        });
    }
}

/// One of two is written to; without a signal for it, both are reported.
fn every_descriptor_is_reported() {
    let mut signal = Signal::new().unwrap();
    let ((a, _to_a), (b, mut to_b)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    signal.register(a.as_fd(), Token(1), Interest::READ).unwrap();
    signal.register(b.as_fd(), Token(2), Interest::READ).unwrap();
    let mut ready = Vec::new();
    signal.wait(Some(Duration::ZERO), &mut ready).unwrap(); // what they begin with
    ready.clear();
    signal.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty(), "{ready:?}");
    to_b.write_all(b"x").unwrap();
    signal.wait(None, &mut ready).unwrap();
    let tokens: Vec<_> = ready.iter().map(|report| report.token).collect();
    assert_eq!(tokens, [Token(1), Token(2)]);
}
