//! The scope of the counters: processes, sockets, networks and files.

use rustix::fs::{fstat, fstatfs, major, minor};
use rustix::process::Pid;
use std::os::fd::AsFd;

use crate::error::{ErrorContext as _, Result};

/// Identity of a file in the page cache: inode and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub(crate) inode: u64,
    /// In the kernel's encoding (20 bits for the minor number); 0 if stat(2) reports another
    /// device.
    pub(crate) device: u64,
}

/// File systems for which stat(2) reports a device that differs from the inode's.
const OTHER_DEVICE: [u64; 2] = [0x9123_683e, 0x794c_7630]; // btrfs, overlayfs

impl FileId {
    /// Returns the identity of an open file.
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

/// The scope of a set of counters. An empty scope counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub(crate) processes: Vec<Pid>,
    pub(crate) sockets: Vec<u64>,
    pub(crate) networks: Vec<u32>,
    pub(crate) files: Vec<FileId>,
}

impl Scope {
    /// Adds a process, counted between its marks; at most four.
    #[must_use]
    pub fn process(mut self, process: Pid) -> Self {
        self.processes.push(process);
        self
    }

    /// Adds data sent by the socket with this cookie (`SO_COOKIE`, socket(7)).
    #[must_use]
    pub fn socket(mut self, cookie: u64) -> Self {
        self.sockets.push(cookie);
        self
    }

    /// Adds data sent by all devices of the network namespace with this inode number.
    #[must_use]
    pub fn network(mut self, inode: u32) -> Self {
        self.networks.push(inode);
        self
    }

    /// Adds a file: its pages are classified as ours, and its disk I/O is counted.
    #[must_use]
    pub fn file(mut self, file: FileId) -> Self {
        self.files.push(file);
        self
    }
}
