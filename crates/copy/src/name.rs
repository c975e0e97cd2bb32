//! A name in an open directory, for the `…at` system calls and for error messages.

use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A name in an open directory.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    /// The path by which the directory was opened, for errors.
    pub(crate) path: &'a Path,
    pub(crate) name: &'a CStr,
}

impl Name<'_> {
    /// Returns the path for an error message.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.join(OsStr::from_bytes(self.name.to_bytes()))
    }

    /// Makes the error of a system call on this name.
    pub(crate) fn failed(&self, call: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::Call { call, path: self.path(), errno }
    }

    pub(crate) fn invalid(&self, why: &'static str) -> Error {
        Error::invalid(self.path(), why)
    }
}

/// Returns whether a source means the content of a directory and not a name: `.`, `..`, `x/..`,
/// `/`.
pub(crate) fn has_no_name(source: &Path) -> bool {
    let written = source.as_os_str().as_bytes();
    let trimmed = written.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let last = written[..trimmed].rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

/// Returns the path of the copy of `source` in the directory `target`.
pub(crate) fn name_within(source: &Path, target: &Path) -> PathBuf {
    match source.file_name() {
        Some(name) if !has_no_name(source) => target.join(name),
        _ => target.to_owned(),
    }
}
