//! The device of a file.
//!
//! # Limitations
//!
//! The table lists known file systems. A remote one that is missing is taken for a local disk.

use rustix::fs::fstatfs;
use rustix::io;
use std::os::fd::AsFd;

/// A device (`st_dev` of stat(2)), and whether it may stop answering.
///
/// Offloaded reads of one device share a bounded number of threads, so that a device that hangs
/// does not delay reads of another. If a whole file system does not support a call, that is cached by
/// device, so that not every transfer repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The device number; 0 if it is unknown.
    pub number: u64,
    /// The file system asks another host or a process (NFS, CIFS, FUSE), which may never answer. Its
    /// calls wait even for files in the page cache, because attributes are revalidated.
    pub remote: bool,
}

/// Returns whether the file system of a file or directory is [remote](Device::remote), by fstatfs(2). The call
/// may block on such a file system. `O_PATH` descriptors will do (Linux 3.12).
///
/// # Errors
/// As fstatfs(2). A file system whose type is unknown may be remote.
pub fn is_remote(file: impl AsFd) -> io::Result<bool> {
    let found = fstatfs(file)?;
    // Where a word has 32 bits, some of the numbers are negative.
    #[allow(clippy::useless_conversion, reason = "the width depends on the architecture")]
    let magic = i64::try_from(found.f_type).unwrap_or(0) & 0xffff_ffff;
    Ok(REMOTE.contains(&magic))
}

/// `f_type` of remote file systems (statfs(2)): FUSE, NFS, CIFS, SMB2, SMB, 9P, Ceph, AFS, Coda, NCP, autofs, OrangeFS, Lustre, VirtualBox.
const REMOTE: [i64; 14] = [
    0x6573_5546,
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x7375_7245,
    0x564c,
    0x0187,
    0x2003_0528,
    0x0bd0_0bd0,
    0x786f_4256,
];
