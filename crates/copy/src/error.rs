//! Errors, with the system call, its object and the errno.

use karez_transfer::Via;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a file, a directory or an attribute was not copied.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Call {
        /// The name of the system call.
        call: &'static str,
        /// Its object.
        path: PathBuf,
        /// Its errno.
        errno: Errno,
    },
    /// The transfer of a file's bytes failed.
    Transfer {
        /// The source file.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
        /// The transfer method that ran.
        via: Via,
        /// The offset at which it failed.
        at: u64,
        /// The error of the system call.
        error: io::Error,
    },
    /// The file was truncated while it was copied.
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        was: u64,
        /// The offset at which it ended.
        is: u64,
    },
    /// A file was copied without this attribute.
    Attribute {
        /// The attribute, as in [`AttributeFailure::attribute`](crate::AttributeFailure::attribute).
        attribute: String,
        /// The call that failed.
        source: Box<Self>,
    },
    /// The arguments are invalid, or the copy would destroy data.
    Invalid {
        /// The source or the destination.
        path: PathBuf,
        /// The reason, as a sentence without its subject.
        why: &'static str,
    },
    /// The copy would replace its own source.
    SameFile {
        /// The source.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
    },
    /// The copy would replace a file that the same call made from another source.
    JustCreated {
        /// The source.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
    },
    /// A file that is written in place is incomplete.
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The reason why the copy ended.
        error: Box<Self>,
    },
    /// A file could not be replaced by a new one; [`in_place`](crate::Options::in_place) may work.
    NotReplaced {
        /// The reason.
        error: Box<Self>,
    },
    /// The observer stopped the copy.
    Stopped,
}

impl Error {
    /// Returns the errno of the system call that failed, if one did.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Call { errno, .. } => Some(errno.raw_os_error()),
            Self::Transfer { error, .. } => error.raw_os_error(),
            Self::Attribute { source: error, .. }
            | Self::Incomplete { error, .. }
            | Self::NotReplaced { error } => error.raw_os_error(),
            _ => None,
        }
    }

    /// Makes the error of a system call on `path`.
    pub(crate) fn of(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Call { call, path, errno }
    }

    pub(crate) fn invalid(path: impl Into<PathBuf>, why: &'static str) -> Self {
        Self::Invalid { path: path.into(), why }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { call, path, errno } => {
                write!(f, "{call} {path:?}: {}", io::Error::from(*errno))
            }
            Self::Transfer { from, to, via, at, error } => {
                write!(f, "{via} {from:?} to {to:?} at byte {at}: {error}")
            }
            Self::Truncated { path, was, is } => {
                write!(f, "{path:?} was truncated while it was copied, from {was} bytes to {is}")
            }
            Self::Attribute { attribute, source } => {
                write!(f, "{source}; copied without its {attribute}")
            }
            Self::Invalid { path, why } => write!(f, "{path:?} {why}"),
            Self::SameFile { from, to } => write!(f, "{from:?} and {to:?} are the same file"),
            Self::JustCreated { from, to } => {
                write!(f, "will not overwrite just-created {to:?} with {from:?}")
            }
            Self::Incomplete { path, error } => {
                write!(f, "{error}; {path:?} was written in place and is incomplete")
            }
            Self::NotReplaced { error } => {
                write!(f, "{error}; --in-place writes into the existing file")
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call { errno, .. } => Some(errno),
            Self::Transfer { error, .. } => Some(error),
            Self::Attribute { source, .. } => source.source(),
            Self::Incomplete { error, .. } | Self::NotReplaced { error } => Some(error),
            _ => None,
        }
    }
}
