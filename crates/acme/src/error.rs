//! Errors of an ACME exchange: each names the URL and the server's own words.
//!
//! # Limitations
//!
//! Words of a server are printed as it sends them, but for control characters.

use std::fmt;
use std::time::Duration;

/// A certificate could not be obtained.
#[derive(Debug)]
pub struct AcmeError {
    /// The URL of the last request; empty if there was none.
    pub(crate) url: String,
    pub(crate) text: String,
    pub(crate) kind: Failure,
    /// The time that the server asks to wait (RFC 9110 §10.2.3).
    pub(crate) retry_after: Option<Duration>,
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server does not answer, or answers with an error of its own.
    Unavailable,
    /// The server refuses.
    Refused,
    /// The server could not check the challenge.
    NotValidated,
    /// The server does not know the account any more.
    NoAccount,
}

impl AcmeError {
    pub(crate) fn new(kind: Failure, url: &str, text: impl Into<String>) -> Self {
        Self { url: url.to_owned(), text: text.into(), kind, retry_after: None }
    }

    /// Returns the URL of the request that failed; empty if there was none.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.url.is_empty() {
            write!(f, "{}: ", self.url)?;
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        f.write_str(&self.text.chars().map(printable).collect::<String>())
    }
}

impl std::error::Error for AcmeError {}
