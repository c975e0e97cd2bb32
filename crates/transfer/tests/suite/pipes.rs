//! Pipes at one end or both: exact bytes by every via, in either mode, and the events of a step.

use karez_transfer::{Copied, Direction, Fallback, Piped, Progress, Reason, Report, Via};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::thread;

use crate::case::calls_of;
use crate::stage::DISK;

/// The directions of this file; the rest of the suite does not have them.
pub const DIRECTIONS: [Direction; 3] =
    [Direction::FileToPipe, Direction::PipeToFile, Direction::PipeToPipe];

/// Not the same anywhere near.
fn content(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Steps to the end, and waits for the events that each step needs.
fn drive(transfer: &mut Piped, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Progress {
    let mut asked = 0;
    loop {
        let mut waiting = match transfer.step(from, to).unwrap() {
            Progress::NeedsReadable => PollFd::from_borrowed_fd(from, PollFlags::IN),
            Progress::NeedsWritable => PollFd::from_borrowed_fd(to, PollFlags::OUT),
            Progress::Moved(_) => {
                asked = 0;
                continue;
            }
            end => return end,
        };
        poll(std::slice::from_mut(&mut waiting), None).unwrap();
        asked += 1;
        assert!(asked < 1000, "it asks for what is there: {transfer:?}");
    }
}

fn set_nonblocking(nonblocking: bool, pipe: (&PipeReader, &PipeWriter)) {
    ioctl_fionbio(pipe.0, nonblocking).unwrap();
    ioctl_fionbio(pipe.1, nonblocking).unwrap();
}

/// A pipe that a thread fills with `bytes` and closes.
fn filled(bytes: &[u8], nonblocking: bool) -> PipeReader {
    let (reader, mut writer) = pipe().unwrap();
    ioctl_fionbio(&reader, nonblocking).unwrap();
    let bytes = bytes.to_vec();
    thread::spawn(move || writer.write_all(&bytes));
    reader
}

/// A pipe, and the bytes that a thread reads from it.
fn drained(nonblocking: bool) -> (PipeWriter, thread::JoinHandle<Vec<u8>>) {
    let (mut reader, writer) = pipe().unwrap();
    ioctl_fionbio(&writer, nonblocking).unwrap();
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    };
    (writer, thread::spawn(read))
}

/// Moves `bytes`; returns the received bytes and the report.
fn moved(direction: Direction, via: Via, bytes: &[u8], nonblocking: bool) -> (Vec<u8>, Report) {
    const AT: u64 = 4321;
    let file = tempfile::tempfile_in(DISK).unwrap();
    let len = bytes.len() as u64;
    let mut transfer = match direction {
        Direction::FileToPipe => Piped::from_file(AT..AT + len, via),
        Direction::PipeToFile => Piped::to_file(AT, None, via),
        _ => Piped::between(None, via),
    };
    let (mut source, mut sink) = (None, None);
    if direction == Direction::FileToPipe {
        file.write_all_at(bytes, AT).unwrap();
    } else {
        source = Some(filled(bytes, nonblocking));
    }
    if direction != Direction::PipeToFile {
        sink = Some(drained(nonblocking));
    }
    let from = source.as_ref().map_or(file.as_fd(), |source| source.as_fd());
    let to = sink.as_ref().map_or(file.as_fd(), |(sink, _)| sink.as_fd());
    assert_eq!(drive(&mut transfer, from, to), Progress::Done);
    assert_eq!(transfer.in_flight(), 0);
    let received = match sink {
        Some((writer, reader)) => {
            drop(writer);
            reader.join().unwrap()
        }
        None => {
            let mut stored = vec![0; bytes.len()];
            file.read_exact_at(&mut stored, AT).unwrap();
            stored
        }
    };
    (received, transfer.report().clone())
}

#[test]
fn every_byte_arrives_by_every_via() {
    for direction in DIRECTIONS {
        for &via in direction.vias() {
            for size in [0, 1, 4096, 65_536, 65_537, 3_000_001] {
                for nonblocking in [false, true] {
                    let bytes = content(size);
                    let (received, report) = moved(direction, via, &bytes, nonblocking);
                    let what = format!("{via} {direction} {size} {nonblocking}: {report:?}");
                    assert!(received == bytes, "{what}");
                    assert_eq!(report.bytes, size as u64, "{what}");
                    assert!(report.fallbacks.is_empty(), "{what}");
                    let ran = if via == Via::Auto { Via::Splice } else { via };
                    assert!(report.effective == ran || size == 0, "{what}");
                    let (movers, _) = calls_of(direction, report.effective);
                    // `auto` searches the cache of unsupported vias, if it has entries.
                    let known =
                        |name| movers.contains(&name) || (via == Via::Auto && name == "fstat");
                    assert!(report.calls.iter().all(|(name, _)| known(name)), "{what}");
                    let copied = match (ran, direction) {
                        (Via::Copy, _) | (_, Direction::PipeToFile) => Copied::Yes,
                        (Via::Splice, Direction::FileToPipe) => Copied::No,
                        _ => Copied::Unknown,
                    };
                    assert!(size == 0 || report.copied() == copied, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_via_that_pipes_do_not_have_falls_back_to_copy() {
    let bytes = content(100_000);
    for direction in DIRECTIONS {
        for &via in Via::ALL.iter().filter(|&&via| !direction.has(via)) {
            let (received, report) = moved(direction, via, &bytes, false);
            assert!(received == bytes, "{via} {direction}");
            let refused = Fallback::new(via, Reason::NotOffered, 0);
            assert_eq!((report.effective, &report.fallbacks[..]), (Via::Copy, &[refused][..]));
        }
    }
}

#[test]
fn a_step_asks_for_the_end_that_it_needs() {
    for nonblocking in [false, true] {
        let (from, mut feeder) = pipe().unwrap();
        let (mut drain, to) = pipe().unwrap();
        set_nonblocking(nonblocking, (&from, &to));
        let mut transfer = Piped::between(None, Via::Splice);
        let mut step = || transfer.step(from.as_fd(), to.as_fd()).unwrap();
        assert_eq!(step(), Progress::NeedsReadable);
        feeder.write_all(b"water").unwrap();
        assert_eq!(step(), Progress::Moved(5));
        // Full pages, so that the pipe is full by its slots and by its bytes.
        let mut progress = Progress::Moved(0);
        while matches!(progress, Progress::Moved(_)) {
            feeder.write_all(&[7; 4096]).unwrap();
            progress = step();
        }
        assert_eq!(progress, Progress::NeedsWritable);
        let mut part = vec![0; 1 << 20];
        let before = drain.read(&mut part).unwrap();
        assert!(before > 5 && part.starts_with(b"water"));
        assert!(matches!(step(), Progress::Moved(_)));
        drop(feeder);
        while step() != Progress::Done {}
    }
    // A full pipe behind a file, and an empty one before it.
    let file = tempfile::tempfile_in(DISK).unwrap();
    file.write_all_at(&content(1 << 20), 0).unwrap();
    let (from, to) = pipe().unwrap();
    let mut out = Piped::from_file(0..1 << 20, Via::Splice);
    assert!(matches!(out.step(file.as_fd(), to.as_fd()).unwrap(), Progress::Moved(_)));
    assert_eq!(out.step(file.as_fd(), to.as_fd()).unwrap(), Progress::NeedsWritable);
    let mut back = Piped::to_file(1 << 20, Some(10), Via::Splice);
    assert_eq!(back.step(from.as_fd(), file.as_fd()).unwrap(), Progress::Moved(10));
    assert_eq!(back.step(from.as_fd(), file.as_fd()).unwrap(), Progress::Done);
}

#[test]
fn ends_without_a_pipe_are_read_and_written() {
    let (mut from, to) =
        (tempfile::tempfile_in(DISK).unwrap(), tempfile::NamedTempFile::new_in(DISK).unwrap());
    let bytes = content(200_000);
    from.write_all(&bytes).unwrap();
    std::io::Seek::seek(&mut from, std::io::SeekFrom::Start(100)).unwrap();
    std::fs::write(to.path(), "before").unwrap();
    let append = File::options().append(true).open(to.path()).unwrap();
    let mut transfer = Piped::between(None, Via::Auto);
    assert_eq!(drive(&mut transfer, from.as_fd(), append.as_fd()), Progress::Done);
    assert_eq!(transfer.report().effective, Via::Copy);
    let written = std::fs::read(to.path()).unwrap();
    assert!(written.starts_with(b"before") && written[6..] == bytes[100..]);
    // Into a file open for appending, out of a pipe.
    let mut transfer = Piped::between(None, Via::Auto);
    let source = filled(b"behind", false);
    assert_eq!(drive(&mut transfer, source.as_fd(), append.as_fd()), Progress::Done);
    assert!(std::fs::read(to.path()).unwrap().ends_with(b"behind"));
}

#[test]
fn a_pipe_without_readers_is_an_error() {
    let file = tempfile::tempfile_in(DISK).unwrap();
    file.write_all_at(&content(100_000), 0).unwrap();
    for &via in Direction::FileToPipe.vias() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut transfer = Piped::from_file(0..100_000, via);
        let error = transfer.step(file.as_fd(), writer.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::PIPE.raw_os_error()), "{via}");
        assert_eq!(transfer.report().bytes, 0);
    }
}

#[test]
fn a_pipe_that_ends_early_is_truncated() {
    let file = tempfile::tempfile_in(DISK).unwrap();
    for &via in Direction::PipeToFile.vias() {
        let source = filled(&content(1000), false);
        let mut transfer = Piped::to_file(0, Some(1500), via);
        let end = drive(&mut transfer, source.as_fd(), file.as_fd());
        assert_eq!(end, Progress::Truncated { missing: 500 }, "{via}");
    }
}
