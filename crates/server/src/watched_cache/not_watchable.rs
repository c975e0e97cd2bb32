//! Why a file cannot be kept by inotify. The caller confirms such a file by one statx(2) per
//! request, and may report the reason.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{CWD, readlinkat};
use rustix::io::Errno;

/// A refusal: the reason, and the file or directory that it applies to.
#[derive(Debug)]
pub(crate) struct NotWatchable {
    reason: Reason,
    at: PathBuf,
}

/// The reasons of a refusal.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum Reason {
    /// A path is not absolute, so its meaning depends on more than the directories on it.
    Relative,
    /// A path leads to a directory or a special file, where a regular file is expected.
    NotAFile,
    /// A path leads to another file than the descriptor, or to none.
    Replaced,
    /// A path that is expected to lead to nothing leads to something.
    Present,
    /// Events arrived between the first look at the files and the last.
    Changing,
    /// A path leads through more symbolic links than the kernel follows.
    TooManyLinks,
    /// The file system, by its number in statfs(2), may change without an event.
    FileSystem(u64),
    /// The directory compares names without regard to case, by Unicode's tables.
    CaseFolded,
    /// The file has several hard links on an overlay, which may give each an inode of its own.
    SeveralLinks,
    /// The kernel does not number mounts (`STATX_MNT_ID`, Linux 5.8).
    MountUnknown,
    /// The cache's own bounds are reached.
    Full,
    /// All watches of the user are in use (`/proc/sys/fs/inotify/max_user_watches`).
    NoWatchLeft,
    /// The process may not read a directory (a watch needs that), or not search it.
    Denied,
    /// A system call failed.
    System { operation: &'static str, errno: Errno },
    /// The caller could not make the value.
    Value(io::Error),
}

impl NotWatchable {
    pub(super) fn new(reason: Reason, at: &[u8]) -> Self {
        Self { reason, at: PathBuf::from(OsStr::from_bytes(at)) }
    }

    /// Names the file of a descriptor.
    pub(super) fn of(reason: Reason, fd: BorrowedFd<'_>) -> Self {
        let path = readlinkat(CWD, proc_path(fd), Vec::new());
        Self::new(reason, path.as_ref().map_or(b"", |path| path.as_bytes()))
    }

    /// Names the system call that failed on the file of a descriptor.
    pub(super) fn system(operation: &'static str, errno: Errno, fd: BorrowedFd<'_>) -> Self {
        let reason = match errno {
            Errno::ACCESS | Errno::PERM => Reason::Denied,
            Errno::NOSPC => Reason::NoWatchLeft,
            errno => Reason::System { operation, errno },
        };
        Self::of(reason, fd)
    }

    /// Returns the reason.
    pub(crate) fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns the path of the file or directory that the reason applies to.
    #[cfg(test)]
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Returns whether the next attempt is likely to end in the same way, so that the caller should
    /// make none for some time.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self.reason, Reason::Replaced | Reason::Present | Reason::Changing)
    }

    /// Returns the number of the error, where a system call failed.
    #[cfg(test)]
    pub(crate) fn raw_os_error(&self) -> Option<i32> {
        match &self.reason {
            Reason::NoWatchLeft => Some(Errno::NOSPC.raw_os_error()),
            Reason::Denied => Some(Errno::ACCESS.raw_os_error()),
            Reason::System { errno, .. } => Some(errno.raw_os_error()),
            Reason::Value(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for NotWatchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::System { operation, errno } => {
                write!(f, "{operation} {:?}: {}", self.at, io::Error::from(*errno))
            }
            reason => write!(f, "{:?}: {reason}", self.at),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "the path is not absolute",
            Self::NotAFile => "not a regular file",
            Self::Replaced => "the path does not lead to the open file",
            Self::Present => "a name that should be absent is present",
            Self::Changing => "it keeps changing",
            Self::TooManyLinks => "too many symbolic links",
            Self::FileSystem(magic) => return write!(f, "no events on file system {magic:#x}"),
            Self::CaseFolded => "the directory ignores the case of names",
            Self::SeveralLinks => "several hard links on an overlay",
            Self::MountUnknown => "the kernel does not number mounts",
            Self::Full => "the cache of watched files is full",
            Self::NoWatchLeft => "inotify_add_watch: max_user_watches is reached",
            Self::Denied => "the directory may not be read",
            Self::System { operation, errno } => {
                return write!(f, "{operation}: {}", io::Error::from(*errno));
            }
            Self::Value(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for NotWatchable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Value(error) => Some(error),
            _ => None,
        }
    }
}

/// Returns the link by which the kernel finds the inode of a descriptor.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_refusal_names_its_object_and_keeps_the_errno() {
        let directory = std::fs::File::open("/proc").unwrap();
        let refusal = NotWatchable::system("inotify_add_watch", Errno::NOSPC, directory.as_fd());
        assert_eq!(refusal.at(), Path::new("/proc"));
        assert_eq!(refusal.raw_os_error(), Some(28));
        assert!(refusal.is_lasting());
        assert_eq!(
            refusal.to_string(),
            "\"/proc\": inotify_add_watch: max_user_watches is reached"
        );
        let refusal = NotWatchable::system("statx", Errno::IO, directory.as_fd());
        assert_eq!(refusal.to_string(), "statx \"/proc\": Input/output error (os error 5)");
        assert!(!NotWatchable::new(Reason::Changing, b"/x").is_lasting());
    }
}
