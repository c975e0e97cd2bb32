//! A dictionary in memory, whose protocol has lines: `set NAME VALUE`, `get NAME`.
//! `dictionary --model epoll-edge 127.0.0.1:7777`, and then `nc 127.0.0.1 7777`.
//!
//! # Limitations
//!
//! Answers to a client that reads none are kept in memory until its send timeout.

use karez_reactor::{Event, Io, Lines, NoJob, Peer, Service, Task};
use std::collections::HashMap;
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod command_line;

const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_LINE: usize = 4096;

/// The values by their names, of all clients.
#[derive(Clone, Default)]
pub struct Dictionary(Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>);

impl Dictionary {
    /// Answers a request.
    fn answer(&self, line: &[u8]) -> Vec<u8> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let value = match (words.next(), words.next(), words.next()) {
            (Some(b"get"), Some(name), None) => {
                values.get(name).map_or(&b"none"[..], |value| value)
            }
            (Some(b"set"), Some(name), Some(value)) => {
                values.insert(name.to_vec(), value.to_vec());
                b"stored"
            }
            _ => b"set NAME VALUE, or get NAME",
        };
        [value, b"\n"].concat()
    }
}

impl Service for Dictionary {
    type Task = Client;

    fn connect(&self, _: Peer, _: Instant) -> Client {
        Client { dictionary: self.clone(), lines: Lines::new(LONGEST_LINE) }
    }
}

/// One connection.
pub struct Client {
    dictionary: Dictionary,
    lines: Lines,
}

impl Task for Client {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {}
            Event::Received(bytes, _) => {
                let Self { dictionary, lines } = self;
                let split =
                    lines.split(bytes, |line| io.outbox().push_bytes(dictionary.answer(line)));
                if split.is_err() {
                    return io.close();
                }
            }
            _ => return io.close(),
        }
        io.receive(io.now() + IDLE_TIMEOUT, true, None);
    }
}

fn main() -> ExitCode {
    command_line::serve(|rest| rest.is_empty().then(Dictionary::default), "LISTEN")
}
