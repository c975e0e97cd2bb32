//! Files on a remote file system: a step leaves every read to the caller's worker, with every via,
//! though the pages are in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_transfer::{Device, Direction, FileToSocket, OnMiss, Outbox, Progress, Settings, Via};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const DEVICE: Device = Device { number: 7, remote: true };
const SIZES: [usize; 3] = [10, 16 << 10, 1_000_000];

fn transfer(size: usize, via: Via) -> FileToSocket {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; size]).unwrap();
    let settings = Settings::from(via).device(DEVICE);
    FileToSocket::new(Arc::new(file), 0..size as u64, settings)
}

fn all_of(mut far: UnixStream) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        received
    })
}

#[test]
fn a_worker_makes_every_read_and_all_bytes_arrive() {
    for size in SIZES {
        for &via in Direction::FileToSocket.vias() {
            let (near, far) = UnixStream::pair().unwrap();
            let mut outbox = Outbox::from(b"head".to_vec());
            outbox.push_file(transfer(size, via));
            outbox.report_remote_misses();
            let (reader, mut reads) = (all_of(far), 0);
            loop {
                match outbox.step(near.as_fd()).unwrap() {
                    Progress::Moved(_) => {}
                    Progress::NeedsWorker => {
                        let part = outbox.page_in().unwrap();
                        assert_eq!(part.device(), DEVICE, "{via}");
                        let range = part.range();
                        part.run().unwrap();
                        reads += range.end - range.start;
                    }
                    Progress::Done => break,
                    other => panic!("{via}: {other:?}"),
                }
            }
            drop(near);
            let received = reader.join().unwrap();
            assert!(received == [&b"head"[..], &vec![7; size]].concat(), "{via}, {size}");
            assert_eq!(reads, size as u64, "{via}: a step read");
        }
    }
}

#[test]
fn a_file_that_is_shorter_is_truncated_and_an_error_of_the_read_is_the_steps() {
    let (near, _far) = UnixStream::pair().unwrap();
    let settings = Settings::from(Via::Auto).device(DEVICE).on_miss(OnMiss::Report);
    let step = |transfer: &mut FileToSocket| {
        assert_eq!(transfer.step(near.as_fd()).unwrap(), Progress::NeedsWorker);
        transfer.page_in().run().unwrap();
        transfer.step(near.as_fd())
    };
    let empty = Arc::new(tempfile::tempfile().unwrap());
    let mut short = FileToSocket::new(empty, 0..5, settings);
    assert_eq!(step(&mut short).unwrap(), Progress::Truncated { missing: 5 });
    let directory = Arc::new(File::open("/").unwrap());
    let mut failing = FileToSocket::new(directory, 0..5, settings);
    let error = step(&mut failing).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::IsADirectory);
}

/// A caller that may block gets no `NeedsWorker`.
#[test]
fn where_it_may_wait_a_step_reads() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut transfer = transfer(1000, Via::Copy);
    assert!(matches!(transfer.step(near.as_fd()).unwrap(), Progress::Moved(1000)));
    drop(near);
    assert_eq!(all_of(far).join().unwrap(), [7; 1000]);
}
