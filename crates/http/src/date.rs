//! Dates in fields (RFC 9110 §5.6.7), as seconds since 1970.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

/// Returns the IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`. Dates after the year 9999 become its last second.
pub fn format(unix_seconds: u64) -> [u8; 29] {
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST));
    // The text is always 29 bytes long; if not, it would be cut.
    let _ = write!(text.as_mut_slice(), "{}", HttpDate::from(time));
    text
}

/// Reads a date in any of the three formats (RFC 9110 §5.6.7).
pub fn parse(text: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::{LAST, format, parse};

    #[test]
    fn formats() {
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format(LAST), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(format(u64::MAX), format(LAST));
    }

    #[test]
    fn parses_three_formats_and_nothing_else() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 2021 00:00:00 GMT",
            "Mon, 06 Nov 1994 25:00:00 GMT",
            "784111777",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff"), None);
    }
}
