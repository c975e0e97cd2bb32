//! HTTP/2 on the task: deadlines and jobs of several streams.

use super::*;
use karez_http::Status;
use karez_http::h2::hpack::BlockEncoder;
use karez_http::h2::{FrameEncoder, FrameHeader, HEADER_LENGTH, PREFACE, StreamId, flag, kind};
use karez_transfer::OutboxEvent;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let header = FrameHeader { length, kind, flags, stream: StreamId(stream) };
    [&header.encode()[..], payload].concat()
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let mut encoder = BlockEncoder::new(&mut block);
    for (name, value) in
        [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
    {
        encoder.field(name, value.as_bytes());
    }
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &block)
}

/// A connection whose settings have been exchanged.
fn greeted(root: &tempfile::TempDir, stop: &Shutdown) -> TestConnection {
    let mut test = test(root, stop);
    test.harness.open();
    let mut bytes = PREFACE.to_vec();
    FrameEncoder::new(&mut bytes).settings(&[]);
    bytes.extend(frame(kind::SETTINGS, flag::ACK, 0, b""));
    deliver(&mut test, &bytes);
    assert!(send(&mut test).iter().all(|(kind, ..)| *kind != kind::GOAWAY));
    test
}

fn deliver(test: &mut TestConnection, bytes: &[u8]) {
    test.harness.handle(Event::Received(&mut bytes.to_vec(), RecordType::Data));
}

/// Sends the outbox, and returns its frames: kind, stream and payload.
fn send(test: &mut TestConnection) -> Vec<(u8, u32, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(event) = test.harness.outbox().next_event() {
            test.harness.handle(match event {
                OutboxEvent::Sent(mark) => Event::Sent(mark),
                OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
            });
        } else if test.harness.outbox().is_empty() {
            break;
        } else {
            let near = test.near.as_fd();
            let _moved = test.harness.outbox().step(near).unwrap();
            let _would_block = test.far.read_to_end(&mut bytes).unwrap_err();
            test.harness.fill();
        }
    }
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LENGTH>() {
        let header = FrameHeader::decode(*header);
        let (payload, behind) = behind.split_at(header.length as usize);
        frames.push((header.kind, header.stream.0, payload.to_vec()));
        rest = behind;
    }
    frames
}

/// Returns the streams whose response has this status.
fn with_status(frames: &[(u8, u32, Vec<u8>)], status: Status) -> Vec<u32> {
    let mut wanted = Vec::new();
    BlockEncoder::new(&mut wanted).status(status);
    let begins = |block: &[u8]| block.strip_prefix(b"\x20").unwrap_or(block).starts_with(&wanted);
    let heads = frames.iter().filter(|(kind, ..)| *kind == kind::HEADERS);
    heads.filter(|(.., block)| begins(block)).map(|(_, stream, _)| *stream).collect()
}

#[test]
fn a_lookup_that_times_out_ends_its_stream_only() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = greeted(&root, &stop);
    deliver(&mut test, &get(1, "/a"));
    let mut slow = test.harness.take_jobs();
    test.harness.advance(Duration::from_secs(5));
    deliver(&mut test, &[get(3, "/a"), get(5, "/a")].concat());
    let left = test.harness.timer().map(|at| at - test.harness.now());
    assert_eq!(left, Some(TIMEOUTS.lookup - Duration::from_secs(5)), "the earliest deadline");
    let mut others = test.harness.take_jobs();
    assert_eq!((slow.len(), others.len()), (1, 2));
    let (id, job) = others.remove(0);
    test.harness.handle(Event::JobDone(id, Ok(job.run())));
    assert_eq!(with_status(&send(&mut test), Status::Ok), [3]);

    test.harness.advance(TIMEOUTS.lookup - Duration::from_secs(5));
    test.harness.handle(Event::Timer);
    let frames = send(&mut test);
    assert_eq!(with_status(&frames, Status::ServiceUnavailable), [1]);
    let left = test.harness.timer().map(|at| at - test.harness.now());
    assert_eq!(left, Some(Duration::from_secs(5)), "of the third stream");
    // The result of the job that timed out is dropped.
    let (id, job) = slow.remove(0);
    test.harness.handle(Event::JobDone(id, Ok(job.run())));
    assert_eq!(send(&mut test), []);
    let (id, job) = others.remove(0);
    test.harness.handle(Event::JobDone(id, Ok(job.run())));
    assert_eq!(with_status(&send(&mut test), Status::Ok), [5]);
    assert_eq!(test.harness.timer(), None);
    assert!(test.harness.receive().unwrap().idle);
}

#[test]
fn the_idle_timeout_is_not_extended_by_pings() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = greeted(&root, &stop);
    let before = test.harness.receive().unwrap();
    assert!(before.idle && before.deadline == test.harness.now() + TIMEOUTS.idle);
    test.harness.advance(Duration::from_secs(7));
    deliver(&mut test, &frame(kind::PING, 0, 0, &[0; 8]));
    assert_eq!(send(&mut test).len(), 1);
    assert_eq!(test.harness.receive(), Some(before));
    test.harness.advance(TIMEOUTS.idle);
    test.harness.handle(Event::ReceiveTimedOut);
    let frames = send(&mut test);
    assert!(frames.iter().any(|(kind, ..)| *kind == kind::GOAWAY), "{frames:?}");
    test.harness.handle(Event::PeerClosed);
    assert_eq!(test.harness.closed(), Some(Closed::Regularly));
}

#[test]
fn jobs_beyond_those_of_a_connection_are_unavailable() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = greeted(&root, &stop);
    // The jobs of streams that were reset still run.
    for number in 0..70 {
        let stream = 2 * number + 1;
        let reset = frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        deliver(&mut test, &[get(stream, "/a"), reset].concat());
    }
    assert!(test.harness.take_jobs().len() >= 64);
    deliver(&mut test, &get(201, "/a"));
    assert_eq!(with_status(&send(&mut test), Status::ServiceUnavailable), [201]);
}

/// Nothing opens a window, or completes a request, behind the end of the client's stream.
#[test]
fn a_connection_whose_streams_wait_for_a_client_that_has_closed_ends() {
    let (root, stop) = (root(), Shutdown::new());
    let window = |size: u8| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, size]);
    let unfinished = frame(kind::HEADERS, flag::END_HEADERS, 1, &get(1, "/a")[HEADER_LENGTH..]);
    for request in [[window(0), get(1, "/a")].concat(), unfinished] {
        let mut test = greeted(&root, &stop);
        deliver(&mut test, &request);
        for (id, job) in test.harness.take_jobs() {
            test.harness.handle(Event::JobDone(id, Ok(job.run())));
        }
        send(&mut test);
        assert_eq!(test.harness.closed(), None);
        test.harness.handle(Event::PeerClosed);
        assert_eq!(test.harness.closed(), Some(Closed::Regularly));
    }
}

#[test]
fn a_client_that_has_closed_gets_what_its_windows_take() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = greeted(&root, &stop);
    let window = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 5]);
    deliver(&mut test, &[window, get(1, "/a")].concat());
    test.harness.handle(Event::PeerClosed);
    let (id, job) = test.harness.take_jobs().pop().unwrap();
    test.harness.handle(Event::JobDone(id, Ok(job.run())));
    let frames = send(&mut test);
    let data = frames.iter().find(|(kind, ..)| *kind == kind::DATA);
    assert_eq!(data.map(|(.., payload)| &payload[..]), Some(&b"conte"[..]));
    assert_eq!(test.harness.closed(), Some(Closed::Regularly));
}
