//! A room in which everybody hears what the others say, line by line:
//! `chat --model epoll-level 127.0.0.1:7777`, and then `nc 127.0.0.1 7777` from here and there.
//!
//! What it does badly: whoever does not keep up misses lines, and who says nothing for an hour has
//! to leave.

use karez_reactor::{Event, Home, Mailbox, NoJob, Peer, Service, Task, Want};
use std::collections::HashMap;
use std::mem;
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
        let greeting = format!("you are guest {number}\n").into_bytes();
        Guest { room: self.clone(), number, said: Vec::new(), want: say(greeting) }
    }
}

/// One who is there.
pub struct Guest {
    room: Room,
    number: u64,
    /// A line that is not complete.
    said: Vec<u8>,
    want: Want<NoJob>,
}

fn say(bytes: Vec<u8>) -> Want<NoJob> {
    Want::Send { outbox: bytes.into(), stall: STALL }
}

impl Task for Guest {
    type Job = NoJob;
    type Mail = Line;

    fn move_in(&mut self, home: Home<'_, Line>) {
        match home.mailbox() {
            Ok(mailbox) => drop(self.room.lock().present.insert(self.number, mailbox)),
            Err(_) => self.want = Want::Close, // nobody could tell it anything
        }
    }

    fn want(&mut self) -> Want<NoJob> {
        mem::replace(&mut self.want, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, NoJob, Line>, now: Instant) {
        match event {
            Event::Received(bytes) => self.listen(bytes),
            Event::Mail(line) => return self.want = say(line.to_vec()),
            Event::Sent(_) => {}
            _ => return, // gone, or too slow, or silent for too long
        }
        if self.said.len() <= LONGEST_LINE {
            self.want = Want::Receive { until: now + SILENCE, idle: true };
        }
    }
}

impl Guest {
    fn listen(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.said.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = [format!("{}: ", self.number).as_bytes(), &self.said].concat();
                self.room.tell_all_but(self.number, &Line::from(line));
                self.said.clear();
            }
        }
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
