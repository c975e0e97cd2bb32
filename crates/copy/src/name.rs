//! A name in an open directory: what the calls in `…at` are given, and how errors write it.

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
    /// How that directory was reached, for errors.
    pub(crate) path: &'a Path,
    pub(crate) name: &'a CStr,
}

impl Name<'_> {
    /// As a person would write it.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.join(OsStr::from_bytes(self.name.to_bytes()))
    }

    /// For a system call about it.
    pub(crate) fn failed(&self, call: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::Call { call, path: self.path(), errno }
    }

    pub(crate) fn refused(&self, why: &'static str) -> Error {
        Error::refused(self.path(), why)
    }
}
