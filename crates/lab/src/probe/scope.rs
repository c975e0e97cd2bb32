//! What is counted: which processes, sockets, networks and files.

use rustix::fs::{fstat, fstatfs, major, minor};
use rustix::process::Pid;
use std::os::fd::AsFd;

use crate::error::{ErrorContext as _, Result};

/// A file as the kernel knows it in its page cache: inode and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub(crate) inode: u64,
    /// As the kernel writes it (20 bits of minor); 0 where stat(2) names another.
    pub(crate) device: u64,
}

/// File systems whose stat(2) names a device that their inodes do not have.
const OTHER_DEVICE: [u64; 2] = [0x9123_683e, 0x794c_7630]; // btrfs, overlayfs

impl FileId {
    /// The identity of an open file.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn of(file: impl AsFd) -> Result<Self> {
        let stat = fstat(&file).context("stat", "a file")?;
        let system = fstatfs(&file).context("stat the file system of", "a file")?.f_type;
        let known = !OTHER_DEVICE.contains(&(system.cast_unsigned() as u64));
        let device = u64::from(major(stat.st_dev)) << 20 | u64::from(minor(stat.st_dev));
        Ok(Self { inode: stat.st_ino, device: if known { device } else { 0 } })
    }
}

/// What a set of counters counts. Empty, it counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub(crate) processes: Vec<Pid>,
    pub(crate) sockets: Vec<u64>,
    pub(crate) networks: Vec<u32>,
    pub(crate) files: Vec<FileId>,
}

impl Scope {
    /// Also what this process does between its marks; four at most.
    #[must_use]
    pub fn process(mut self, process: Pid) -> Self {
        self.processes.push(process);
        self
    }

    /// Also what leaves by the socket with this cookie (`SO_COOKIE`, socket(7)).
    #[must_use]
    pub fn socket(mut self, cookie: u64) -> Self {
        self.sockets.push(cookie);
        self
    }

    /// Also what leaves by any device of the network namespace with this inode number.
    #[must_use]
    pub fn network(mut self, inode: u32) -> Self {
        self.networks.push(inode);
        self
    }

    /// The pages of this file are ours; also what a disk reads and writes of it.
    #[must_use]
    pub fn file(mut self, file: FileId) -> Self {
        self.files.push(file);
        self
    }
}
