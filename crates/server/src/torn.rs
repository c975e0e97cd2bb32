//! Torn responses: of files that were written while they were sent, so that their bytes may be of two
//! versions. The transfer notices it before the last byte ([`karez_transfer::Version`]); the connection, or
//! with HTTP/2 the stream, is reset.
//!
//! # Limitations
//!
//! Those of [`karez_transfer::Version`]. A file that is written all the time, such as a log, is sent by
//! [`Torn::Allow`] only.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

/// How a response ends whose file is written while it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Torn {
    /// The connection is reset, or with HTTP/2 the stream, before the last byte.
    #[default]
    Abort,
    /// It is sent to its end, as far as the file has the bytes.
    Allow,
}

/// Counts torn responses, and remembers the files for which one has been logged.
#[derive(Default)]
pub(crate) struct TornResponses(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    count: u64,
    hasher: RandomState,
    /// Hashes of request targets without their queries.
    files: HashSet<u64>,
}

/// With more files than this the log begins again.
const MAX_FILES: usize = 4096;

impl TornResponses {
    /// Counts a torn response to a request line. Returns the number of all, if it is the first of this file.
    pub(crate) fn count(&self, request_line: &[u8]) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        let target = request_line.split(|&byte| byte == b' ').nth(1).unwrap_or(request_line);
        let path = target.split(|&byte| byte == b'?').next().unwrap_or(target);
        let file = seen.hasher.hash_one(path);
        if seen.files.len() >= MAX_FILES {
            seen.files.clear();
        }
        seen.files.insert(file).then_some(seen.count)
    }
}

impl fmt::Debug for TornResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TornResponses").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_logged_once() {
        let torn = TornResponses::default();
        assert_eq!(torn.count(b"GET /a HTTP/1.1"), Some(1));
        assert_eq!(torn.count(b"GET /a?query HTTP/2"), None);
        assert_eq!(torn.count(b"GET /b HTTP/1.1"), Some(3));
    }
}
