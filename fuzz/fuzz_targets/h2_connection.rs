//! An HTTP/2 connection: any bytes of a client, with anything that a server and its sink do between.
//!
//! The input is a list of steps. A byte below 0x80 is the number of octets that the client sends next;
//! any other byte is something that the server or its sink does. The output is always whole frames,
//! no stream has a frame behind its end, every file is closed, and no memory is left of an error. All
//! octets of the client together, in one piece and without the rest, mean the same as byte by byte.
#![no_main]

use karez_http::h2::{
    Connection, ConnectionLimits, ErrorCode, FrameHeader, Input, PREFACE, StreamBody, StreamId,
    StreamPart, UnitEvent, kind,
};
use libfuzzer_sys::fuzz_target;
use sink::{File, Queue};
use std::collections::HashSet;
use std::time::Instant;

#[path = "../../crates/http/tests/h2/sink.rs"]
mod sink;

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fuzz_target!(|input: &[u8]| {
    let mut run = Run::new();
    run.receive(PREFACE);
    run.receive(SETTINGS);
    let (mut rest, mut bytes) = (input, [&PREFACE[..], SETTINGS].concat());
    while let Some((step, behind)) = rest.split_first() {
        rest = behind;
        if *step < 0x80 {
            let (part, behind) = rest.split_at(rest.len().min(usize::from(*step)));
            rest = behind;
            run.receive(part);
            bytes.extend_from_slice(part);
        } else {
            run.step(*step);
        }
    }
    run.end();
    assert_eq!(inputs(std::iter::once(&bytes[..])), inputs(bytes.chunks(1)));
});

struct Run {
    connection: Connection<File>,
    queue: Queue,
    now: Instant,
    /// Requests that have no response.
    waiting: Vec<StreamId>,
    streaming: Vec<StreamId>,
    cold: Vec<StreamId>,
    files: u8,
    failed: bool,
}

impl Run {
    fn new() -> Self {
        Self {
            connection: Connection::new(ConnectionLimits::default()),
            queue: Queue::default(),
            now: Instant::now(),
            waiting: Vec::new(),
            streaming: Vec::new(),
            cold: Vec::new(),
            files: 0,
            failed: false,
        }
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while let Some(input) = self.connection.receive(self.now, &mut bytes) {
            assert!(!self.failed, "{input:?} behind an error");
            match input {
                Input::Head { stream, request } => {
                    assert!(request.request_line().ends_with(b" HTTP/2.0"));
                    assert!(request.fields().all(|(name, _)| !name.is_empty()));
                    self.waiting.push(stream);
                }
                Input::Rejected { stream, .. } => self.waiting.push(stream),
                Input::Body { stream, bytes } => self.connection.release(stream, bytes.len()),
                Input::Error(_) => self.failed = true,
                _ => {}
            }
        }
        assert!(bytes.is_empty());
    }

    fn step(&mut self, step: u8) {
        let size = usize::from(step & 15);
        match step >> 4 & 7 {
            0 => self.connection.fill(&mut self.queue),
            1 => self.queue.send(size * size * 100),
            2 => {
                if let Some(stream) = self.waiting.pop() {
                    self.respond(stream, size);
                }
            }
            3 => {
                if let Some(stream) = self.streaming.pop() {
                    if size % 3 != 0 {
                        self.streaming.push(stream);
                    }
                    let part = self.part(size);
                    self.connection.append(stream, part, size % 3 == 0);
                }
            }
            4 => {
                if let Some(stream) = self.queue.units().get(size) {
                    if size % 2 == 0 {
                        self.queue.find_short(*stream);
                    } else {
                        self.queue.find_cold(*stream);
                        self.cold.push(*stream);
                    }
                }
            }
            5 => {
                if let Some(stream) = self.cold.pop() {
                    self.queue.events.push_back((stream, UnitEvent::Warm));
                }
            }
            6 => match step & 15 {
                0 => self.connection.shut_down(),
                id => self.connection.reset(StreamId(id.into()), ErrorCode::CANCEL),
            },
            _ => self.report(),
        }
        let _ = (self.connection.waiting(), self.connection.is_idle());
    }

    fn file(&mut self, size: usize) -> Option<(File, std::ops::Range<u64>)> {
        self.files = self.files.checked_add(1)?;
        Some((File(self.files), 10..10 + (size * size * 200) as u64))
    }

    fn part(&mut self, size: usize) -> StreamPart<File> {
        match self.file(size) {
            Some((file, range)) if size % 2 == 0 => StreamPart::File(file, range),
            Some((file, _)) => StreamPart::File(file, 0..0),
            None => StreamPart::Bytes(vec![9; size * 100].into()),
        }
    }

    fn respond(&mut self, stream: StreamId, size: usize) {
        let body = match size % 4 {
            0 => StreamBody::Empty,
            1 => StreamBody::Bytes(vec![1; size * 1000].into()),
            2 => match self.file(size) {
                Some((file, range)) => StreamBody::File(file, range),
                None => StreamBody::Empty,
            },
            _ => {
                self.streaming.push(stream);
                StreamBody::Stream
            }
        };
        self.connection.respond(stream, vec![0x88], body);
    }

    fn report(&mut self) {
        while let Some((stream, event)) = self.queue.events.pop_front() {
            self.connection.unit_event(stream, event);
        }
    }

    /// Ends everything that has begun, and checks the output.
    fn end(mut self) {
        for stream in self.waiting.drain(..) {
            self.connection.respond(stream, vec![0x88], StreamBody::Empty);
        }
        for stream in 1..=255 {
            self.connection.reset(StreamId(stream), ErrorCode::CANCEL);
        }
        loop {
            self.report();
            self.connection.fill(&mut self.queue);
            self.queue.send(usize::MAX);
            if self.queue.is_empty() && self.queue.events.is_empty() {
                break;
            }
        }
        self.connection.shut_down();
        self.connection.shut_down();
        self.connection.fill(&mut self.queue);
        self.queue.send(usize::MAX);
        check(&self.queue.wire);
        if self.failed || self.connection.is_finished() {
            assert_eq!(self.queue.closed.len(), usize::from(self.files), "a file is open");
        }
    }
}

/// Only whole frames, and none behind the end of a stream.
fn check(mut wire: &[u8]) {
    let mut ended = HashSet::new();
    while let Some((header, rest)) = wire.split_first_chunk::<9>() {
        let header = FrameHeader::decode(*header);
        wire = rest.get(header.length as usize..).expect("a frame is not complete");
        let of_response = matches!(header.kind, kind::DATA | kind::HEADERS);
        assert!(!of_response || !ended.contains(&header.stream), "{header:?} behind the end");
        if (of_response && header.flags & 1 != 0) || header.kind == kind::RST_STREAM {
            ended.insert(header.stream);
        }
    }
    assert!(wire.is_empty());
}

/// The meaning of bytes, the parts of bodies joined.
fn inputs<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut connection = Connection::<File>::new(ConnectionLimits::default());
    let (mut inputs, mut body) = (Vec::new(), Vec::new());
    let now = Instant::now();
    for mut piece in pieces {
        while let Some(input) = connection.receive(now, &mut piece) {
            if let Input::Body { stream, bytes } = input {
                body.extend_from_slice(bytes);
                inputs.push(format!("{stream:?}"));
                inputs.dedup();
                continue;
            }
            inputs.push(format!("{input:?} behind {body:?}"));
            body.clear();
        }
    }
    inputs
}
