//! A file system for one test, in an image on a loop device or in memory.
//!
//! It is mounted in the mount namespace of a child process, and is reached through
//! `/proc/PID/root`. However the test ends, the namespace ends with the child, with it the mount,
//! and with that the loop device.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted file system.
pub struct Image {
    holder: Child,
    pub path: PathBuf,
    directory: tempfile::TempDir,
}

impl Image {
    /// Creates an image of this size in MiB with `mkfs` and mounts it. Prints the reason and
    /// returns `None` where that is not possible.
    pub fn made_by(mkfs: &[&str], mib: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image).output();
        match made {
            Ok(made) if made.status.success() => {}
            other => {
                println!("skipped: {mkfs:?}: {other:?}");
                return None;
            }
        }
        Self::mount(directory, "-o loop \"$1\"")
    }

    /// Mounts an in-memory file system of this type with these options.
    pub fn mount_in_memory(kind: &str, options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        Self::mount(directory, &format!("-t {kind} -o {options} {kind}"))
    }

    /// Mounts a directory through bindfs(1) with these options: a FUSE file system that rejects
    /// some operations.
    pub fn bound(options: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("image")).unwrap();
        Self::mounted_by(directory, &format!("bindfs {} \"$1\" \"$2\"", options.join(" ")))
    }

    fn mount(directory: tempfile::TempDir, what: &str) -> Option<Self> {
        Self::mounted_by(directory, &format!("mount {what} \"$2\""))
    }

    /// Runs a shell command that mounts `$1` at `$2`.
    fn mounted_by(directory: tempfile::TempDir, command: &str) -> Option<Self> {
        let point = directory.path().join("mounted");
        std::fs::create_dir(&point).unwrap();
        let script = format!("{command} && echo mounted && exec cat");
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", &script, "sh"]);
        holder.arg(directory.path().join("image")).arg(&point);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = match holder.spawn() {
            Ok(holder) => holder,
            Err(error) => {
                println!("skipped: unshare: {error}");
                return None;
            }
        };
        let mut printed = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut printed).unwrap();
        if printed != "mounted\n" {
            println!("skipped: {command}: {:?}", holder.wait_with_output().unwrap());
            return None;
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let path = root.join(point.strip_prefix("/").unwrap());
        Some(Self { holder, path, directory })
    }

    /// Mounts a copy of the image in its present state with these options: the file system after a
    /// power cut. The simulated disk has completed every write that it reported as complete.
    pub fn after_power_cut(&self, options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(self.directory.path().join("image"));
        assert!(copy.arg(directory.path()).status().unwrap().success());
        Self::mount(directory, &format!("-o loop{options} \"$1\"")).unwrap()
    }

    /// Returns the number of cache flushes of its block device according to sysfs(5); `None` in
    /// memory.
    pub fn flushes(&self) -> Option<u64> {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", self.holder.id())).ok()?;
        let point = self.directory.path().join("mounted");
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = lines.find(|words| Path::new(words[1]) == point)?;
        let name = mount[0].strip_prefix("/dev/")?;
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).ok()?;
        stat.split_whitespace().nth(15)?.parse().ok()
    }

    /// Returns the path of a name in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
    }
}
