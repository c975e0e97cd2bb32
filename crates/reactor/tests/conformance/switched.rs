//! Switches in the middle of sending, by every via on every model: all bytes in front of one leave before
//! it, all bytes behind it after it.

use karez_reactor::{ALLOWED, Event, Io, Mark, NoJob, Peer, RecordKind, SendError, Service, Task};
use karez_transfer::{Direction, FileToSocket, Report, Switch, Switched, Via};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, end_of, many, serve_with};
use crate::xor::{Xor, open_all};

const LENGTH: usize = 100_000;

/// A place in the stream, written to the socket by the switch itself.
const PLACE: &[u8] = b"|switched|";

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Order {
    /// The socket makes the records, as if it were one of kernel TLS.
    Socket,
    /// The socket refuses, so a seal makes them.
    Seal,
    /// It refuses, and no seal will do.
    Fail,
}

const ORDERS: [Order; 3] = [Order::Socket, Order::Seal, Order::Fail];

struct Fake(Order);

impl Switch for Fake {
    fn switch(self: Box<Self>, socket: BorrowedFd<'_>) -> io::Result<Switched> {
        let mut rest = PLACE;
        while !rest.is_empty() {
            match send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::AGAIN) => std::thread::yield_now(), // for the test alone
                Err(errno) => panic!("{errno}"),
            }
        }
        match self.0 {
            Order::Socket => Ok(Switched::Socket),
            Order::Seal => Ok(Switched::Seal(Box::new(Xor(9)))),
            Order::Fail => Err(io::Error::other("no kernel TLS")),
        }
    }
}

/// Sends the file twice by the requested via, with a switch between.
struct Switching {
    file: Arc<File>,
    outcomes: Sender<Result<Vec<Report>, SendError>>,
}

impl Switching {
    fn send(&self, via: Via, order: Order, io: &mut Io<'_, NoJob>) {
        let file = || FileToSocket::new(self.file.clone(), 1..LENGTH as u64, via);
        let outbox = io.outbox();
        outbox.enable_stats();
        outbox.push_bytes(b"head".to_vec());
        outbox.push_file(file());
        outbox.push_raw(b"raw".to_vec());
        outbox.push_switch(Box::new(Fake(order)));
        outbox.push_bytes(b"head".to_vec());
        outbox.push_file(file());
        if order == Order::Socket {
            outbox.push_record(RecordKind::ALERT, b"alert".to_vec());
        }
        outbox.push_bytes(b"tail".to_vec());
        io.notify_sent(Mark(1));
    }
}

impl Task for Switching {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        let outcome = match event {
            Event::Opened(_) => return io.receive(io.now() + LONG, true, None),
            Event::Received(order, _) => {
                let via = Direction::FileToSocket.vias()[usize::from(order[0])];
                return self.send(via, ORDERS[usize::from(order[1])], io);
            }
            Event::Sent(Mark(1)) => Ok(io.outbox().take_stats().unwrap().into_reports()),
            Event::SendFailed(error) => Err(error),
            Event::Closing(_) => return,
            _ => panic!("{event:?}"),
        };
        self.outcomes.send(outcome).unwrap();
        io.close();
    }
}

struct Switches {
    file: Arc<File>,
    outcomes: Mutex<Sender<Result<Vec<Report>, SendError>>>,
}

impl Service for Switches {
    type Task = Switching;

    fn connect(&self, _: Peer, _: Instant) -> Switching {
        Switching { file: self.file.clone(), outcomes: self.outcomes.lock().unwrap().clone() }
    }
}

#[test]
fn switches_take_effect_at_their_place_in_the_stream_by_every_via() {
    let content: Vec<u8> = (0..LENGTH).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let file = Arc::new(file);
    let front = [b"head", &content[1..], b"raw", PLACE].concat();
    for &(model, topology) in ALLOWED {
        let (sender, outcomes) = mpsc::channel();
        let service = Switches { file: file.clone(), outcomes: Mutex::new(sender) };
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            for (number, via) in Direction::FileToSocket.vias().iter().enumerate() {
                for order in ORDERS.into_iter().take(if number == 0 { 3 } else { 2 }) {
                    let mut stream = connect(address);
                    stream.write_all(&[u8::try_from(number).unwrap(), order as u8]).unwrap();
                    let sent = end_of(stream);
                    let behind = sent.strip_prefix(&front[..]);
                    let behind = behind.unwrap_or_else(|| panic!("{name}, {via}, {order:?}"));
                    let outcome = outcomes.recv_timeout(LONG).unwrap();
                    match order {
                        Order::Socket => {
                            let expected = [b"head", &content[1..], b"alerttail"].concat();
                            assert!(behind == expected, "{name}, {via}");
                            let [before, after] = &outcome.unwrap()[..] else { panic!("{name}") };
                            // `auto` learns meanwhile.
                            let same = before.effective == after.effective;
                            assert!(same || *via == Via::Auto, "{name}, {via}");
                        }
                        Order::Seal => {
                            let expected = [b"head", &content[1..], b"tail"].concat();
                            assert!(open_all(behind, 9) == expected, "{name}, {via}");
                            outcome.unwrap();
                        }
                        Order::Fail => {
                            assert_eq!(behind, b"", "{name}, {via}");
                            assert!(matches!(outcome, Err(SendError::Failed(_))), "{name}");
                        }
                    }
                }
            }
        });
    }
}
