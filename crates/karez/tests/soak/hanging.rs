//! A FUSE file system that can hang: bindfs(1) in a mount namespace of its own, which ends with it.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::tree::Tree;

pub struct Hanging(Child);

impl Hanging {
    /// Mounts `below` on `root/hanging`. Prints the reason and returns `None` where that is not possible.
    pub fn mount(tree: &Tree) -> Option<Self> {
        let (below, target) = (tree.ground.path().join("below"), tree.root().join("hanging"));
        fs::create_dir(&target).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "bindfs", "-f", "-o", "allow_other"]).args([&below, &target]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut program = match command.spawn() {
            Ok(program) => program,
            Err(error) => {
                println!("skipped: a file system that hangs: unshare: {error}");
                return None;
            }
        };
        let mounts = format!("/proc/{}/mountinfo", program.id());
        let mounted = format!(" {} ", target.display());
        while !fs::read_to_string(&mounts).is_ok_and(|mounts| mounts.contains(&mounted)) {
            if let Some(status) = program.try_wait().unwrap() {
                println!("skipped: a file system that hangs: bindfs: {status}");
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
        Some(Self(program))
    }

    /// Returns the command that runs another one in the namespace.
    pub fn prefix(&self) -> Vec<String> {
        let pid = self.0.id().to_string();
        ["nsenter", "--mount", "--target", &pid, "--"].map(str::to_owned).to_vec()
    }

    /// Makes it hang.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a hang.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
