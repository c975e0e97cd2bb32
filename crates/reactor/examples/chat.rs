//! A chat room: each line of a guest goes to all other guests.
//! `chat --model epoll-level 127.0.0.1:7777`, and then `nc 127.0.0.1 7777` in two terminals.
//!
//! # Limitations
//!
//! A guest that does not keep up misses lines, and one that is silent for an hour is disconnected.

use karez_reactor::{Event, Io, Lines, Mailbox, NoJob, Peer, Service, Task};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod command_line;

const SILENCE: Duration = Duration::from_secs(3600);
const STALL: Duration = Duration::from_secs(30);
const LONGEST_LINE: usize = 4096;

type Line = Arc<[u8]>;

/// The room, however many know it.
#[derive(Clone, Default)]
pub struct Room(Arc<Mutex<Guests>>);

#[derive(Default)]
struct Guests {
    have_come: u64,
    present: HashMap<u64, Mailbox<Line>>,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_all_but(&self, speaker: u64, line: &Line) {
        for (_, guest) in self.lock().present.iter().filter(|(number, _)| **number != speaker) {
            let _missed = guest.send(Arc::clone(line));
        }
    }
}

impl Service for Room {
    type Task = Guest;

    fn connect(&self, _: Peer, _: Instant) -> Guest {
        let mut room = self.lock();
        room.have_come += 1;
        let number = room.have_come;
        drop(room);
        Guest { room: self.clone(), number, said: Lines::new(LONGEST_LINE) }
    }
}

/// One connection.
pub struct Guest {
    room: Room,
    number: u64,
    said: Lines,
}

impl Task for Guest {
    type Job = NoJob;
    type Message = Line;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(context) => match context.mailbox() {
                Ok(mailbox) => {
                    self.room.lock().present.insert(self.number, mailbox);
                    let greeting = format!("you are guest {}\n", self.number);
                    io.outbox().push_bytes(greeting.into_bytes());
                    io.send_timeout(STALL);
                }
                Err(_) => return io.close(),
            },
            Event::Received(bytes, _) => {
                let Self { room, number, said } = self;
                let told = said.split(bytes, |line| {
                    let line = [format!("{number}: ").as_bytes(), line, b"\n"].concat();
                    room.tell_all_but(*number, &Line::from(line));
                });
                if told.is_err() {
                    return io.close();
                }
            }
            Event::Message(line) => io.outbox().push_bytes(line.to_vec()),
            _ => return io.close(), // gone, too slow, or silent for too long
        }
        io.receive(io.now() + SILENCE, true, None);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.lock().present.remove(&self.number);
    }
}

fn main() -> ExitCode {
    command_line::serve(|rest| rest.is_empty().then(Room::default), "LISTEN")
}
