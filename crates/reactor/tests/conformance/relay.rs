//! Two sockets that are led together.

use karez_reactor::{ALLOWED, Event, Io, Job, JobId, Limits, Peer, Service, Task};
use rustix::net::sockopt::set_socket_linger;
use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, SHORT, config, connect, end_of, many, serve_with, try_read};

/// Relays every connection to one address, and records how each relay ended.
struct Leader {
    upstream: SocketAddr,
    stall: Duration,
    outcomes: Mutex<Sender<Outcome>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Relayed([u64; 2]),
    TimedOut,
    Failed,
}

struct Led {
    upstream: Option<TcpStream>,
    stall: Duration,
    outcomes: Sender<Outcome>,
}

impl Service for Leader {
    type Task = Led;

    fn connect(&self, _: Peer, _: Instant) -> Led {
        let upstream = Some(TcpStream::connect(self.upstream).unwrap());
        let outcomes = self.outcomes.lock().unwrap().clone();
        Led { upstream, stall: self.stall, outcomes }
    }
}

/// A job that the task asks for while it handles the end of the relay.
struct Ended(Outcome);

impl Job for Ended {
    type Done = Outcome;

    fn run(self) -> Outcome {
        self.0
    }

    fn try_run(self) -> Result<Outcome, Self> {
        Ok(self.0)
    }
}

impl Task for Led {
    type Job = Ended;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Ended>) {
        let outcome = match event {
            Event::Opened(_) => {
                return io.relay(self.upstream.take().unwrap().into(), self.stall);
            }
            Event::Relayed(end) => {
                let outcome = match end.error {
                    None => Outcome::Relayed([end.to_upstream, end.to_client]),
                    Some(error) if error.kind() == ErrorKind::TimedOut => Outcome::TimedOut,
                    Some(_) => Outcome::Failed,
                };
                assert!(io.run(JobId(0), Ended(outcome)).is_ok());
                return;
            }
            Event::JobDone(_, outcome) => outcome.unwrap(),
            Event::Closing(_) => return,
            _ => panic!("{event:?}"),
        };
        self.outcomes.send(outcome).unwrap();
        io.close();
    }
}

/// Runs `script` with both ends of a relay, in every config, and some of them one after another.
fn everywhere(stall: Duration, script: impl Fn([TcpStream; 2], &Receiver<Outcome>, &str)) {
    everywhere_within(many(), stall, script);
}

fn everywhere_within(
    limits: Limits,
    stall: Duration,
    script: impl Fn([TcpStream; 2], &Receiver<Outcome>, &str),
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for &(model, topology) in ALLOWED {
        let (sender, outcomes) = mpsc::channel();
        let upstream = listener.local_addr().unwrap();
        let leader = Leader { upstream, stall, outcomes: Mutex::new(sender) };
        serve_with(config(model, topology), limits, &leader, |address, _, name| {
            for _ in 0..3 {
                let client = connect(address);
                let upstream = listener.accept().unwrap().0;
                upstream.set_read_timeout(Some(LONG)).unwrap();
                script([client, upstream], &outcomes, name);
            }
        });
    }
}

/// A pattern without repetition: xorshift64.
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let word = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    std::iter::repeat_with(word).take(length / 8).flatten().collect()
}

#[test]
fn much_goes_both_ways_at_once_and_arrives_as_it_was() {
    let said = [noise(1, 4 << 20), noise(2, 3 << 20)];
    everywhere(LONG, |ends, outcomes, name| {
        thread::scope(|scope| {
            for (end, said) in ends.iter().zip(&said) {
                scope.spawn(move || {
                    let mut end = end;
                    end.write_all(said).unwrap();
                    end.shutdown(std::net::Shutdown::Write).unwrap();
                });
            }
            for (end, said) in ends.iter().zip(said.iter().rev()) {
                scope.spawn(move || {
                    let heard = end_of(end.try_clone().unwrap());
                    assert!(heard == *said, "{name}: {} bytes", heard.len());
                });
            }
        });
        let moved = [said[0].len() as u64, said[1].len() as u64];
        assert_eq!(outcomes.recv_timeout(LONG).unwrap(), Outcome::Relayed(moved), "{name}");
    });
}

#[test]
fn an_end_is_passed_on_and_the_other_way_goes_on() {
    for is_clients in [true, false] {
        everywhere(LONG, |[client, upstream], outcomes, name| {
            let (mut first, mut other) =
                if is_clients { (&client, &upstream) } else { (&upstream, &client) };
            first.write_all(b"question").unwrap();
            first.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(end_of(other.try_clone().unwrap()), b"question", "{name}");
            other.write_all(b"answer").unwrap();
            let mut heard = [0; 6];
            first.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"answer", "{name}");
            other.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(end_of(first.try_clone().unwrap()).is_empty(), "{name}");
            let moved = if is_clients { [8, 6] } else { [6, 8] };
            assert_eq!(outcomes.recv_timeout(LONG).unwrap(), Outcome::Relayed(moved), "{name}");
        });
    }
}

#[test]
fn a_reset_of_either_ends_both() {
    for is_clients in [true, false] {
        everywhere(LONG, |[client, upstream], outcomes, name| {
            let (mut first, mut other) =
                if is_clients { (client, upstream) } else { (upstream, client) };
            first.write_all(b"x").unwrap();
            other.read_exact(&mut [0]).unwrap();
            set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
            drop(first);
            assert_eq!(outcomes.recv_timeout(LONG).unwrap(), Outcome::Failed, "{name}");
            let end = try_read(&mut other, &mut [0]).map_err(|error| error.kind());
            assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{name}: {end:?}");
        });
    }
}

/// The server ends although neither side does: `everywhere` waits for it.
#[test]
fn the_grace_of_a_stop_is_the_end_of_a_relay() {
    let limits = Limits::new(10, SHORT);
    everywhere_within(limits, LONG, |[mut client, mut upstream], _, name| {
        client.write_all(b"x").unwrap();
        upstream.read_exact(&mut [0]).unwrap();
        upstream.write_all(b"y").unwrap();
        let mut heard = [0];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"y", "{name}");
        std::mem::forget([client, upstream]);
    });
}

#[test]
fn a_relay_in_which_nothing_moves_is_given_up() {
    everywhere(SHORT, |[client, upstream], outcomes, name| {
        assert_eq!(outcomes.recv_timeout(LONG).unwrap(), Outcome::TimedOut, "{name}");
        assert!(end_of(upstream).is_empty(), "{name}");
        assert!(end_of(client).is_empty(), "{name}");
    });
}
