//! Files whose content the kernel makes as they are read: proc(5), sysfs(5) and their like. Their
//! size says nothing (0, or a page), so only a read tells where they end.
//!
//! # Limitations
//! The file systems are a list (linux/magic.h). A file of FUSE that has less than it says is taken
//! for one that was cut off.

use rustix::fs::{Stat, fstatfs};
use std::os::fd::BorrowedFd;

/// The file systems of the kernel that have no storage.
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

/// Whether an open file is one of those, which is decided once, when it is opened: a size that is
/// looked at later may be that of a file which was cut off and written anew.
pub(crate) fn is_generated(file: BorrowedFd<'_>, stat: &Stat) -> bool {
    // None has blocks, and nearly all other files have some: most cost no call.
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

    fn is_generated(file: &File) -> bool {
        super::is_generated(file.as_fd(), &fstat(file).unwrap())
    }

    #[test]
    fn files_of_the_kernel_are_told_from_stored_ones() {
        assert!(is_generated(&File::open("/proc/self/status").unwrap()));
        if let Ok(file) = File::open("/sys/kernel/mm/transparent_hugepage/enabled") {
            assert!(is_generated(&file));
        }
        let stored = tempfile::tempfile().unwrap();
        assert!(!is_generated(&stored));
        stored.set_len(4096).unwrap();
        assert!(!is_generated(&stored), "a file of nothing but a hole");
    }
}
