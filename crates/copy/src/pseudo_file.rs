//! Detects files of pseudo file systems: proc(5), sysfs(5) and similar, whose content the kernel
//! makes on each read. Their size is 0 or a page, so their end is known only by a read.
//!
//! # Limitations
//!
//! The file systems are a fixed list (linux/magic.h). A FUSE file that is shorter than its reported
//! size counts as truncated.

use rustix::fs::{Stat, fstatfs};
use std::os::fd::BorrowedFd;

/// The magic numbers of file systems without storage.
const MAGIC: [u32; 20] = [
    0x0000_9fa0, // proc
    0x0000_9fa1, // openprom
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x5a3c_69f0, // apparmorfs
    0x0765_5821, // resctrl
    0x6573_5543, // fusectl
    0x6e66_7364, // nfsd
    0x1980_0202, // mqueue
];

/// Returns whether an open file is on a pseudo file system. It is called once, after the open: a later
/// size may be that of a file which was truncated and rewritten.
pub(crate) fn is_pseudo_file(file: BorrowedFd<'_>, stat: &Stat) -> bool {
    // Such files have no blocks, and nearly all others have some, for which no call is made.
    stat.st_blocks == 0
        && fstatfs(file).is_ok_and(|system| {
            MAGIC.iter().any(|&magic| i128::from(system.f_type) & 0xffff_ffff == i128::from(magic))
        })
}

#[cfg(test)]
mod tests {
    use rustix::fs::fstat;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    fn is_pseudo_file(file: &File) -> bool {
        super::is_pseudo_file(file.as_fd(), &fstat(file).unwrap())
    }

    #[test]
    fn pseudo_files_are_detected() {
        assert!(is_pseudo_file(&File::open("/proc/self/status").unwrap()));
        if let Ok(file) = File::open("/sys/kernel/mm/transparent_hugepage/enabled") {
            assert!(is_pseudo_file(&file));
        }
        let stored = tempfile::tempfile().unwrap();
        assert!(!is_pseudo_file(&stored));
        stored.set_len(4096).unwrap();
        assert!(!is_pseudo_file(&stored), "a file without data");
    }
}
