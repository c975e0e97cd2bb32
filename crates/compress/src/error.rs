//! An error of one file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What failed, for which file, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// The call.
    pub call: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The error of the call.
    pub source: io::Error,
}

impl Error {
    pub(crate) fn new(call: &'static str, path: &Path, source: io::Error) -> Self {
        Self { call, path: path.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.call, self.path, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
