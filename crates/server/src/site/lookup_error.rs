//! Errors of a lookup, by the errno of the call that failed.

use std::io;

use rustix::io::Errno;

/// Why a path leads to no file or directory.
#[derive(Debug)]
pub(super) enum LookupError {
    Missing,
    Denied,
    /// A later try may succeed.
    Busy,
    /// The call could wait for a disk, which was not allowed.
    WouldWait,
    Failed(io::Error),
}

impl LookupError {
    pub(super) fn new(operation: &str, path: &[u8], errno: Errno) -> Self {
        match errno {
            // EXDEV: the walk left the root. ENXIO, ENODEV: a socket, or a device without a
            // driver. EINVAL: a NUL in the name.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::NODEV
            | Errno::INVAL => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::INTR => Self::Busy,
            _ => Self::Failed(failure(operation, path, errno)),
        }
    }
}

/// Returns an error that names operation and object: `openat2 "a/b.txt": Input/output error (…)`.
pub(super) fn failure(operation: &str, path: &[u8], errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let path = String::from_utf8_lossy(path);
    io::Error::new(error.kind(), format!("{operation} {path:?}: {error}"))
}

/// Returns whether this error is definite: a request for the entry gets a 404 or a 403. The entry has
/// been removed, or a link dangles, loops, leaves the root, has too long a name, or passes a file or a
/// directory without search permission.
pub(super) fn is_unavailable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::ACCESS
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_is_classified() {
        let error = |errno| LookupError::new("openat2", b"a/b.txt", errno);
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::XDEV, Errno::LOOP, Errno::INVAL] {
            assert!(matches!(error(errno), LookupError::Missing), "{errno:?}");
        }
        assert!(matches!(error(Errno::ACCESS), LookupError::Denied));
        assert!(matches!(error(Errno::PERM), LookupError::Denied));
        assert!(matches!(error(Errno::MFILE), LookupError::Busy));
        assert!(matches!(error(Errno::AGAIN), LookupError::Busy));
        let LookupError::Failed(error) = error(Errno::IO) else { panic!("EIO is a failure") };
        assert_eq!(error.to_string(), "openat2 \"a/b.txt\": Input/output error (os error 5)");
    }
}
