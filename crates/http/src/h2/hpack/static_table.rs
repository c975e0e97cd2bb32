//! The static table (RFC 7541 §2.3.1, Appendix A).

/// Returns the field at an index, counted from 1.
pub(super) fn get(index: usize) -> Option<(&'static str, &'static str)> {
    TABLE.get(index.checked_sub(1)?).copied()
}

/// Returns the first index whose name is `name`, in any case.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let mut places = *OF_LENGTH.get(name.len())?;
    while places != 0 {
        let place = places.trailing_zeros() as usize;
        if name.eq_ignore_ascii_case(TABLE[place].0.as_bytes()) {
            return Some(place + 1);
        }
        places &= places - 1;
    }
    None
}

/// Returns the index of a status that has one.
pub(super) fn index_of_status(code: u16) -> Option<usize> {
    [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == code).map(|at| at + 8)
}

/// The longest name has fewer bytes.
const LENGTHS: usize = 32;

/// By the length of a name, the places in the table that have a name of this length, a bit each: a name is
/// compared with few others.
static OF_LENGTH: [u64; LENGTHS] = of_length();

const fn of_length() -> [u64; LENGTHS] {
    let mut places = [0; LENGTHS];
    let mut place = 0;
    while place < TABLE.len() {
        places[TABLE[place].0.len()] |= 1 << place;
        place += 1;
    }
    places
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
        assert_eq!(index_of(&[b'a'; 64]), None);
        for (name, _) in super::TABLE {
            let first = super::TABLE.iter().position(|known| known.0 == name);
            assert_eq!(index_of(name.to_ascii_uppercase().as_bytes()), first.map(|at| at + 1));
        }
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
