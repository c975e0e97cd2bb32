//! A farewell that has to be read from a disk.

use karez_reactor::{ALLOWED, Event, Io, Mark, Model, NoJob, Peer, Service, Task};
use karez_transfer::{FileToSocket, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use crate::scripted_task::{LONG, ask, config, connect, end_of, many, serve_with};

const LENGTH: usize = 300_000;

/// Sends a file when the server shuts down, and closes the connection.
struct Farewell(Arc<File>);

impl Task for Farewell {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => io.receive(io.now() + LONG, false, None),
            Event::Received(bytes, _) => {
                io.outbox().push_bytes(bytes.to_vec());
                io.receive(io.now() + LONG, false, None);
            }
            Event::Closing(_) => {
                let file = FileToSocket::new(self.0.clone(), 0..LENGTH as u64, Via::Copy);
                io.outbox().push_file(file);
                io.notify_sent(Mark(0));
            }
            _ => io.close(),
        }
    }
}

struct Farewells(Arc<File>);

impl Service for Farewells {
    type Task = Farewell;

    fn connect(&self, _: Peer, _: Instant) -> Farewell {
        Farewell(Arc::clone(&self.0))
    }
}

/// Model blocking ends a busy connection after the grace period, and sends one step of its farewell.
#[test]
fn a_farewell_that_is_not_in_the_page_cache_is_sent() {
    let content: Vec<_> = (0..LENGTH).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    fdatasync(&file).unwrap();
    let file = Arc::new(file);
    let service = Farewells(Arc::clone(&file));
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| *model != Model::Blocking) {
        serve_with(config(model, topology), many(), &service, |address, shutdown, name| {
            let mut stream = connect(address);
            ask(&mut stream, b"x", b"x", name);
            fadvise(&*file, 0, None, Advice::DontNeed).unwrap();
            shutdown.trigger();
            assert!(end_of(stream) == content, "{name}");
        });
    }
}
