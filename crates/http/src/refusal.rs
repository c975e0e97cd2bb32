//! A request that is not served: answered once, then the connection is closed.
//!
//! After a violation of the message grammar nobody can say where the next request begins
//! (RFC 9112 §9.6, §11.2), so nothing more is read from that peer.

use crate::status::Status;

/// Why a request is refused before it is looked at (RFC 9112 §2.2, §3, §6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to answer.
    pub status: Status,
    /// One short sentence for the log; it may also be shown to the peer.
    pub reason: &'static str,
    /// As much of the request line as had come, at most 8 KiB, for the log. Raw bytes.
    pub request_line: Vec<u8>,
}

/// A refusal that does not know its request line yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
}

impl Fault {
    pub(crate) const fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(Status::BadRequest, reason)
    }

    /// Completes the fault with what had come of the request line.
    pub(crate) fn on(self, head: &[u8]) -> Refusal {
        let line = head.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let request_line = line.get(..LOGGED).unwrap_or(line).to_vec();
        Refusal { status: self.status, reason: self.reason, request_line }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.code(), self.reason)
    }
}

impl std::error::Error for Refusal {}

/// How much of a request line is kept for the log.
const LOGGED: usize = 8 * 1024;
