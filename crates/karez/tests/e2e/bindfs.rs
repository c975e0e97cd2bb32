//! A FUSE file system whose process can be stopped: bindfs(1), which shows another directory.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::files::pattern;
use crate::layouts::Layout;
use crate::server::{Server, is_stopped, kernel_waits};
use crate::timeouts::TEST_TIMEOUT;

/// Mounts `below`, with the file `name`, on `root/slow`, beside the file `root/fast`. The mount
/// namespace ends with the bindfs process.
pub struct Bind {
    program: Child,
    directory: tempfile::TempDir,
}

/// Resumes bindfs when dropped. A server that exits meanwhile may block on the mount in the kernel,
/// so declare this after the server: it is then dropped first.
pub struct Stopped<'a>(&'a Bind);

impl Bind {
    /// Mounts it. Prints the reason and returns `None` where bindfs or the privilege is missing.
    pub fn mount() -> Option<Self> {
        Self::mount_with(&[])
    }

    /// Like [`Bind::mount`], without a name cache: the kernel asks bindfs for every lookup.
    pub fn mount_uncached() -> Option<Self> {
        Self::mount_with(&["-o", "entry_timeout=0"])
    }

    fn mount_with(options: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("root/slow")).unwrap();
        fs::create_dir(path("below")).unwrap();
        fs::write(path("below/name"), pattern(1000)).unwrap();
        fs::write(path("root/fast"), pattern(100)).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "bindfs", "-f"]).args(options);
        command.args([path("below"), path("root/slow")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut program = match command.spawn() {
            Ok(program) => program,
            Err(error) => {
                println!("skipped: unshare: {error}");
                return None;
            }
        };
        let mounts = format!("/proc/{}/mountinfo", program.id());
        let slow = format!(" {} ", path("root/slow").display());
        while !fs::read_to_string(&mounts).is_ok_and(|mounts| mounts.contains(&slow)) {
            if let Some(status) = program.try_wait().unwrap() {
                println!("skipped: bindfs: {status}");
                return None;
            }
            std::thread::yield_now();
        }
        Some(Self { program, directory })
    }

    /// Returns a path outside the mount. Write to `below` for files that shall appear under `slow`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the root with its mount, by a path through `/proc` into its namespace.
    pub fn outside(&self) -> PathBuf {
        let own = PathBuf::from(format!("/proc/{}/root", self.program.id()));
        own.join(self.path("root").strip_prefix("/").unwrap())
    }

    /// Starts a server inside the mount namespace.
    pub fn serve(&self, layout: Layout, flags: &[&str]) -> Server {
        let pid = self.program.id().to_string();
        let prefix = ["nsenter", "--mount", "--target", &pid, "--"];
        Server::start_under(&prefix, layout, Path::new(&self.path("root")), flags)
    }

    /// Stops bindfs: every request to the file system blocks from now on, and is not read.
    pub fn stop(&self) -> Stopped<'_> {
        self.signal(Signal::STOP);
        // The signal is still pending when kill(2) returns, and a thread may read one more request.
        let end = Instant::now() + TEST_TIMEOUT;
        while !is_stopped(self.program.id()) {
            assert!(Instant::now() < end, "bindfs is not stopped");
            std::thread::yield_now();
        }
        Stopped(self)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.program.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Stopped<'_> {
    /// Returns how many threads of a process wait for a response of the file system; `None` where the kernel does not show
    /// it.
    pub fn waiting(&self, process: u32) -> Option<usize> {
        if kernel_waits(self.0.program.id()).iter().all(|function| function == "0") {
            return None;
        }
        let waits = kernel_waits(process);
        Some(waits.iter().filter(|function| *function == "request_wait_answer").count())
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _gone = self.program.kill();
        let _gone = self.program.wait();
    }
}
