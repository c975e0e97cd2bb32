//! Pages that are being read from the disk are in the page cache, and cachestat(2) counts them, but a step
//! that must not block treats them as a miss.
//!
//! The disk is a loop device that the blkio controller of cgroup v1 slows down for one thread.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_transfer::{
    Direction, FileToSocket, OnMiss, Outbox, Progress, Residency, Settings, Via, cached_bytes,
};
use rustix::fs::{Advice, fadvise, major, minor};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Read by one request of the disk.
const SIZE: usize = 128 << 10;

/// The rate of the disk in bytes per second: the request takes longer than all steps of the test.
const RATE: usize = 10_000;

/// A file system on a loop device, and a control group for which it is slow.
struct SlowDisk {
    directory: tempfile::TempDir,
    group: PathBuf,
    device: String,
}

impl SlowDisk {
    /// Prints the reason and returns `None` where that is not possible.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, disk) = (directory.path().join("image"), directory.path().join("disk"));
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        fs::create_dir(&disk).unwrap();
        let run = |program: &str, arguments: &[&str], paths: &[&Path]| {
            let mut command = Command::new(program);
            command.args(arguments).args(paths).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let options = &["-q", "-O", "^has_journal"];
        if !run("mkfs.ext4", options, &[&image]) || !run("mount", &["-o", "loop"], &[&image, &disk])
        {
            println!("skipped: no file system on a loop device");
            return None;
        }
        let group = format!("/sys/fs/cgroup/blkio/karez-test-{}", std::process::id());
        let group = PathBuf::from(group);
        let number = fs::metadata(&disk).unwrap().dev();
        let device = format!("{}:{}", major(number), minor(number));
        let slow = Self { directory, group, device };
        let made = fs::create_dir(&slow.group).and_then(|()| slow.limit(RATE));
        if let Err(error) = made {
            println!("skipped: no control group that slows a disk: {error}");
            return None;
        }
        Some(slow)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("disk").join(name)
    }

    /// Limits the bytes read per second; 0 removes the limit.
    fn limit(&self, rate: usize) -> std::io::Result<()> {
        let file = self.group.join("blkio.throttle.read_bps_device");
        fs::write(file, format!("{} {rate}", self.device))
    }

    /// Writes a file that is not in the page cache.
    fn cold_file(&self, name: &str) -> Arc<File> {
        fs::write(self.path(name), vec![7; SIZE]).unwrap();
        let file = File::open(self.path(name)).unwrap();
        rustix::fs::fdatasync(&file).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        Arc::new(file)
    }

    /// Starts a slow read of the file, and returns when all of its pages are in the page cache.
    fn start_reading(&self, file: &Arc<File>) -> JoinHandle<()> {
        let (tasks, reader) = (self.group.join("tasks"), Arc::clone(file));
        let reading = thread::spawn(move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            fs::write(tasks, thread.to_string()).unwrap();
            fadvise(&*reader, 0, None, Advice::Sequential).unwrap();
            reader.read_exact_at(&mut vec![0; SIZE], 0).unwrap();
        });
        while cached_bytes(file.as_fd(), 0..SIZE as u64).unwrap() < SIZE as u64 {
            assert!(!reading.is_finished(), "the disk is not slow");
            thread::yield_now();
        }
        reading
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _fast = self.limit(0);
        let disk = self.directory.path().join("disk");
        let _status = Command::new("umount").arg("-l").arg(disk).status();
        let _removed = fs::remove_dir(&self.group);
    }
}

/// The vias that read pages of the page cache.
fn vias() -> impl Iterator<Item = Via> {
    let vias = Direction::FileToSocket.vias().iter().copied();
    vias.filter(|via| !matches!(via, Via::Direct | Via::Zerocopy))
}

#[test]
fn pages_that_are_being_read_are_a_miss() {
    let Some(disk) = SlowDisk::mount() else { return };
    let file = disk.cold_file("slow");
    if cached_bytes(file.as_fd(), 0..SIZE as u64).is_err() {
        println!("skipped: no cachestat");
        return;
    }
    let reading = disk.start_reading(&file);
    let residency = Arc::new(Residency::new(SIZE as u64));
    let (near, far) = UnixStream::pair().unwrap();
    let mut waiting = Vec::new();
    for via in vias() {
        for shared in [false, true] {
            let settings = Settings::from(via).on_miss(OnMiss::Report);
            let mut transfer = FileToSocket::new(file.clone(), 0..SIZE as u64, settings);
            if shared {
                transfer = transfer.residency(Arc::clone(&residency));
            }
            let step = transfer.step(near.as_fd()).unwrap();
            assert_eq!(step, Progress::NeedsWorker, "{via}: {:?}", transfer.report());
            assert!(!reading.is_finished(), "{via}: the step waited for the disk");
            waiting.push(transfer);
        }
    }
    let mut outbox = Outbox::from(b"head".to_vec());
    outbox.report_misses();
    outbox.push_file(FileToSocket::new(file.clone(), 0..5000, Via::Auto));
    assert_eq!(outbox.step(near.as_fd()).unwrap(), Progress::NeedsWorker);
    assert!(!reading.is_finished(), "the outbox waited for the disk");

    disk.limit(0).unwrap();
    reading.join().unwrap();
    drop((near, far));
    waiting.into_iter().for_each(send_after_page_in);
}

/// The page-in proves its bytes, so no further query is made.
fn send_after_page_in(mut transfer: FileToSocket) {
    let (near, far) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut &far, &mut received).map(|_| received)
    });
    transfer.page_in().run().unwrap();
    let queries = transfer.report().calls.cachestat;
    loop {
        match transfer.step(near.as_fd()).unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsWritable => thread::yield_now(),
            Progress::Done => break,
            other => panic!("{other:?}: {:?}", transfer.report()),
        }
    }
    drop(near);
    assert!(reader.join().unwrap().unwrap() == vec![7; SIZE], "{:?}", transfer.report());
    assert_eq!(transfer.report().calls.cachestat, queries, "{:?}", transfer.report());
}

/// A file that was proven once is sent without a query by the transfers that share its residency.
#[test]
fn a_shared_residency_saves_queries() {
    const LEN: usize = (2 << 20) + 100;
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all_at(&vec![7; LEN], 0).unwrap();
    let (file, residency) = (Arc::new(file), Arc::new(Residency::new(LEN as u64)));
    let mut queries = Vec::new();
    for _ in 0..100 {
        let (near, far) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || std::io::copy(&mut &far, &mut std::io::sink()));
        let settings = Settings::from(Via::Sendfile).on_miss(OnMiss::Report);
        let transfer = FileToSocket::new(file.clone(), 0..LEN as u64, settings);
        let mut transfer = transfer.residency(Arc::clone(&residency));
        while transfer.step(near.as_fd()).unwrap() != Progress::Done {}
        drop(near);
        assert_eq!(reader.join().unwrap().unwrap(), LEN as u64);
        queries.push(transfer.report().calls.total() - transfer.report().calls.sendfile);
    }
    assert!(queries[0] > 0, "the first transfer queries the page cache");
    // More than a second may pass on a loaded machine.
    assert!(queries.contains(&0), "{queries:?}");
}
