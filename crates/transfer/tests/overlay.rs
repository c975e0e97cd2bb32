//! An overlay file system, which containers are made of: its files have no pages of their own, so
//! `cachestat` sees none, and `RWF_NOWAIT` is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_transfer::{Direction, FileToSocket, OnMiss, Progress, Settings, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const SIZE: usize = 150_000;

/// Mounted until it is dropped.
struct Overlay<'a>(&'a Path);

impl<'a> Overlay<'a> {
    /// Two of them, because it takes no fewer, to be read only.
    fn over(lower: [&Path; 2], on: &'a Path) -> Option<Self> {
        let option = format!("lowerdir={}:{},ro", lower[0].display(), lower[1].display());
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &option]).arg(on).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(on))
    }
}

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn misses_are_detected() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [lower, empty, on] = ["lower", "empty", "on"].map(|name| directory.path().join(name));
    for path in [&lower, &empty, &on] {
        fs::create_dir(path).unwrap();
    }
    fs::write(lower.join("file"), vec![7; SIZE]).unwrap();
    let Some(_overlay) = Overlay::over([&lower, &empty], &on) else {
        println!("skipped: no overlay may be mounted here");
        return;
    };
    let below = File::open(lower.join("file")).unwrap();
    let file = Arc::new(File::open(on.join("file")).unwrap());
    fdatasync(&below).unwrap();
    for &via in Direction::FileToSocket.vias() {
        if matches!(via, Via::Direct | Via::Zerocopy) {
            continue; // the one needs a disk in any case, the other TCP
        }
        fadvise(&below, 0, None, Advice::DontNeed).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let settings = Settings::from(via).on_miss(OnMiss::Report);
        let mut transfer = FileToSocket::new(file.clone(), 0..SIZE as u64, settings);
        assert_eq!(transfer.step(near.as_fd()).unwrap(), Progress::NeedsWorker, "{via}");
        transfer.page_in().run().unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).map(|_| received)
        });
        loop {
            match transfer.step(near.as_fd()).unwrap() {
                Progress::Moved(_) => {}
                Progress::Done => break,
                wait => panic!("{via}: {wait:?}, {:?}", transfer.report()),
            }
        }
        drop(near);
        assert!(reader.join().unwrap().unwrap() == vec![7; SIZE], "{via}");
    }
}
