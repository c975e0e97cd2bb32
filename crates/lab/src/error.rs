//! Errors: the operation, its object, and the reason.

use std::fmt;
use std::io;

/// A failed operation of the laboratory.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    object: String,
    why: String,
}

/// Result of most functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error from an operation, its object and the reason.
    #[must_use]
    pub fn about(
        operation: &'static str,
        object: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        Self::new(operation, object, why)
    }

    pub(crate) fn new(
        operation: &'static str,
        object: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        Self { operation, object: object.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, object, why } = self;
        if object.is_empty() {
            write!(f, "{operation}: {why}")
        } else {
            write!(f, "{operation} {object}: {why}")
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Adds the operation and its object to an error.
pub(crate) trait ErrorContext<T> {
    fn context(self, operation: &'static str, object: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> ErrorContext<T> for std::result::Result<T, E> {
    fn context(self, operation: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::new(operation, object, error))
    }
}
