//! A file that is written while it is sent is never sent to its end, by any via, in one buffer with other
//! bytes, sealed, and in units; one that is replaced or unlinked is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_transfer::{
    Changed, Direction, FileToSocket, OnShort, Outbox, OutboxEvent, Progress, RecordKind, Seal,
    SealError, SealRoom, Tag, UnitEvent, Version, Via,
};
use rustix::net::sockopt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Inlined, copied, and sent by reference in several steps.
const SIZES: [usize; 4] = [100, 16 << 10, 100_000, 3 << 20];

/// A file whose last write was long ago, so that every later one changes its version on every kernel.
struct Old {
    directory: tempfile::TempDir,
    file: Arc<File>,
    version: Version,
    size: usize,
}

impl Old {
    fn new(size: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![1; size]).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let version = Version::of(&file).unwrap();
        Self { directory, file: Arc::new(file), version, size }
    }

    fn transfer(&self, via: Via) -> FileToSocket {
        let range = 0..self.size as u64;
        FileToSocket::new(Arc::clone(&self.file), range, via).verified(self.version)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn rewrite(&self) {
        self.file.write_all_at(&vec![2; self.size], 0).unwrap();
    }

    /// Gives the name to another file.
    fn replace(&self) {
        fs::write(self.path("new"), vec![2; self.size]).unwrap();
        fs::rename(self.path("new"), self.path("file")).unwrap();
    }
}

/// A pair whose sending side takes little at a time and does not block.
fn narrow_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
    (near, far)
}

/// Steps until the socket has no room.
fn fill(outbox: &mut Outbox, near: &UnixStream) {
    while let Progress::Moved(_) = outbox.step(near.as_fd()).unwrap() {}
}

/// Steps to the end. Returns what arrived.
fn pump(
    outbox: &mut Outbox,
    near: UnixStream,
    mut far: UnixStream,
) -> (Vec<u8>, io::Result<Progress>) {
    let (mut received, mut part) = (Vec::new(), vec![0; 10_000]);
    let end = loop {
        match outbox.step(near.as_fd()) {
            Ok(Progress::Moved(_)) => {}
            Ok(Progress::NeedsWritable) => {
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

fn expect_changed(end: io::Result<Progress>, case: &str) {
    assert!(end.is_err_and(|error| Changed::is(&error)), "{case}");
}

#[test]
fn a_rewritten_file_is_not_sent_to_its_end() {
    for &via in Direction::FileToSocket.vias() {
        for size in SIZES {
            for behind in [false, true] {
                let case = format!("{via}, {size} bytes, behind a head: {behind}");
                let old = Old::new(size);
                let mut outbox = Outbox::new();
                if behind {
                    outbox.push_bytes(b"head".to_vec());
                }
                outbox.push_file(old.transfer(via));
                let (near, far) = narrow_pair();
                if size > 1 << 20 {
                    fill(&mut outbox, &near);
                }
                old.rewrite();
                let (received, end) = pump(&mut outbox, near, far);
                expect_changed(end, &case);
                assert!(received.len() < size, "{case}");
            }
        }
    }
}

#[test]
fn a_replaced_file_is_sent_to_its_end() {
    for &via in Direction::FileToSocket.vias() {
        for size in SIZES {
            let old = Old::new(size);
            let mut outbox = Outbox::new();
            outbox.push_file(old.transfer(via));
            let (near, far) = narrow_pair();
            if size > 1 << 20 {
                fill(&mut outbox, &near);
            }
            old.replace();
            let (received, end) = pump(&mut outbox, near, far);
            assert_eq!(end.unwrap(), Progress::Done, "{via}, {size} bytes");
            assert!(received == vec![1; size], "{via}, {size} bytes");
        }
    }
}

#[test]
fn only_the_last_part_of_a_body_is_verified_once() {
    let old = Old::new(100_000);
    let mut outbox = Outbox::new();
    outbox.enable_stats();
    outbox.push_file(old.transfer(Via::Copy));
    let (near, mut far) = UnixStream::pair().unwrap();
    let reader = std::thread::spawn(move || far.read_to_end(&mut Vec::new()).unwrap());
    outbox.run_blocking(&near).unwrap();
    drop(near);
    assert_eq!(reader.join().unwrap(), 100_000);
    let stats = outbox.take_stats().unwrap();
    assert_eq!(stats.calls().statx, 1);
}

#[test]
fn content_in_memory_is_not_verified() {
    let old = Old::new(1000);
    let mut outbox = Outbox::from("head");
    outbox.push_file(old.transfer(Via::Auto).with_content(vec![1; 1000].into(), 0));
    old.rewrite();
    let (near, far) = narrow_pair();
    let (received, end) = pump(&mut outbox, near, far);
    assert_eq!(end.unwrap(), Progress::Done);
    assert!(received == [&b"head"[..], &[1; 1000]].concat());
}

/// Brackets around the plaintext.
struct Brackets;

impl Seal for Brackets {
    fn room(&self) -> SealRoom {
        SealRoom { prefix: 1, tag: 1 }
    }

    fn max_plain(&self, _idle: bool) -> usize {
        1000
    }

    fn seal(&mut self, _kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
        let last = record.len() - 1;
        (record[0], record[last]) = (b'[', b']');
        Ok(())
    }
}

#[test]
fn the_last_record_of_a_rewritten_file_is_not_made() {
    let old = Old::new(2500);
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Brackets));
    outbox.push_file(old.transfer(Via::Auto));
    let (near, far) = narrow_pair();
    assert!(matches!(outbox.step(near.as_fd()).unwrap(), Progress::Moved(_)));
    old.rewrite();
    let (received, end) = pump(&mut outbox, near, far);
    expect_changed(end, "sealed");
    assert!(received.len() < 2500, "{}", received.len());
}

#[test]
fn a_stream_of_a_rewritten_file_is_reported_before_its_end() {
    let (old, other) = (Old::new(30_000), Old::new(30_000));
    let mut outbox = Outbox::new();
    let one = outbox.open_file(old.transfer(Via::Auto));
    let two = outbox.open_file(other.transfer(Via::Auto));
    let ends = [b"end of one".as_slice(), b"end of two"];
    for part in [10_000, 20_000, 0] {
        for (tag, file) in [(0, one), (1, two)] {
            let head = if part == 0 { ends[usize::from(tag == 1)] } else { b"head" };
            outbox.push_unit(Tag(tag), head, file, part, OnShort::ZeroFill);
        }
    }
    let (near, far) = narrow_pair();
    fill(&mut outbox, &near);
    old.rewrite();
    let (received, end) = pump(&mut outbox, near, far);
    assert_eq!(end.unwrap(), Progress::Done);
    let arrived = |end: &[u8]| received.windows(end.len()).any(|bytes| bytes == end);
    assert!(!arrived(ends[0]) && arrived(ends[1]));
    let changed = OutboxEvent::Unit(Tag(0), UnitEvent::Changed { returned: 0 });
    assert_eq!((outbox.next_event(), outbox.next_event()), (Some(changed), None));
}
