//! A file system that can be stopped: bindfs(1), a FUSE file system that shows another directory.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::files::pattern;
use crate::server::Server;
use crate::ways::Way;

/// `root/fast`, a file, and `root/slow`, which shows `below` with the file `name`: in a mount
/// namespace that ends with the program.
pub struct Bind {
    program: Child,
    directory: tempfile::TempDir,
}

/// It answers again when this is dropped. A server that ends meanwhile may wait for it in the kernel,
/// so this has to be dropped first, and declared last.
pub struct Stopped<'a>(&'a Bind);

impl Bind {
    /// `None`, with a reason printed, where that is not to be had.
    pub fn mount() -> Option<Self> {
        Self::mount_with(&[])
    }

    /// The same; every name is asked for again each time, as of a file system that others change.
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

    /// The root as it is seen without its mounts: what lies below `slow` is to be put into `below`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The root with its mounts, by a path that leads into their namespace.
    pub fn outside(&self) -> PathBuf {
        let own = PathBuf::from(format!("/proc/{}/root", self.program.id()));
        own.join(self.path("root").strip_prefix("/").unwrap())
    }

    /// A server that lives in the namespace.
    pub fn serve(&self, way: Way, flags: &[&str]) -> Server {
        let pid = self.program.id().to_string();
        let prefix = ["nsenter", "--mount", "--target", &pid, "--"];
        Server::start_under(&prefix, way, Path::new(&self.path("root")), flags)
    }

    /// From now on it does not answer.
    pub fn stop(&self) -> Stopped<'_> {
        self.signal(Signal::STOP);
        Stopped(self)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.program.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
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
