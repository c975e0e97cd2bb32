//! The wall clock as answers and logs write it, formatted once a second and a thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use karez_http::date;

/// One second, in the forms in which it is written.
#[derive(Clone, Copy)]
pub(crate) struct Second {
    /// Seconds since 1970.
    pub(crate) unix: u64,
    /// `Mon, 23 Nov 2026 10:29:31 GMT` (RFC 9110 §5.6.7).
    pub(crate) http: [u8; 29],
}

thread_local! {
    static LAST: RefCell<Second> = const { RefCell::new(Second { unix: u64::MAX, http: [0; 29] }) };
}

/// The second that it is now.
pub(crate) fn now() -> Second {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|last| {
        if last.unix != unix {
            *last = Second { unix, http: date::format(unix) };
        }
        *last
    })
}

impl Second {
    /// Appends `23/Nov/2026:10:29:31 +0000`, the form of the Common Log Format.
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
    fn the_common_log_format_has_its_own_order() {
        let second = Second { unix: 784_111_777, http: date::format(784_111_777) };
        let mut out = Vec::new();
        second.push_common(&mut out);
        assert_eq!(out, b"06/Nov/1994:08:49:37 +0000");
    }
}
