//! The wall clock in the formats of responses and logs, formatted once per second in each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use karez_http::date;

/// One second, and its text.
#[derive(Clone, Copy)]
pub(crate) struct HttpDate {
    /// Seconds since 1970.
    pub(crate) unix: u64,
    /// `Mon, 23 Nov 2026 10:29:31 GMT` (RFC 9110 §5.6.7).
    pub(crate) http: [u8; 29],
}

thread_local! {
    static LAST: RefCell<HttpDate> = const { RefCell::new(HttpDate { unix: u64::MAX, http: [0; 29] }) };
}

/// Returns the current second.
pub(crate) fn now() -> HttpDate {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|last| {
        if last.unix != unix {
            *last = HttpDate { unix, http: date::format(unix) };
        }
        *last
    })
}

impl HttpDate {
    /// Appends `23/Nov/2026:10:29:31 +0000`, the form of the Common Log ListingFormat.
    pub(crate) fn push_common(&self, out: &mut Vec<u8>) {
        let [day, month, year, time] = [5..7, 8..11, 12..16, 17..25].map(|part| &self.http[part]);
        for part in [day, b"/", month, b"/", year, b":", time, b" +0000"] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_log_format_has_the_day_first() {
        let second = HttpDate { unix: 784_111_777, http: date::format(784_111_777) };
        let mut out = Vec::new();
        second.push_common(&mut out);
        assert_eq!(out, b"06/Nov/1994:08:49:37 +0000");
    }
}
