//! Units, marks and seals of an outbox: streams share a connection, and records hold their bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_transfer::{
    Chunk, Direction, FileToSocket, Mark, OnShort, Outbox, OutboxEvent, Progress, RecordKind, Seal,
    SealError, SealRoom, Tag, UnitEvent, Via,
};
use rustix::net::sockopt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 256).to_le_bytes()[0] ^ seed).collect()
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn whole(file: &Arc<File>, via: Via) -> FileToSocket {
    FileToSocket::new(file.clone(), 0..file.metadata().unwrap().len(), via)
}

/// A pair whose sending side takes little at a time and does not block.
fn narrow_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
    (near, far)
}

/// Steps until everything has left or nothing can; reads at most `part` bytes when the socket is full.
fn pump(
    outbox: &mut Outbox,
    (near, far): (&UnixStream, &mut UnixStream),
    part: usize,
) -> (Vec<u8>, Progress) {
    let mut received = Vec::new();
    let end = loop {
        match outbox.step(near.as_fd()).unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsWritable => {
                let mut buffer = vec![0; part];
                let count = far.read(&mut buffer).unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
            end => break end,
        }
    };
    far.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count) = far.read(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
    }
    far.set_nonblocking(false).unwrap();
    (received, end)
}

fn events(outbox: &mut Outbox) -> Vec<OutboxEvent> {
    std::iter::from_fn(|| outbox.next_event()).collect()
}

/// A frame: its tag and length in front of its bytes.
fn head(tag: u8, length: u64) -> [u8; 9] {
    let mut head = [tag; 9];
    head[1..].copy_from_slice(&length.to_be_bytes());
    head
}

/// The bytes that each stream received, from consecutive frames.
fn by_stream(mut bytes: &[u8]) -> [Vec<u8>; 3] {
    let mut streams = [const { Vec::new() }; 3];
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::try_from(u64::from_be_bytes(head[1..].try_into().unwrap())).unwrap();
        streams[usize::from(head[0])].extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "{} bytes behind the last frame", bytes.len());
    streams
}

#[test]
fn units_of_two_streams_alternate_to_the_byte() {
    let contents = [pattern(100_000, 1), pattern(70_001, 2)];
    for part in [1, 100, 5000] {
        let mut outbox = Outbox::new();
        let files = [0, 1].map(|n| outbox.open_file(whole(&file_of(&contents[n]), Via::Auto)));
        let mut left = contents.each_ref().map(|content| content.len() as u64);
        while left != [0, 0] {
            for stream in [0_usize, 1] {
                let length = left[stream].min(16 << 10);
                if length > 0 {
                    let head = head(stream.to_le_bytes()[0], length);
                    outbox.push_unit(
                        Tag(stream as u64),
                        &head,
                        files[stream],
                        length,
                        OnShort::Stop,
                    );
                    left[stream] -= length;
                }
            }
        }
        let (near, mut far) = narrow_pair();
        let (received, end) = pump(&mut outbox, (&near, &mut far), part);
        assert_eq!(end, Progress::Done);
        let streams = by_stream(&received);
        assert!(streams[0] == contents[0] && streams[1] == contents[1], "{part}");
        assert_eq!(outbox.moved(), received.len() as u64);
        let report = outbox.close_file(files[0]).unwrap().report().clone();
        assert_eq!((report.bytes, report.effective), (100_000, Via::Copy));
        assert!(outbox.close_file(files[0]).is_none());
    }
}

#[test]
fn cancelled_units_are_returned_unless_they_have_begun() {
    let file = file_of(&pattern(1 << 20, 3));
    let mut outbox = Outbox::new();
    let (one, two) =
        (outbox.open_file(whole(&file, Via::Auto)), outbox.open_file(whole(&file, Via::Auto)));
    for _ in 0..10 {
        outbox.push_unit(Tag(0), &head(0, 20_000), one, 20_000, OnShort::Stop);
        outbox.push_unit(Tag(1), &head(1, 1000), two, 1000, OnShort::Stop);
    }
    let (near, mut far) = narrow_pair();
    while outbox.step(near.as_fd()).unwrap() != Progress::NeedsWritable {}
    let sent = outbox.moved();
    assert!(sent > 0);
    let returned = outbox.cancel(Tag(0));
    assert!(returned.is_multiple_of(20_000) && returned < 200_000, "one has begun: {returned}");
    let (received, end) = pump(&mut outbox, (&near, &mut far), 3000);
    assert_eq!(end, Progress::Done);
    let streams = by_stream(&received);
    assert_eq!(streams[0].len() as u64, 200_000 - returned);
    assert!(streams[1] == pattern(1 << 20, 3)[..10_000]);
    assert_eq!((outbox.queued(), outbox.cancel(Tag(0))), (0, 0));
}

#[test]
fn a_short_file_is_completed_by_zeros_and_its_later_units_return() {
    let short = file_of(&pattern(30_000, 4));
    let other = file_of(&pattern(60_000, 5));
    for part in [7, 4096] {
        let mut outbox = Outbox::new();
        let one = outbox.open_file(FileToSocket::new(short.clone(), 0..90_000, Via::Auto));
        let two = outbox.open_file(whole(&other, Via::Auto));
        for _ in 0..3 {
            outbox.push_unit(Tag(0), &head(0, 20_000), one, 20_000, OnShort::ZeroFill);
            outbox.push_unit(Tag(1), &head(1, 20_000), two, 20_000, OnShort::ZeroFill);
        }
        let (near, mut far) = narrow_pair();
        let (received, end) = pump(&mut outbox, (&near, &mut far), part);
        assert_eq!(end, Progress::Done);
        let streams = by_stream(&received);
        let expected = [&pattern(30_000, 4)[..], &[0; 10_000]].concat();
        assert!(streams[0] == expected, "{part}: {}", streams[0].len());
        assert!(streams[1] == pattern(60_000, 5));
        let told = OutboxEvent::Unit(Tag(0), UnitEvent::Short { returned: 20_000 });
        assert_eq!(events(&mut outbox), [told]);
    }
}

#[test]
fn a_short_file_that_stops_says_how_much_is_missing() {
    let mut outbox = Outbox::new();
    let one = outbox.open_file(FileToSocket::new(file_of(b"0123456789"), 0..100, Via::Auto));
    outbox.push_unit(Tag(0), b"head", one, 100, OnShort::Stop);
    let (near, mut far) = narrow_pair();
    let (received, end) = pump(&mut outbox, (&near, &mut far), 100);
    assert_eq!(received, b"head0123456789");
    assert_eq!(end, Progress::Truncated { missing: 90 });
}

#[test]
fn marks_are_passed_when_everything_before_them_has_left() {
    let mut outbox = Outbox::new();
    outbox.push_mark(Mark(0));
    assert_eq!(events(&mut outbox), [OutboxEvent::Sent(Mark(0))]);
    outbox.push_bytes(vec![1; 100_000]);
    outbox.push_mark(Mark(1));
    outbox.push_mark(Mark(2));
    outbox.push_file(whole(&file_of(&pattern(50_000, 1)), Via::Sendfile));
    outbox.push_mark(Mark(3));
    let (near, mut far) = narrow_pair();
    while outbox.step(near.as_fd()).unwrap() != Progress::NeedsWritable {}
    assert_eq!(events(&mut outbox), []);
    pump(&mut outbox, (&near, &mut far), 10_000);
    let passed = [1, 2, 3].map(|mark| OutboxEvent::Sent(Mark(mark)));
    assert_eq!(events(&mut outbox), passed);
    assert!(outbox.is_empty());
}

/// Records of at most 16 KiB: kind and length in front, XORed bytes, a checksum behind.
struct Xor(u8);

impl Seal for Xor {
    fn room(&self) -> SealRoom {
        SealRoom { prefix: 5, tag: 4 }
    }

    fn max_plain(&self, idle: bool) -> usize {
        if idle { 4000 } else { 16 << 10 }
    }

    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
        let plain = record.len() - 9;
        record[0] = kind.0;
        record[1..5].copy_from_slice(&u32::try_from(plain).unwrap().to_be_bytes());
        let sum = record[5..5 + plain]
            .iter()
            .fold(0_u32, |sum, &byte| sum.rotate_left(5) ^ u32::from(byte));
        record[5..5 + plain].iter_mut().for_each(|byte| *byte ^= self.0);
        self.0 = self.0.wrapping_add(1);
        record[5 + plain..].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }
}

/// The records in `bytes`, opened.
fn opened(mut bytes: &[u8], mut key: u8) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut plain = rest[..length].to_vec();
        plain.iter_mut().for_each(|byte| *byte ^= key);
        key = key.wrapping_add(1);
        let sum = plain.iter().fold(0_u32, |sum, &byte| sum.rotate_left(5) ^ u32::from(byte));
        assert_eq!(rest[length..length + 4], sum.to_be_bytes());
        records.push((head[0], plain));
        bytes = &rest[length + 4..];
    }
    assert!(bytes.is_empty());
    records
}

#[test]
fn everything_behind_a_seal_leaves_in_records_by_every_via() {
    let content = pattern(150_001, 9);
    for &via in Direction::FileToSocket.vias() {
        for part in [1, 4000] {
            let mut outbox = Outbox::from(b"plain hello".to_vec());
            outbox.push_raw(b"raw".to_vec());
            outbox.push_seal(Box::new(Xor(7)));
            outbox.push_mark(Mark(1));
            outbox.push_record(RecordKind::HANDSHAKE, b"finished".to_vec());
            outbox.push_mark(Mark(2));
            outbox.push_bytes(b"head".to_vec());
            outbox.push_file(FileToSocket::new(file_of(&content), 1..150_001, via));
            outbox.push_mark(Mark(3));
            outbox.push_bytes(b"tail".to_vec());
            let (near, mut far) = narrow_pair();
            let (received, end) = pump(&mut outbox, (&near, &mut far), part);
            assert_eq!(end, Progress::Done, "{via}");
            let sealed = received.strip_prefix(b"plain helloraw").unwrap();
            let records = opened(sealed, 7);
            assert_eq!(records[0], (22, b"finished".to_vec()), "{via}");
            assert!(records.iter().all(|record| record.1.len() <= 16 << 10));
            assert!(records[1..].iter().all(|record| record.0 == 23));
            let plain: Vec<u8> = records[1..].iter().flat_map(|record| record.1.clone()).collect();
            assert!(plain == [b"head", &content[1..], b"tail"].concat(), "{via}");
            assert_eq!(outbox.moved(), (11 + 3 + 8 + 4 + 150_000 + 4) as u64);
            let marks = [1, 2, 3].map(|mark| OutboxEvent::Sent(Mark(mark)));
            assert_eq!(events(&mut outbox), marks, "{via}");
        }
    }
}

#[test]
fn short_records_of_other_kinds_are_sent_with_the_one_before_them() {
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Xor(7)));
    outbox.push_bytes(b"the last bytes".to_vec());
    outbox.push_mark(Mark(1));
    outbox.push_record(RecordKind::ALERT, b"\x01\x00".to_vec());
    outbox.push_mark(Mark(2));
    let (near, mut far) = UnixStream::pair().unwrap();
    assert_eq!(outbox.step(near.as_fd()).unwrap(), Progress::Done);
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    let expected = [(23, b"the last bytes".to_vec()), (21, b"\x01\x00".to_vec())];
    assert_eq!(opened(&received, 7), expected);
    assert_eq!((outbox.moved(), outbox.queued()), (16, 0));
    assert_eq!(events(&mut outbox), [1, 2].map(|mark| OutboxEvent::Sent(Mark(mark))));
}

#[test]
fn a_mark_in_a_record_waits_until_the_record_has_left() {
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Xor(1)));
    outbox.push_bytes(vec![1; 500]);
    outbox.push_mark(Mark(1));
    outbox.push_bytes(vec![2; 400]);
    let (near, mut far) = narrow_pair();
    sockopt::set_socket_send_buffer_size(&near, 1).unwrap();
    // The socket is filled, so that the record cannot leave.
    while rustix::net::send(&near, &[0; 64], rustix::net::SendFlags::NOSIGNAL).is_ok() {}
    assert_eq!(outbox.step(near.as_fd()).unwrap(), Progress::NeedsWritable);
    assert_eq!((events(&mut outbox), outbox.moved(), outbox.is_empty()), (vec![], 0, false));
    pump(&mut outbox, (&near, &mut far), 1 << 16);
    assert_eq!(events(&mut outbox), [OutboxEvent::Sent(Mark(1))]);
    assert_eq!(outbox.moved(), 900);
}

#[test]
fn a_mark_behind_a_seal_is_reported_with_the_bytes_before_it() {
    let mut outbox = Outbox::new();
    outbox.push_raw(b"raw".to_vec());
    outbox.push_seal(Box::new(Xor(7)));
    outbox.push_mark(Mark(1));
    assert_eq!(outbox.next_event(), None);
    assert_eq!(outbox.next_chunk(|_| false), Chunk::Memory { more: false });
    // An event loop does not ask for another chunk of an outbox that is empty.
    outbox.complete(3);
    assert_eq!(outbox.next_event(), Some(OutboxEvent::Sent(Mark(1))));
    assert!(outbox.is_empty() && outbox.is_sealed());
}

#[test]
fn a_seal_is_appended_with_its_outbox() {
    let mut other = Outbox::new();
    other.push_seal(Box::new(Xor(7)));
    other.push_bytes(b"secret".to_vec());
    let mut outbox = Outbox::from(b"plain".to_vec());
    outbox.append(other);
    assert_eq!(outbox.next_chunk(|_| false), Chunk::Memory { more: true });
    outbox.complete(5);
    assert_eq!(outbox.next_chunk(|_| false), Chunk::Gather);
    assert!(outbox.is_sealed());
}

#[test]
fn units_are_sealed_together() {
    let contents = [pattern(40_000, 1), pattern(40_000, 2)];
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Xor(3)));
    let files = [0, 1].map(|n| outbox.open_file(whole(&file_of(&contents[n]), Via::Sendfile)));
    for _ in 0..8 {
        for stream in [0_usize, 1] {
            let head = head(stream.to_le_bytes()[0], 5000);
            outbox.push_unit(Tag(stream as u64), &head, files[stream], 5000, OnShort::Stop);
        }
    }
    let (near, mut far) = narrow_pair();
    let (received, _) = pump(&mut outbox, (&near, &mut far), 1000);
    let records = opened(&received, 3);
    // Three short records and five of 16 KiB at most, of which the last is not full.
    assert!(records.len() <= 8, "{} records for 16 units", records.len());
    let plain: Vec<u8> = records.into_iter().flat_map(|record| record.1).collect();
    let streams = by_stream(&plain);
    assert!(streams[0] == contents[0] && streams[1] == contents[1]);
}

#[test]
fn a_sealed_file_that_is_cut_off_is_truncated_at_its_end() {
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Xor(3)));
    outbox.push_bytes(b"head".to_vec());
    outbox.push_file(FileToSocket::new(file_of(&pattern(30_000, 1)), 0..50_000, Via::Sendfile));
    let (near, mut far) = narrow_pair();
    let (received, end) = pump(&mut outbox, (&near, &mut far), 1000);
    assert_eq!(end, Progress::Truncated { missing: 20_000 });
    let plain: Vec<u8> = opened(&received, 3).into_iter().flat_map(|record| record.1).collect();
    assert!(plain == [b"head", &pattern(30_000, 1)[..]].concat());
}

#[test]
fn a_unit_is_removed_on_a_miss_and_the_other_stream_continues() {
    // Not a temporary directory: that may be tmpfs, whose pages cannot be dropped.
    let mut cold = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    cold.write_all(&pattern(64 << 10, 6)).unwrap();
    rustix::fs::fdatasync(&cold).unwrap();
    rustix::fs::fadvise(&cold, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let (cold, hot) = (Arc::new(cold), file_of(&pattern(64 << 10, 7)));
    let mut outbox = Outbox::new();
    let (one, two) =
        (outbox.open_file(whole(&cold, Via::Auto)), outbox.open_file(whole(&hot, Via::Auto)));
    for _ in 0..4 {
        outbox.push_unit(Tag(0), &head(0, 16 << 10), one, 16 << 10, OnShort::Stop);
        outbox.push_unit(Tag(1), &head(1, 16 << 10), two, 16 << 10, OnShort::Stop);
    }
    outbox.report_misses();
    let (near, mut far) = narrow_pair();
    let (received, end) = pump(&mut outbox, (&near, &mut far), 5000);
    assert_eq!(end, Progress::Done);
    let streams = by_stream(&received);
    assert!(streams[1] == pattern(64 << 10, 7));
    let told = events(&mut outbox);
    if told.is_empty() {
        return assert!(streams[0] == pattern(64 << 10, 6), "the pages stayed in memory");
    }
    assert_eq!(told, [OutboxEvent::Unit(Tag(0), UnitEvent::Cold { returned: 64 << 10 })]);
    assert!(streams[0].is_empty());
    let (tag, part) = outbox.take_page_in().unwrap();
    assert_eq!(tag, Tag(0));
    part.run().unwrap();
    outbox.page_in_done(tag);
    assert_eq!(events(&mut outbox), [OutboxEvent::Unit(Tag(0), UnitEvent::Warm)]);
    for _ in 0..4 {
        outbox.push_unit(Tag(0), &head(0, 16 << 10), one, 16 << 10, OnShort::Stop);
    }
    let (received, _) = pump(&mut outbox, (&near, &mut far), 5000);
    assert!(by_stream(&received)[0] == pattern(64 << 10, 6));
}
