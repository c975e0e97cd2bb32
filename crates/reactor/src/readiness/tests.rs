//! A selector that sees nothing, wakes late or fails for a while, as after a stop of the process.

use super::*;
use crate::admission::Admission;
use crate::admission::Limits;
use crate::io::Io;
use crate::listener::Listener;
use crate::models::epoll_level::EpollLevel;
use crate::shutdown::Shutdown;
use crate::sync::inbox::Inbox;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::{Event, NoJob, Task};
use karez_transfer::Mark;
use rustix::io::Errno;
use std::convert::Infallible;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

pub(crate) const STALL: Duration = Duration::from_millis(50);

/// More than all socket buffers hold.
const LARGE: usize = 16 << 20;

/// Receives once and sends the result, or sends many bytes; then shuts the server down.
pub(crate) struct Once {
    sends: bool,
    shutdown: Shutdown,
}

impl Task for Once {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) if self.sends => {
                io.send_timeout(STALL);
                send(&vec![b's'; LARGE], io);
            }
            Event::Opened(_) => io.receive(io.now() + STALL, false, None),
            Event::Received(..) => send(b"in time", io),
            Event::ReceiveTimedOut => send(b"too late", io),
            _ => {
                self.shutdown.trigger();
                io.close();
            }
        }
    }
}

fn send(bytes: &[u8], io: &mut Io<'_, NoJob>) {
    io.outbox().push_bytes(bytes.to_vec());
    io.notify_sent(Mark(0));
}

/// Makes such a task.
pub(crate) struct OneShot {
    pub(crate) shutdown: Shutdown,
    pub(crate) sends: bool,
}

impl Service for OneShot {
    type Task = Once;

    fn connect(&self, _: Peer, _: Instant) -> Once {
        Once { sends: self.sends, shutdown: self.shutdown.clone() }
    }
}

/// The script of a wait: whether it asks the selector.
type Before<'a> = Box<dyn FnMut(Option<Duration>) -> Wait + 'a>;

#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// As it should be.
    True,
    /// Without a look, as by `EINTR`.
    Blind,
    Fails(Errno),
}

/// Level-triggered epoll(7) that follows a script.
struct ScriptedSelector<'a> {
    epoll: EpollLevel,
    before: Before<'a>,
    /// How many changes of the interest in a listener still fail.
    refusals: u32,
}

impl Selector for ScriptedSelector<'_> {
    const EDGE: bool = EpollLevel::EDGE;
    const CLOSE_DEREGISTERS: bool = EpollLevel::CLOSE_DEREGISTERS;
    const WATCHES_EVENTFD: bool = EpollLevel::WATCHES_EVENTFD;

    fn new() -> rustix::io::Result<Self> {
        Ok(Self { epoll: EpollLevel::new()?, before: Box::new(|_| Wait::True), refusals: 0 })
    }

    fn register(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        self.epoll.register(fd, token, interest)
    }

    fn modify(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        if token == Token(LISTENER) && self.refusals > 0 {
            self.refusals -= 1;
            return Err(Errno::NOMEM);
        }
        self.epoll.modify(fd, token, interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.epoll.deregister(fd)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> rustix::io::Result<()> {
        match (self.before)(timeout) {
            Wait::True => self.epoll.wait(timeout, ready),
            Wait::Blind => Ok(()),
            Wait::Fails(errno) => Err(errno),
        }
    }
}

/// Serves one connection to the end of its task.
fn serve(
    sends: bool,
    client: impl FnOnce(&mut TcpStream),
    before: impl FnMut(&mut TcpStream, Option<Duration>) -> Wait,
) -> TcpStream {
    serve_refused(sends, 0, client, before)
}

/// The same, behind a pause in which nothing is accepted, and of which the selector refuses so many notices.
fn serve_refused(
    sends: bool,
    refusals: u32,
    client: impl FnOnce(&mut TcpStream),
    before: impl FnMut(&mut TcpStream, Option<Duration>) -> Wait,
) -> TcpStream {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), false).unwrap();
    let crate::listener::Address::Tcp(address) = *listener.address() else { panic!() };
    let mut stream = TcpStream::connect(address).unwrap();
    client(&mut stream);
    let mut other = stream.try_clone().unwrap();
    let mut before = before;
    let selector = ScriptedSelector {
        before: Box::new(move |timeout| before(&mut other, timeout)),
        refusals,
        ..ScriptedSelector::new().unwrap()
    };
    let shutdown = Shutdown::new();
    let service = OneShot { shutdown: shutdown.clone(), sends };
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
    let mut reactor = Reactor::new(selector, parts).unwrap();
    reactor.core.acceptor.backoff_until = (refusals > 0).then(|| clock::now() + PAUSE);
    reactor.run().unwrap();
    stream
}

/// Bytes arrive in time, while the selector is blind until the deadline has passed.
#[test]
fn the_socket_is_looked_at_before_a_receive_times_out() {
    let mut blind = 0;
    let stream = serve(
        false,
        |client| client.write_all(b"x").unwrap(),
        |_, timeout| {
            // The wait that would end with the deadline ends behind it, and sees nothing; neither
            // does the look that follows.
            blind += u32::from(blind > 0 || timeout.is_some_and(|time| !time.is_zero()));
            match blind {
                1 => thread::sleep(STALL + timeout.unwrap()),
                2 => {}
                _ => return Wait::True,
            }
            Wait::Blind
        },
    );
    assert_eq!(rest(stream), b"in time");
}

/// The selector reports nothing before or behind the deadline.
#[test]
fn a_receive_that_nothing_came_for_times_out() {
    let stream = serve(false, |_| {}, |_, _| Wait::True);
    assert_eq!(rest(stream), b"too late");
}

/// The peer has read while the selector was blind, so there is room again.
#[test]
fn the_socket_is_looked_at_before_a_send_times_out() {
    let mut came = 0;
    let stream = serve(
        true,
        |client| client.set_nonblocking(true).unwrap(),
        |client, timeout| match timeout {
            Some(time) if !time.is_zero() => {
                thread::sleep(STALL + time);
                came += drain(client);
                Wait::Blind
            }
            _ => {
                came += if came > 0 { drain(client) } else { 0 };
                Wait::True
            }
        },
    );
    stream.set_nonblocking(false).unwrap();
    assert_eq!(came + rest(stream).len(), LARGE);
}

#[test]
fn a_wait_that_fails_for_a_while_is_repeated() {
    for errno in [Errno::NOMEM, Errno::AGAIN, Errno::BUSY, Errno::TIME, Errno::NOBUFS] {
        let mut failed = 0;
        let stream = serve(
            false,
            |client| client.write_all(b"x").unwrap(),
            |_, _| {
                failed += 1;
                if failed < 5 { Wait::Fails(errno) } else { Wait::True }
            },
        );
        assert_eq!(rest(stream), b"in time", "{errno}");
    }
}

/// The first notice is that of the pause, the last one that of its end.
#[test]
fn a_listener_whose_interest_cannot_be_changed_for_a_while_is_kept() {
    for refusals in 1..4 {
        let client = |client: &mut TcpStream| client.write_all(b"x").unwrap();
        let stream = serve_refused(false, refusals, client, |_, _| Wait::True);
        assert_eq!(rest(stream), b"in time", "{refusals}");
    }
}

pub(crate) fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

fn drain(stream: &mut TcpStream) -> usize {
    let (mut came, mut part) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => came += count,
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            _ => return came,
        }
    }
}
