//! Which names of file systems in the mount table are those of remote ones, which ask another host or a
//! process of this host (FUSE), and so may never answer. By statfs(2): [`karez_transfer::is_remote`].
//!
//! # Limitations
//!
//! The table lists known file systems. A remote one that is missing is taken for a local disk.

/// Returns whether the file system with this name in the mount table is remote.
pub(super) fn is_remote_type(name: &[u8]) -> bool {
    REMOTE.contains(&name) || name.starts_with(b"fuse.")
}

/// Remote file systems by their names in the mount table. Those of FUSE may have the name of the program
/// behind a dot.
const REMOTE: [&[u8]; 22] = [
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"smbfs",
    b"ncpfs",
    b"9p",
    b"ceph",
    b"afs",
    b"coda",
    b"lustre",
    b"gpfs",
    b"beegfs",
    b"orangefs",
    b"pvfs2",
    b"vboxsf",
    b"prl_fs",
    b"virtiofs",
    b"autofs",
    b"fuse",
    b"fuseblk",
    b"fuse_io_uring",
];
