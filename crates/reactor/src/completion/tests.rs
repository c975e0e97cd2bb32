//! A completion model that sees nothing, or fails for a while, as after a stop of the process.

use super::*;
use crate::admission::Admission;
use crate::admission::Limits;
use crate::listener::{Address, Listener};
use crate::models::uring::Uring;
use crate::readiness::event_loop::tests::{OneShot, STALL, Wait, rest};
use crate::shutdown::Shutdown;
use crate::sync::inbox::Inbox;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use karez_sys::Key;
use karez_transfer::Via;
use rustix::io::Errno;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

/// io_uring that follows a script.
struct ScriptedDriver<'a> {
    ring: Uring,
    before: Box<dyn FnMut(Option<Duration>) -> Wait + 'a>,
}

impl Driver for ScriptedDriver<'_> {
    const LINKED_READ_SEND: bool = Uring::LINKED_READ_SEND;
    const ASYNC_OPEN: bool = Uring::ASYNC_OPEN;

    type Socket = <Uring as Driver>::Socket;

    fn supported_via(via: Via) -> Via {
        Uring::supported_via(via)
    }

    fn new() -> rustix::io::Result<Self> {
        Ok(Self { ring: Uring::new()?, before: Box::new(|_| Wait::True) })
    }

    fn start(&mut self, tag: u64, operation: Operation) -> Key {
        self.ring.start(tag, operation)
    }

    fn cancel(&mut self, key: Key) {
        self.ring.cancel(key);
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> rustix::io::Result<()> {
        match (self.before)(timeout) {
            Wait::True => self.ring.wait(timeout, done),
            Wait::Blind => Ok(()),
            Wait::Fails(errno) => Err(errno),
        }
    }
}

/// Serves one connection, that sends a byte when `before` says so, to the end of its task.
#[allow(clippy::print_stdout, reason = "a test says what it skips")]
fn serve(mut before: impl FnMut(&mut TcpStream, Option<Duration>) -> Wait) -> Option<TcpStream> {
    let Ok(scripted) = ScriptedDriver::new() else {
        println!("skipped: no io_uring");
        return None;
    };
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), false).unwrap();
    let Address::Tcp(address) = *listener.address() else { panic!() };
    let stream = TcpStream::connect(address).unwrap();
    let mut other = stream.try_clone().unwrap();
    let driver =
        ScriptedDriver { before: Box::new(move |timeout| before(&mut other, timeout)), ..scripted };
    let shutdown = Shutdown::new();
    let service = OneShot { shutdown: shutdown.clone(), sends: false };
    let admission = Admission::new(Limits::new(10, Duration::from_secs(60)));
    let inbox = Arc::new(Inbox::new(Arc::new(Waker::eventfd().unwrap())));
    shutdown.subscribe(inbox.shared_waker());
    let pool = Pool::new(1, None, PoolTask::run);
    let parts = Parts {
        service: &service,
        admission: &admission,
        shutdown: &shutdown,
        listeners: vec![listener],
        balancer: Vec::new(),
        inbox,
        pool: &pool,
        offloads_all: false,
    };
    Proactor::new(driver, parts).run().unwrap();
    Some(stream)
}

/// The byte comes while the model is blind, and the deadline passes.
#[test]
fn what_is_complete_is_fetched_before_a_receive_times_out() {
    let mut blind = false;
    let stream = serve(|client, timeout| {
        // The first wait with an end is for the deadline of the one connection.
        if blind || timeout.is_none_or(|time| time.is_zero()) {
            return Wait::True;
        }
        blind = true;
        client.write_all(b"x").unwrap();
        thread::sleep(STALL + timeout.unwrap());
        Wait::Blind
    });
    let Some(stream) = stream else { return };
    assert_eq!(rest(stream), b"in time");
}

#[test]
fn a_wait_that_fails_for_a_while_is_repeated() {
    for errno in [Errno::NOMEM, Errno::AGAIN, Errno::BUSY, Errno::TIME] {
        let mut failed = 0;
        let stream = serve(|client, _| {
            failed += 1;
            if failed == 1 {
                client.write_all(b"x").unwrap();
            }
            if failed < 5 { Wait::Fails(errno) } else { Wait::True }
        });
        let Some(stream) = stream else { return };
        assert_eq!(rest(stream), b"in time", "{errno}");
    }
}
