//! Errors of a request that cannot be served. The server responds once and closes the connection.
//!
//! After a violation of the message grammar it is unknown where the next request begins (RFC 9112 §9.6,
//! §11.2), so nothing more is read from that client.

use crate::status::Status;

/// A request that cannot be served, by its syntax or size (RFC 9112 §2.2, §3, §6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestError {
    /// The status of the response.
    pub status: Status,
    /// A short reason for the log, which may also be sent to the client.
    pub reason: &'static str,
    /// The request line as far as it was received, at most 8 KiB, for the log. Raw bytes. Empty for an
    /// error of a body, whose request has been returned.
    pub request_line: Vec<u8>,
}

/// An error without its request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
}

impl ParseError {
    pub(crate) const fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(Status::BadRequest, reason)
    }

    /// Adds the request line, as far as it was received.
    pub(crate) fn in_head(self, head: &[u8]) -> RequestError {
        let line = head.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let request_line = line.get(..MAX_LOGGED).unwrap_or(line).to_vec();
        RequestError { status: self.status, reason: self.reason, request_line }
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.code(), self.reason)
    }
}

impl std::error::Error for RequestError {}

/// The longest part of a request line that is kept for the log, in bytes.
const MAX_LOGGED: usize = 8 * 1024;
