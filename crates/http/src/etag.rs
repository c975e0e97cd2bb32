//! Entity tags: made from what `stat` says, compared as RFC 9110 §8.8.3 wants it.
//!
//! `"<seconds><nanoseconds>-<size>"` in hexadecimal. Strong means byte for byte, but a file that is
//! written twice within one tick of the clock keeps its time: such a young one is for the caller
//! to call weak. Each content coding has its own tag (§8.8.3.3), hence the suffix.

/// The tag of one representation; it lives on the stack (RFC 9110 §8.8.3).
#[derive(Clone, Copy)]
pub struct EntityTag {
    text: [u8; CAPACITY],
    length: u8,
    weak: bool,
}

impl EntityTag {
    /// The tag of a file of `size` bytes, modified at the given time, under a content coding
    /// whose `suffix` is at most eight letters or digits (the rest is left out).
    pub fn new(
        size: u64,
        seconds: i64,
        nanoseconds: u32,
        weak: bool,
        suffix: Option<&str>,
    ) -> Self {
        let mut tag = Self { text: [0; CAPACITY], length: 0, weak };
        if weak {
            tag.push(b'W');
            tag.push(b'/');
        }
        tag.push(b'"');
        tag.hexadecimal(seconds.cast_unsigned(), 1);
        tag.hexadecimal(u64::from(nanoseconds), 8);
        tag.push(b'-');
        tag.hexadecimal(size, 1);
        if let Some(suffix) = suffix {
            tag.push(b'-');
            suffix.bytes().filter(u8::is_ascii_alphanumeric).take(8).for_each(|b| tag.push(b));
        }
        tag.push(b'"');
        tag
    }

    /// The field value, quotes included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    /// The field value, quotes included.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether it is a weak one.
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// Strong comparison with one tag as it was received (RFC 9110 §8.8.3.2).
    pub fn is_strongly(&self, received: &[u8]) -> bool {
        !self.weak && self.as_bytes() == received
    }

    /// Weak comparison with one tag as it was received (RFC 9110 §8.8.3.2).
    pub fn is_weakly(&self, received: &[u8]) -> bool {
        opaque(self.as_bytes()) == opaque(received)
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }

    fn hexadecimal(&mut self, number: u64, least: u32) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(least);
        for place in (0..digits).rev() {
            self.push(DIGITS[(number >> (4 * place) & 15) as usize]);
        }
    }
}

impl PartialEq for EntityTag {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EntityTag {}

impl std::fmt::Debug for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tags of a list, quotes and `W/` included; commas inside of quotes do not part them.
///
/// What is not a tag is passed over up to the next comma (RFC 9110 §5.6.1).
pub fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return None;
            }
            let end = tag_length(rest);
            let (tag, after) = rest.split_at(end.unwrap_or(0));
            let comma = memchr::memchr(b',', after).unwrap_or(after.len());
            rest = after.get(comma + 1..).unwrap_or_default();
            if end.is_some() && after[..comma].trim_ascii().is_empty() {
                return Some(tag);
            }
        }
    })
}

/// How long the tag is that `text` begins with.
fn tag_length(text: &[u8]) -> Option<usize> {
    let prefix = if text.starts_with(b"W/") { 2 } else { 0 };
    let inner = text[prefix..].strip_prefix(b"\"")?;
    let length = inner.iter().position(|b| *b == b'"' || *b <= b' ' || *b == 0x7f)?;
    (inner[length] == b'"').then_some(prefix + length + 2)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// `W/`, two quotes, time, `-`, size, `-`, suffix.
const CAPACITY: usize = 2 + 2 + 24 + 1 + 16 + 1 + 8;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::{EntityTag, tags};

    #[test]
    fn texts() {
        let plain = EntityTag::new(0x1234, 0x6500_0000, 0xff, false, None);
        assert_eq!(plain.as_str(), "\"65000000000000ff-1234\"");
        let coded = EntityTag::new(0, 0, 0, true, Some("zst"));
        assert_eq!(coded.as_str(), "W/\"000000000-0-zst\"");
        let longest = EntityTag::new(u64::MAX, -1, u32::MAX, true, Some("12345678\"\r\n9"));
        assert_eq!(longest.as_str(), "W/\"ffffffffffffffffffffffff-ffffffffffffffff-12345678\"");
    }

    #[test]
    fn comparisons() {
        // RFC 9110 §8.8.3.2, as a table: ours, theirs, strong, weak.
        let strong = EntityTag::new(1, 1, 0, false, None);
        let weak = EntityTag::new(1, 1, 0, true, None);
        let (one, weak_one) = (strong.as_bytes(), weak.as_bytes());
        for (ours, theirs, strongly, weakly) in [
            (weak, weak_one, false, true),
            (weak, one, false, true),
            (strong, weak_one, false, true),
            (strong, one, true, true),
            (strong, b"\"2\"".as_slice(), false, false),
        ] {
            assert_eq!(ours.is_strongly(theirs), strongly, "{ours:?}");
            assert_eq!(ours.is_weakly(theirs), weakly, "{ours:?}");
        }
    }

    #[test]
    fn lists() {
        for (list, expected) in [
            ("\"a\"", vec!["\"a\""]),
            ("\"a\", W/\"b\",\"c\"", vec!["\"a\"", "W/\"b\"", "\"c\""]),
            ("\"a,b\" , \"c\"", vec!["\"a,b\"", "\"c\""]),
            (",, \"a\" ,", vec!["\"a\""]),
            ("a, \"b\"", vec!["\"b\""]),
            ("\"a\"x, \"b\"", vec!["\"b\""]),
            ("\"a b\", \"c\"", vec!["\"c\""]),
            ("w/\"a\"", vec![]),
            ("\"unclosed", vec![]),
            ("\"\"", vec!["\"\""]),
            ("*", vec![]),
            ("", vec![]),
        ] {
            let found: Vec<_> = tags(list.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|tag| tag.as_bytes()).collect();
            assert_eq!(found, expected, "{list}");
        }
    }
}
