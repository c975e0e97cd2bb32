//! Many connections, too many, and none any more.

use karez_reactor::{ALLOWED, Config, Limits, Model, Topology};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use crate::scripted_task::{
    LONG, SHORT, ask, config, connect, end_all, end_of, everywhere, many, serve, until_running,
};

/// Connections that come and go, politely and not; the numbers of their descriptors come again.
#[test]
fn connections_that_stay_are_served_under_churn() {
    everywhere(many(), |address, _, name| {
        let mut random = Random(0x6b61_7265_7a00_0001);
        let mut streams: Vec<TcpStream> = Vec::new();
        for step in 0..600 {
            let place = random.below(streams.len().max(1));
            match random.below(8) {
                0..3 if streams.len() < 30 => streams.push(connect(address)),
                3 if !streams.is_empty() => drop(streams.swap_remove(place)),
                4 if !streams.is_empty() => {
                    // With an answer on its way to it.
                    let mut stream = streams.swap_remove(place);
                    stream.write_all(b"ehello").unwrap();
                }
                5 if !streams.is_empty() => {
                    let mut stream = streams.swap_remove(place);
                    stream.write_all(b"b").unwrap();
                    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(); // a reset
                }
                _ if !streams.is_empty() => {
                    let word = format!("step {step}");
                    let order = format!("e{word}");
                    ask(&mut streams[place], order.as_bytes(), word.as_bytes(), name);
                    ask(&mut streams[place], b"dab", b"abab", name);
                }
                _ => {}
            }
        }
        for stream in &mut streams {
            ask(stream, b"ehello", b"hello", name);
        }
    });
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Connections are handed over, jobs go and come, and reactors sleep in between: a lost wake-up
/// hangs a client.
#[test]
fn many_simultaneous_connections_are_all_served() {
    everywhere(Limits::new(6, LONG), |address, _, name| {
        thread::scope(|scope| {
            // As many as there is room for, and more than that would find at once.
            for client in 0..8 {
                scope.spawn(move || {
                    for turn in 0..40 {
                        let word = format!("{client}:{turn}");
                        let outcome = converse(connect(address), word.as_bytes());
                        // A connection that is idle for a moment may be evicted.
                        let error = outcome.err().map(|error| error.kind());
                        assert_ne!(error, Some(ErrorKind::WouldBlock), "{name}: no answer");
                    }
                });
            }
        });
    });
}

fn converse(mut stream: TcpStream, word: &[u8]) -> io::Result<()> {
    let mut got = vec![0; word.len()];
    stream.write_all(&[b"e", word].concat())?;
    stream.read_exact(&mut got)?;
    assert_eq!(got, word);
    stream.write_all(&[b"d", word].concat())?;
    got.resize(2 * word.len(), 0);
    stream.read_exact(&mut got)?;
    assert_eq!(got, word.repeat(2));
    Ok(())
}

#[test]
fn a_pool_of_threads_serves_more_connections_than_it_has_threads() {
    let two = NonZeroUsize::new(2);
    let builder = Config::builder().model(Model::Blocking).workers(two);
    let config = builder.build(NonZeroUsize::MIN).unwrap();
    assert_eq!((config.topology(), config.workers()), (Topology::Workers, 2));
    serve(config, many(), |address, _, name, _| {
        let mut idle: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = connect(address);
                ask(&mut stream, b"ehello", b"hello", name);
                stream
            })
            .collect();
        ask(idle.last_mut().unwrap(), b"estill", b"still", name);
        let mut busy: Vec<_> = (0..2).map(|_| connect(address)).collect();
        for stream in &mut busy {
            stream.write_all(b"b").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        // Both threads serve a connection that waits, so this one waits for the first.
        let mut waiting = connect(address);
        waiting.write_all(b"ehello").unwrap();
        busy.pop().unwrap().read_exact(&mut vec![0; (8 << 20) - 1]).unwrap();
        let mut got = [0; 5];
        waiting.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
    });
}

#[test]
fn two_thousand_are_served_of_which_most_are_idle() {
    const ALL: usize = 2000;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    if maximum.is_some_and(|maximum| maximum < 3 * ALL as u64) {
        return println!("skipped: this process may not open enough for both ends");
    }
    everywhere(Limits::new(ALL, LONG), |address, _, name| {
        if name.contains("blocking") {
            return; // a thread for each would be another test
        }
        let mut streams: Vec<_> = (0..ALL).map(|_| connect(address)).collect();
        for round in 0..2 {
            let (busy, _idle) = streams.split_at_mut(ALL / 4);
            for (number, stream) in busy.iter_mut().enumerate() {
                stream.write_all(format!("e{number}:{round}").as_bytes()).unwrap();
            }
            for (number, stream) in busy.iter_mut().enumerate() {
                let word = format!("{number}:{round}");
                let mut got = vec![0; word.len()];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(got, word.as_bytes(), "{name}");
            }
            streams.rotate_left(ALL / 4);
        }
        ask(streams.last_mut().unwrap(), b"ehello", b"hello", name);
    });
}

#[test]
fn one_more_evicts_the_connection_idle_longest() {
    everywhere(Limits::new(4, LONG), |address, _, name| {
        let mut streams: Vec<_> = (0..4).map(|_| connect(address)).collect();
        for stream in &mut streams {
            ask(stream, b"eidle", b"idle", name);
        }
        streams[0].write_all(b"w").unwrap(); // busy from now on
        ask(&mut streams[2], b"eidle", b"idle", name); // younger than 1 and 3
        let mut late = connect(address);
        ask(&mut late, b"ehello", b"hello", name);
        let mut alive = 0;
        for mut stream in streams {
            let answered = stream.write_all(b"ehere").and_then(|()| stream.read_exact(&mut [0; 4]));
            alive += usize::from(answered.is_ok());
        }
        // With one reactor it is exactly the oldest; two know only their own.
        assert!(alive >= 3, "{name}: {alive}");
    });
}

#[test]
fn a_stop_closes_the_idle_and_lets_the_busy_finish() {
    everywhere(many(), |address, stop, name| {
        let mut idle = connect(address);
        ask(&mut idle, b"eidle", b"idle", name);
        let mut busy = connect(address);
        busy.write_all(b"b").unwrap();
        let mut first = [0; 1];
        busy.read_exact(&mut first).unwrap();
        stop.trigger();
        assert!(end_of(idle).is_empty(), "{name}");
        assert_eq!(end_of(busy).len(), (8 << 20) - 1, "{name}");
    });
}

#[test]
fn the_grace_period_ends() {
    let limits = Limits::new(10, SHORT);
    everywhere(limits, |address, stop, name| {
        let mut busy = connect(address);
        busy.write_all(b"b").unwrap();
        let mut first = [0; 1];
        busy.read_exact(&mut first).unwrap();
        stop.trigger();
        // The server ends although we do not read on: `everywhere` waits for it.
        std::mem::forget(busy);
        assert!(stop.is_triggered(), "{name}");
    });
}

/// A connection that could go on for ever is bounded by the budget of a turn: it goes on until another
/// connection has been served, which would never be without the budget.
#[test]
fn a_connection_that_never_waits_is_bounded_by_its_budget() {
    // Completion models make no calls of their own, so no connection goes on there without a wait.
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| !model.is_completion()) {
        serve(config(model, topology), many(), |address, _, name, _| {
            // As many as there are reactors, so that each has one.
            let mut endless: Vec<_> = (0..4).map(|_| connect(address)).collect();
            for stream in &mut endless {
                stream.write_all(b"l").unwrap();
            }
            until_running(4);
            let mut others: Vec<_> = (0..8).map(|_| connect(address)).collect();
            for stream in &mut others {
                ask(stream, b"ehello", b"hello", name);
            }
            end_all();
            for stream in &mut endless {
                let mut got = [0; 5];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(&got, b"ended", "{name}");
            }
        });
    }
}
