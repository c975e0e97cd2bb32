//! Every via through an outbox is exact for any sequence of partial sends: the received bytes are
//! the queued ones, and the reports are correct.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_transfer::{Chunk, Direction, FileToSocket, Gathered, Outbox, Progress, Report, Via};
use rustix::net::sockopt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// Around a page, around the inline limit, around a chunk, and beyond.
const SIZES: [usize; 9] =
    [0, 1, 4095, 4096, 4097, 16 << 10, (16 << 10) + 1, 1 << 20, (3 << 20) + 7];

fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(step).collect()
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// A pair whose sending side takes little at a time and does not block.
fn narrow_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
    (near, far)
}

/// Steps until the end; reads a seeded random amount whenever the socket is full.
fn pump(
    outbox: &mut Outbox,
    near: UnixStream,
    mut far: UnixStream,
    seed: u64,
) -> (Vec<u8>, Progress) {
    let mut received = Vec::new();
    let mut amounts = pattern(64, seed).into_iter().cycle();
    let end = loop {
        match outbox.step(near.as_fd()).unwrap() {
            Progress::Moved(bytes) => assert!(bytes > 0),
            Progress::NeedsWritable => {
                let amount = 1 + 64 * usize::from(amounts.next().unwrap());
                let mut part = vec![0; amount];
                let count = far.read(&mut part).unwrap();
                received.extend_from_slice(&part[..count]);
            }
            end => break end,
        }
    };
    drop(near);
    far.read_to_end(&mut received).unwrap();
    (received, end)
}

#[test]
fn every_size_by_every_via_arrives_to_the_byte() {
    for &via in Direction::FileToSocket.vias() {
        for (size, seed) in SIZES.into_iter().zip(1..) {
            let content = pattern(size, seed);
            let mut outbox = Outbox::new();
            outbox.push_bytes(b"head".to_vec());
            outbox.push_file(FileToSocket::new(file_of(&content), 0..size as u64, via));
            outbox.push_bytes(b"tail".to_vec());
            let (near, far) = narrow_pair();
            let (received, end) = pump(&mut outbox, near, far, seed);
            let expected = [b"head", &content[..], b"tail"].concat();
            assert!(received == expected, "{via}, {size} bytes: {} arrived", received.len());
            assert_eq!(end, Progress::Done);
            assert_eq!(outbox.moved(), expected.len() as u64);
            assert!(outbox.is_empty());
        }
    }
}

#[test]
fn ranges_of_one_file_between_memory_keep_their_order() {
    let content = pattern(1 << 20, 5);
    let file = file_of(&content);
    for &via in Direction::FileToSocket.vias() {
        let mut outbox = Outbox::new();
        let mut expected = Vec::new();
        for (start, end) in [(0, 1), (500_000, 900_000), (7, 20_000), (1_048_575, 1_048_576)] {
            let head = format!("--{start}-{end}--").into_bytes();
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&content[start..end]);
            outbox.push_bytes(head);
            outbox.push_file(FileToSocket::new(file.clone(), start as u64..end as u64, via));
        }
        let (near, far) = narrow_pair();
        let (received, _) = pump(&mut outbox, near, far, 9);
        assert!(received == expected, "{via}");
    }
}

/// Without statistics the file has other bytes than the content in memory, so a read would show. With
/// statistics the rest after a partial send is read.
#[test]
fn a_file_whose_content_is_in_memory_is_sent_behind_its_head_without_a_read() {
    let content: Arc<[u8]> = pattern(10_000, 21).into();
    let files = [file_of(&[0; 10_000]), file_of(&content)];
    for range in [0..10_000, 0..1, 9_999..10_000, 1_000..9_000] {
        for stats in [false, true] {
            let mut outbox = Outbox::new();
            if stats {
                outbox.enable_stats();
            }
            let mut expected = Vec::new();
            for head in ["first", "second"] {
                let bytes = [head.as_bytes(), &content[range.start..range.end]].concat();
                expected.extend(bytes);
                let part = FileToSocket::new(
                    Arc::clone(&files[usize::from(stats)]),
                    range.start as u64..range.end as u64,
                    Via::Sendfile,
                );
                outbox.push_bytes(head.into());
                outbox.push_file(part.with_content(Arc::clone(&content), 0));
            }
            assert_eq!(outbox.queued(), expected.len() as u64);
            let (near, far) = narrow_pair();
            assert_eq!(pump(&mut outbox, near, far, 22), (expected, Progress::Done));
            let reports = outbox.take_stats().map(|stats| stats.into_reports());
            assert_eq!(reports.map(|reports| reports.len()), stats.then_some(2));
        }
    }
}

#[test]
fn a_head_and_the_content_behind_it_are_one_send() {
    let content: Arc<[u8]> = pattern(1_000, 23).into();
    let file = file_of(&[0; 1_000]);
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut outbox = Outbox::from("head");
    outbox.push_file(FileToSocket::new(file, 0..1_000, Via::Auto).with_content(content, 0));
    assert_eq!(outbox.step(near.as_fd()).unwrap(), Progress::Done);
    assert_eq!(far.read(&mut [0; 2_000]).unwrap(), 1_004);
}

#[test]
fn content_that_lacks_a_byte_of_the_range_is_not_used() {
    let file = file_of(&[1; 1_000]);
    for (content, offset) in [(vec![2; 999], 0), (vec![2; 999], 1), (vec![2; 10], 5_000)] {
        let mut outbox = Outbox::new();
        let part = FileToSocket::new(file.clone(), 0..1_000, Via::Copy);
        outbox.push_file(part.with_content(content.into(), offset));
        let (near, far) = narrow_pair();
        assert_eq!(pump(&mut outbox, near, far, 24), (vec![1; 1_000], Progress::Done));
    }
}

#[test]
fn offsets_beyond_four_gib_are_right() {
    let file = tempfile::tempfile().unwrap();
    let far_away = (5 << 30) + 3;
    rustix::io::pwrite(&file, b"deep water", far_away).unwrap();
    let file = Arc::new(file);
    for &via in Direction::FileToSocket.vias() {
        let mut outbox = Outbox::new();
        let range = far_away - 40_000..far_away + 10;
        outbox.push_file(FileToSocket::new(file.clone(), range, via));
        let (near, far) = narrow_pair();
        let (received, _) = pump(&mut outbox, near, far, 3);
        assert_eq!(received.len(), 40_010, "{via}");
        assert!(received.ends_with(b"\0deep water"), "{via}");
    }
}

#[test]
fn a_short_file_is_reported_with_its_missing_bytes() {
    for &via in Direction::FileToSocket.vias() {
        for (there, promised) in [(0, 1), (5, 10), (100_000, 100_001), (1 << 20, 3 << 20)] {
            let content = pattern(there, 11);
            let mut outbox = Outbox::new();
            outbox.push_bytes(b"head".to_vec());
            outbox.push_file(FileToSocket::new(file_of(&content), 0..promised, via));
            let (near, far) = narrow_pair();
            let (received, end) = pump(&mut outbox, near, far, 2);
            assert_eq!(end, Progress::Truncated { missing: promised - there as u64 }, "{via}");
            assert!(received == [b"head", &content[..]].concat(), "{via}, {there} of {promised}");
        }
    }
}

#[test]
fn the_report_names_the_calls_that_moved_the_bytes() {
    let content = pattern(3 << 20, 1);
    for &via in Direction::FileToSocket.vias() {
        let mut transfer = FileToSocket::new(file_of(&content), 0..3 << 20, via);
        let (near, mut far) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).map(|_| received)
        });
        while transfer.step(near.as_fd()).unwrap() != Progress::Done {}
        drop(near);
        assert!(reader.join().unwrap().unwrap() == content);
        let report = transfer.report();
        let calls = report.calls;
        let refused = report.fallbacks.first().map(|fallback| fallback.from);
        match via {
            Via::Direct if refused.is_some() => {
                println!("skipped: no O_DIRECT where temporary files are: {report:?}");
                continue;
            }
            // A UNIX socket has no such thing.
            Via::Zerocopy => assert_eq!((refused, report.effective), (Some(via), Via::Sendfile)),
            Via::Auto => assert_eq!((refused, report.effective), (None, Via::Sendfile)),
            _ => assert_eq!((refused, report.effective), (None, via)),
        }
        assert_eq!((report.requested, report.bytes), (via, 3 << 20));
        match report.effective {
            Via::Sendfile => assert!(calls.sendfile >= 3 && calls.pread64 + calls.sendto == 0),
            Via::Splice => assert!(calls.splice >= 6 && calls.sendfile + calls.pread64 == 0),
            Via::Direct => assert!(calls.open == 1 && calls.pread64 >= 6 && calls.sendto >= 6),
            Via::Mmap | Via::Cow => {
                assert!(calls.mmap == 1 && calls.sendto >= 3 && calls.pread64 == 0);
            }
            Via::Copy => assert!(calls.sendfile == 0 && calls.pread64 + calls.sendto >= 48),
            other => panic!("{other} is no way to a socket"),
        }
    }
}

/// sendfile(2) takes only files that can be spliced from; this one knows nothing but read(2).
#[test]
fn an_unsupported_via_falls_back_and_is_reported() {
    let file = Arc::new(File::open("/proc/self/auxv").unwrap());
    let mut content = Vec::new();
    File::open("/proc/self/auxv").unwrap().read_to_end(&mut content).unwrap();
    let mut transfer = FileToSocket::new(file, 0..content.len() as u64, Via::Sendfile);
    let (near, mut far) = UnixStream::pair().unwrap();
    while transfer.step(near.as_fd()).unwrap() != Progress::Done {}
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert_eq!(received, content);
    let report = transfer.report();
    if let Some(fallback) = report.fallbacks.first() {
        assert_eq!(
            (report.effective, fallback.from, fallback.after),
            (Via::Copy, Via::Sendfile, 0)
        );
        assert_eq!(fallback.errno(), Some(rustix::io::Errno::INVAL));
    } else {
        println!("skipped: this kernel splices /proc/self/auxv");
    }
}

#[test]
fn an_error_common_to_all_vias_is_returned() {
    for &via in Direction::FileToSocket.vias() {
        let mut transfer = FileToSocket::new(file_of(b"x"), 0..1, via);
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let error = transfer.step(near.as_fd()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{via}");
        assert_eq!(transfer.remaining(), 1, "{via}: it stands where it stood");
        let fallbacks = transfer.report().fallbacks.len();
        assert_eq!(fallbacks, usize::from(via == Via::Zerocopy), "{via}");
    }
}

/// The bytes that an event loop with its own operations sends next, at most `most`.
fn pull(outbox: &mut Outbox, content: &[u8], most: usize) -> Option<Vec<u8>> {
    match outbox.next_chunk(|file| file.requested() == Via::Copy) {
        Chunk::Empty | Chunk::Record | Chunk::Switch => None,
        Chunk::Memory { .. } => {
            let memory = outbox.memory();
            Some(memory[..memory.len().min(most)].to_vec())
        }
        Chunk::File { .. } => {
            let range = outbox.file().unwrap().range_to_splice();
            let at = usize::try_from(range.offset).unwrap();
            Some(content[at..at + range.length.min(most)].to_vec())
        }
        Chunk::Gather => {
            let mut gather = outbox.gather(vec![9; 7], most);
            while let Some(range) = outbox.gather_next(&mut gather, FileToSocket::requested) {
                let (mut buffer, from) = gather.take_buffer();
                let at = usize::try_from(range.offset).unwrap();
                assert_eq!(buffer.len() - from, range.length);
                buffer[from..].copy_from_slice(&content[at..at + range.length]);
                gather.put_buffer(buffer);
                assert_eq!(outbox.gathered(&mut gather, Some(range.length)), Gathered::Next);
            }
            let more = outbox.seal(&mut gather).unwrap();
            let bytes = gather.into_bytes();
            assert_eq!(more, (bytes.len() as u64) < outbox.queued());
            Some(bytes)
        }
    }
}

#[test]
fn chunks_are_the_bytes_that_steps_send() {
    use karez_transfer::SharedFd;
    let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let source: SharedFd = std::sync::Arc::new(file);
    let expected = [b"head", &content[10..90_000], b"between", &content[..50], b"end"].concat();
    for most in [1, 3, 64, 4096, 48 << 10, 1 << 20] {
        for via in [Via::Copy, Via::Splice] {
            let mut outbox = Outbox::from(b"he".to_vec());
            outbox.push_bytes(b"ad".to_vec());
            outbox.push_file(FileToSocket::new(source.clone(), 10..90_000, via));
            outbox.push_bytes(b"between".to_vec());
            outbox.push_file(FileToSocket::new(source.clone(), 0..50, via));
            outbox.push_bytes(b"end".to_vec());
            let mut got = Vec::new();
            while let Some(bytes) = pull(&mut outbox, &content, most) {
                assert!(bytes.len() <= most && !bytes.is_empty());
                // Not all of it is taken at once.
                let sent = bytes.len().div_ceil(2);
                got.extend_from_slice(&bytes[..sent]);
                outbox.complete(sent);
                outbox.discard_gathered();
            }
            assert!(got == expected, "{most}, {via}: {} bytes", got.len());
            assert!(outbox.is_empty() && outbox.moved() == expected.len() as u64);
        }
    }
}

#[test]
fn statistics_have_all_calls_and_operations() {
    let bytes = pattern(1 << 20, 5);
    let file = file_of(&bytes);
    let mut outbox = Outbox::from(b"head".to_vec());
    outbox.push_file(FileToSocket::new(file.clone(), 0..1 << 20, Via::Sendfile));
    outbox.push_bytes(b"between".to_vec());
    outbox.push_file(FileToSocket::new(file, 0..100, Via::Sendfile));
    assert!(outbox.take_stats().is_none(), "nobody asked for one");
    outbox.enable_stats();
    // Read by 128 KiB each.
    outbox.page_in().unwrap().run().unwrap();
    outbox.count_operations(3);
    let (near, far) = narrow_pair();
    let (received, end) = pump(&mut outbox, near, far, 7);
    assert_eq!((received.len(), end), (4 + (1 << 20) + 7 + 100, Progress::Done));
    let stats = outbox.take_stats().unwrap();
    assert!(outbox.take_stats().is_none(), "it is closed");
    assert_eq!((outbox.take_via(), outbox.take_via()), (Some(Via::Copy), None));
    let calls = stats.calls();
    assert_eq!(stats.operations(), 3);
    let reports = stats.into_reports();
    let ran: Vec<_> = reports.iter().flat_map(Report::bytes_by_method).collect();
    assert_eq!(ran, [(Via::Sendfile, 1 << 20), (Via::Copy, 100)]);
    let [large, small] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(calls.pread64, 8 + small.calls.pread64);
    assert_eq!(calls.sendfile, large.calls.sendfile);
    // The head, and the memory between together with the small file, as often as the socket took part.
    assert!(calls.sendto >= 2 && small.calls.sendto == 0, "{calls:?}");
}

#[test]
fn statistics_have_unfinished_files() {
    let file = file_of(&pattern(1 << 20, 6));
    let mut outbox = Outbox::new();
    outbox.push_file(FileToSocket::new(file.clone(), 0..1 << 20, Via::Sendfile));
    outbox.push_file(FileToSocket::new(file, 0..1 << 20, Via::Copy));
    outbox.enable_stats();
    let (near, _far) = narrow_pair();
    while outbox.step(near.as_fd()).unwrap() != Progress::NeedsWritable {}
    let moved = outbox.moved();
    assert_eq!(outbox.take_via(), Some(Via::Sendfile));
    let reports = outbox.take_stats().unwrap().into_reports();
    let [report] = &reports[..] else { panic!("the second has not begun: {reports:?}") };
    assert!(report.bytes == moved && moved > 0 && report.calls.sendfile > 0, "{report:?}");
}

#[test]
fn the_intended_via_runs_if_it_is_supported() {
    for via in Direction::FileToSocket.vias() {
        for size in [100, 16 << 10, (16 << 10) + 1, 100_000, 1 << 20] {
            let transfer = || FileToSocket::new(file_of(&pattern(size, 8)), 0..size as u64, *via);
            let intended = transfer().intended(size as u64);
            let mut outbox = Outbox::from(b"head".to_vec());
            outbox.push_file(transfer());
            outbox.enable_stats();
            let (near, far) = narrow_pair();
            pump(&mut outbox, near, far, 9);
            let reports = outbox.take_stats().unwrap().into_reports();
            // A UNIX socket lends nothing, and a file system may not know O_DIRECT.
            let refused = reports[0].fallbacks.first().map(|refused| refused.from);
            let ran = reports[0].bytes_by_method().next().unwrap().0;
            assert!([Some(ran), refused].contains(&Some(intended)), "{via}, {size}: {reports:?}");
            let bytes: u64 = reports[0].bytes_by_method().map(|(_, bytes)| bytes).sum();
            assert_eq!(bytes, size as u64);
        }
    }
}
