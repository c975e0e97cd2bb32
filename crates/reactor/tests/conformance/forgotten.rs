//! A task that forgets to request an event does not end its connection silently: it panics, by name. One for
//! which pages are read waits for these.

use karez_reactor::{
    ALLOWED, Event, FileId, FileToSocket, Io, Job, JobId, Mark, NoJob, OnShort, Peer, Service, Tag,
    Task, UnitEvent, Via,
};
use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::panic;
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use crate::scripted_task::{LONG, ask, config, connect, end_of, many, serve_with, try_read};

/// Echoes, or forgets to go on after the event that the client names.
struct Forgetful;

#[derive(Debug)]
struct Noop;

impl Job for Noop {
    type Done = ();

    fn run(self) {}
}

impl Task for Forgetful {
    type Job = Noop;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Noop>) {
        match event {
            Event::Opened(_) | Event::Sent(Mark(0)) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => match &*bytes {
                b"Received" => {}
                b"Sent" => io.notify_sent(Mark(1)),
                b"JobDone" => io.run(JobId(0), Noop).unwrap(),
                b"Timer" => io.set_timer(Some(io.now())),
                // It is sent, and no event follows.
                b"unmarked" => io.outbox().push_bytes(b"answer".to_vec()),
                bytes => {
                    io.outbox().push_bytes(bytes.to_vec());
                    io.notify_sent(Mark(0));
                }
            },
            Event::PeerClosed | Event::Failed(_) => io.close(),
            _ => {}
        }
    }
}

struct Forgetfuls;

impl Service for Forgetfuls {
    type Task = Forgetful;

    fn connect(&self, _: Peer, _: Instant) -> Forgetful {
        Forgetful
    }
}

/// The panics of [`Forgetful`].
static REPORTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the panics of this test's task for it. Other tests panic at the same time.
fn collect_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let standard = panic::take_hook();
        panic::set_hook(Box::new(move |info| match info.payload().downcast_ref::<String>() {
            Some(text) if text.contains("Forgetful") => REPORTED.lock().unwrap().push(text.clone()),
            _ => standard(info),
        }));
    });
}

#[test]
fn a_forgotten_event_is_a_panic_of_its_connection() {
    collect_panics();
    for &(model, topology) in ALLOWED {
        serve_with(config(model, topology), many(), &Forgetfuls, |address, _, name| {
            let mut other = connect(address);
            for order in ["Received", "Sent", "JobDone", "Timer", "unmarked"] {
                let mut stream = connect(address);
                ask(&mut stream, b"before", b"before", name);
                stream.write_all(order.as_bytes()).unwrap();
                let ended = loop {
                    match try_read(&mut stream, &mut [0; 100]) {
                        Ok(1..) => {} // the answer, as far as the reset has not overtaken it
                        ended => break ended,
                    }
                };
                let kind = ended.map_err(|error| error.kind());
                assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{name}, {order}");
                let reported = REPORTED.lock().unwrap().pop().unwrap_or_default();
                let after = if order == "unmarked" { "Received" } else { order };
                assert!(reported.contains(&format!("after Event::{after},")), "{name}: {reported}");
            }
            ask(&mut other, b"still here", b"still here", name);
        });
        assert!(REPORTED.lock().unwrap().is_empty(), "{model} × {topology}: a panic for each");
    }
}

/// Sends a unit, again where its pages were not in memory, and requests nothing else.
struct Unit {
    file: Arc<File>,
    length: u64,
    opened: Option<FileId>,
}

impl Unit {
    fn push(&self, length: u64, io: &mut Io<'_, NoJob>) {
        if let Some(file) = self.opened {
            io.outbox().push_unit(Tag(1), b"", file, length, OnShort::Stop);
            io.notify_sent(Mark(0));
        }
    }
}

impl Task for Unit {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                let transfer = FileToSocket::new(Arc::clone(&self.file), 0..self.length, Via::Auto);
                self.opened = Some(io.outbox().open_file(transfer));
                self.push(self.length, io);
            }
            Event::Unit(_, UnitEvent::Cold { returned }) => self.length = returned,
            Event::Unit(_, UnitEvent::Warm) => self.push(self.length, io),
            // The mark behind a unit that was removed is passed, too.
            Event::Sent(_) if io.outbox().moved() < UNIT as u64 => {}
            _ => io.close(),
        }
    }
}

const UNIT: usize = 200_000;

struct Units(Arc<File>);

impl Service for Units {
    type Task = Unit;

    fn connect(&self, _: Peer, _: Instant) -> Unit {
        Unit { file: Arc::clone(&self.0), length: UNIT as u64, opened: None }
    }
}

#[test]
fn a_task_that_waits_for_the_pages_of_a_unit_alone_gets_them() {
    // Not a temporary directory: that may be tmpfs, whose pages cannot be dropped.
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(&[7; UNIT]).unwrap();
    rustix::fs::fdatasync(&file).unwrap();
    let units = Units(Arc::new(file));
    for &(model, topology) in ALLOWED {
        serve_with(config(model, topology), many(), &units, |address, _, name| {
            rustix::fs::fadvise(&units.0, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            assert_eq!(end_of(connect(address)), [7; UNIT], "{name}");
        });
    }
}
