//! The static table (RFC 7541 §2.3.1, Appendix A).

/// Returns the field at an index, counted from 1.
pub(super) fn get(index: usize) -> Option<(&'static str, &'static str)> {
    TABLE.get(index.checked_sub(1)?).copied()
}

/// Returns the first index whose name is `name`, in any case.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let same = |(known, _): &(&str, &str)| {
        known.len() == name.len() && name.eq_ignore_ascii_case(known.as_bytes())
    };
    TABLE.iter().position(same).map(|place| place + 1)
}

/// Returns the index of a status that has one.
pub(super) fn index_of_status(code: u16) -> Option<usize> {
    [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == code).map(|at| at + 8)
}

/// How many fields there are.
pub(super) const LENGTH: usize = TABLE.len();

const TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::{get, index_of, index_of_status};

    #[test]
    fn indices_are_counted_from_one() {
        assert_eq!(get(0), None);
        assert_eq!(get(1), Some((":authority", "")));
        assert_eq!(get(61), Some(("www-authenticate", "")));
        assert_eq!(get(62), None);
        assert_eq!(index_of(b"Content-Length"), Some(28));
        assert_eq!(index_of(b"content-lengths"), None);
    }

    #[test]
    fn statuses_are_where_the_table_has_them() {
        for code in 100..600 {
            let known = index_of_status(code).map(|index| get(index).unwrap());
            let expected = (8..=14).map(|index| get(index).unwrap());
            let expected = expected.into_iter().find(|(_, value)| *value == code.to_string());
            assert_eq!(known, expected);
        }
    }
}
