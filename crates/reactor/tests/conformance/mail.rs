//! Messages between tasks, across event loops and threads.

use karez_reactor::{ALLOWED, Event, Io, Mailbox, NoJob, Peer, Service, Task};
use karez_transfer::Mark;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, end_of, many, serve_with};

/// The members of the ring, in the order of their connections.
#[derive(Clone)]
struct Ring {
    seats: Arc<Mutex<Vec<Mailbox<Token>>>>,
    /// Messages that were rejected.
    refused: Sender<Token>,
}

/// Goes to the next in the ring so many times, and then to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    hops: u16,
    word: u16,
}

/// Passes messages on.
struct Seat {
    ring: Ring,
    number: usize,
    said: Vec<u8>,
}

impl Service for Ring {
    type Task = Seat;

    fn connect(&self, _: Peer, _: Instant) -> Seat {
        Seat { ring: self.clone(), number: 0, said: Vec::new() }
    }
}

fn say(bytes: Vec<u8>, io: &mut Io<'_, NoJob>) {
    io.send_timeout(LONG);
    io.outbox().push_bytes(bytes);
    io.notify_sent(Mark(0));
}

impl Task for Seat {
    type Job = NoJob;
    type Message = Token;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(context) => {
                let mailbox = context.mailbox().unwrap();
                let mut seats = self.ring.seats.lock().unwrap();
                self.number = seats.len();
                seats.push(mailbox);
                say(vec![u8::try_from(self.number).unwrap()], io);
            }
            Event::Received(bytes, _) => self.received(bytes, io),
            Event::Message(Token { hops: 0, word }) => say(word.to_be_bytes().to_vec(), io),
            Event::Message(token) => self.pass_on(Token { hops: token.hops - 1, ..token }),
            Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Closing(_) => {}
            _ => io.close(),
        }
    }
}

impl Seat {
    /// `h h w w` is a token; with hops of `0xffff` an order to send more than a socket holds.
    fn received(&mut self, bytes: &[u8], io: &mut Io<'_, NoJob>) {
        self.said.extend_from_slice(bytes);
        let whole = self.said.len() / 4 * 4;
        for token in self.said.drain(..whole).collect::<Vec<_>>().chunks(4) {
            let hops = u16::from_be_bytes([token[0], token[1]]);
            if hops == u16::MAX {
                return say(vec![0xff; MUCH], io);
            }
            self.pass_on(Token { hops, word: u16::from_be_bytes([token[2], token[3]]) });
        }
        io.receive(io.now() + LONG, true, None);
    }

    fn pass_on(&self, token: Token) {
        let seats = self.ring.seats.lock().unwrap();
        if let Err(token) = seats[(self.number + 1) % seats.len()].send(token) {
            self.ring.refused.send(token).unwrap();
        }
    }
}

/// More than the buffers of two sockets hold.
const MUCH: usize = 32 << 20;

fn order(hops: u16, word: u16) -> Vec<u8> {
    [hops.to_be_bytes(), word.to_be_bytes()].concat()
}

fn read_word(stream: &mut TcpStream) -> u16 {
    let mut word = [0; 2];
    stream.read_exact(&mut word).unwrap();
    u16::from_be_bytes(word)
}

/// Connects so many, each of which has sat down when this returns.
fn sit_down(address: SocketAddr, count: u8) -> Vec<TcpStream> {
    let sit = |number| {
        let mut stream = connect(address);
        let mut seat = [0];
        stream.read_exact(&mut seat).unwrap();
        assert_eq!(seat, [number]);
        stream
    };
    (0..count).map(sit).collect()
}

fn everywhere(script: impl Fn(SocketAddr, &Ring, &mpsc::Receiver<Token>, &str)) {
    for &(model, topology) in ALLOWED {
        let (refused, refusals) = mpsc::channel();
        let ring = Ring { seats: Arc::default(), refused };
        serve_with(config(model, topology), many(), &ring, |address, _, name| {
            script(address, &ring, &refusals, name);
        });
    }
}

/// Only one token moves, so all event loops sleep but one: a lost wake-up is a hang.
#[test]
fn a_token_goes_round_though_all_sleep() {
    everywhere(|address, _, _, name| {
        let mut streams = sit_down(address, 5);
        for word in 0..3 {
            streams[0].write_all(&order(500 + 4, word)).unwrap();
            assert_eq!(read_word(&mut streams[0]), word, "{name}");
        }
    });
}

/// Mail and bytes come at the same time to everybody.
#[test]
fn no_mail_is_lost_and_no_byte_where_all_talk_at_once() {
    const ROUNDS: u16 = 100;
    everywhere(|address, _, _, name| {
        let mut streams = sit_down(address, 8);
        thread::scope(|scope| {
            for (stream, number) in streams.iter_mut().zip(0..) {
                scope.spawn(move || {
                    let mut heard = Vec::new();
                    for round in 0..ROUNDS {
                        // Round the whole ring in every second round, to the next member otherwise.
                        let hops = if round % 2 == 0 { 7 } else { 0 };
                        stream.write_all(&order(hops, number << 8 | round)).unwrap();
                        heard.push(read_word(stream));
                    }
                    let previous = (number + 7) % 8;
                    let (own, other): (Vec<_>, Vec<_>) =
                        heard.into_iter().partition(|word| word >> 8 == number);
                    let said =
                        |by, from| (from..ROUNDS).step_by(2).map(move |round| by << 8 | round);
                    assert!(own.into_iter().eq(said(number, 0)), "{name}");
                    assert!(other.into_iter().eq(said(previous, 1)), "{name}");
                });
            }
        });
    });
}

#[test]
fn who_does_not_listen_gets_so_much_and_no_more_and_in_order() {
    let capacity = u16::try_from(Mailbox::<Token>::CAPACITY).unwrap();
    everywhere(|address, _, refused, name| {
        let mut streams = sit_down(address, 2);
        streams[1].write_all(&order(u16::MAX, 0)).unwrap();
        streams[1].read_exact(&mut [0]).unwrap(); // from now on it has to send
        for word in 0..capacity + 3 {
            streams[0].write_all(&order(0, word)).unwrap();
        }
        for word in capacity..capacity + 3 {
            assert_eq!(refused.recv_timeout(LONG).unwrap(), Token { hops: 0, word }, "{name}");
        }
        streams[1].read_exact(&mut vec![0; MUCH - 1]).unwrap();
        for word in 0..capacity {
            assert_eq!(read_word(&mut streams[1]), word, "{name}");
        }
        streams[0].write_all(&order(0, 7)).unwrap();
        assert_eq!(read_word(&mut streams[1]), 7, "{name}: there is room again");
    });
}

#[test]
fn what_comes_for_one_who_is_gone_reaches_nobody_else() {
    everywhere(|address, ring, _, name| {
        let mut streams = sit_down(address, 2);
        let gone = streams.pop().unwrap();
        gone.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(end_of(gone).is_empty(), "{name}");
        let old = ring.seats.lock().unwrap().pop().unwrap();
        for _ in 0..3 {
            let _gone = old.send(Token { hops: 0, word: 0xdead });
        }
        // Perhaps in its place.
        let mut late = connect(address);
        late.read_exact(&mut [0]).unwrap();
        let _gone = old.send(Token { hops: 0, word: 0xdead });
        streams[0].write_all(&order(0, 7)).unwrap();
        assert_eq!(read_word(&mut late), 7, "{name}");
    });
}
