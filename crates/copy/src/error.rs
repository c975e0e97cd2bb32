//! What can go wrong, with the call, its object and the errno.

use karez_transfer::Via;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something was not copied.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Call {
        /// Its name.
        call: &'static str,
        /// What it was about.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The bytes of a file stopped on their way.
    Moving {
        /// The file they come from.
        from: PathBuf,
        /// The file they were to be.
        to: PathBuf,
        /// The way that ran.
        via: Via,
        /// Where they stopped.
        at: u64,
        /// What the kernel said.
        error: io::Error,
    },
    /// The file became shorter while it was copied.
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        was: u64,
        /// Where it ended when that was reached.
        is: u64,
    },
    /// A file was copied without this attribute.
    Unkept {
        /// As [`Unkept::what`](crate::Unkept::what) has it.
        what: String,
        /// The call that failed.
        source: Box<Self>,
    },
    /// It makes no sense, or would do harm.
    Refused {
        /// What it is about.
        path: PathBuf,
        /// A sentence without its subject.
        why: &'static str,
    },
    /// The copy would replace the file that the source is, or leads to.
    SameFile {
        /// The source.
        from: PathBuf,
        /// The name that it was to be copied to.
        to: PathBuf,
    },
    /// The copy would replace a file that the same run made of another source.
    JustCreated {
        /// The source.
        from: PathBuf,
        /// The name that it was to be copied to.
        to: PathBuf,
    },
    /// A file that was written in place has only a part of its content.
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Why the copy ended.
        error: Box<Self>,
    },
    /// A file could not be replaced by a new one; [`in_place`](crate::Options::in_place) may do.
    NotReplaced {
        /// What failed.
        error: Box<Self>,
    },
    /// The observer ended it.
    Stopped,
}

impl Error {
    /// For a system call about `path`.
    pub(crate) fn of(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Call { call, path, errno }
    }

    pub(crate) fn refused(path: impl Into<PathBuf>, why: &'static str) -> Self {
        Self::Refused { path: path.into(), why }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { call, path, errno } => {
                write!(f, "{call} {path:?}: {}", io::Error::from(*errno))
            }
            Self::Moving { from, to, via, at, error } => {
                write!(f, "{via} {from:?} to {to:?} at byte {at}: {error}")
            }
            Self::CutOff { path, was, is } => {
                write!(f, "{path:?} was cut off while it was copied, from {was} bytes to {is}")
            }
            Self::Unkept { what, source } => write!(f, "{source}; copied without its {what}"),
            Self::Refused { path, why } => write!(f, "{path:?} {why}"),
            Self::SameFile { from, to } => write!(f, "{from:?} and {to:?} are the same file"),
            Self::JustCreated { from, to } => {
                write!(f, "will not overwrite just-created {to:?} with {from:?}")
            }
            Self::Incomplete { path, error } => {
                write!(f, "{error}; {path:?} was written in place and is incomplete")
            }
            Self::NotReplaced { error } => {
                write!(f, "{error}; --in-place writes into the file that is there")
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call { errno, .. } => Some(errno),
            Self::Moving { error, .. } => Some(error),
            Self::Unkept { source, .. } => source.source(),
            Self::Incomplete { error, .. } | Self::NotReplaced { error } => Some(error),
            _ => None,
        }
    }
}
