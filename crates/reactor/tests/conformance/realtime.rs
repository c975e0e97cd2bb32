//! RealtimeSanitizer reports a turn that waits: without that its silence would mean nothing. Only
//! under `.ci/sanitize realtime`.

use karez_reactor::{Event, Io, Model, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::env;
use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, end_of, many, serve_with};

struct Reads;

impl Task for Reads {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        if let Event::Opened(_) = event {
            return io.receive(io.now() + LONG, false, None);
        }
        // As no task may: it waits for a disk.
        let _content = fs::read("/etc/hostname");
        io.close();
    }
}

struct Readers;

impl Service for Readers {
    type Task = Reads;

    fn connect(&self, _: Peer, _: Instant) -> Reads {
        Reads
    }
}

#[test]
#[ignore = "the sanitizer ends its process"]
fn a_task_that_opens_a_file() {
    let model = env::var("MODEL").unwrap().parse::<Model>().unwrap();
    serve_with(config(model, Topology::Multi), many(), &Readers, |address, _, _| {
        let mut stream = connect(address);
        std::io::Write::write_all(&mut stream, b"x").unwrap();
        end_of(stream);
    });
}

#[test]
fn a_turn_that_waits_is_found_out_on_every_model() {
    for model in Model::ALL.iter().filter(|model| **model != Model::Blocking) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "realtime::a_task_that_opens_a_file"]);
        let output = command.env("MODEL", model.name()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{model}");
        assert!(said.contains("RealtimeSanitizer"), "{model}: {said}");
        assert!(said.contains("function `open"), "{model}: {said}");
    }
}
