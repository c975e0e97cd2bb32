//! Entity tags, made from the attributes of a file (statx(2)) and compared by RFC 9110 §8.8.3.
//!
//! Three forms, in hexadecimal: `"<modified>-<size>"` is the same for every copy of a file that keeps
//! its time; `"<modified>-<size>-<changed>-<inode>"` is that of one inode between two changes, as
//! nothing but the kernel's clock sets the change time; `"<hash>"` is that of a content, or of all that a
//! representation of many files depends on. Each content coding has its own tag (§8.8.3.3), hence the suffix.
//!
//! # Limitations
//!
//! A tag is as precise as the clock of the file system: two versions within one tick have the same times,
//! so the caller must give such a file no tag.

/// A point in time, as a file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970; negative before.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The tag of one representation, a strong one; it lives on the stack (RFC 9110 §8.8.3).
#[derive(Clone, Copy)]
pub struct EntityTag {
    text: [u8; CAPACITY],
    length: u8,
}

impl EntityTag {
    /// Returns the tag that all copies of a file share which are of `size` bytes and were modified
    /// at this time, under a content coding whose `suffix` is at most eight alphanumeric bytes (the
    /// rest is left out).
    pub fn shared(size: u64, modified: Timestamp, suffix: Option<&str>) -> Self {
        let mut tag = Self::begin(size, modified);
        tag.end(suffix);
        tag
    }

    /// Returns the tag of one file on this host, which also depends on its change time and on a number
    /// for its inode.
    pub fn local(
        size: u64,
        modified: Timestamp,
        changed: Timestamp,
        inode: u64,
        suffix: Option<&str>,
    ) -> Self {
        let mut tag = Self::begin(size, modified);
        tag.push(b'-');
        tag.time(changed);
        tag.push(b'-');
        tag.hexadecimal(inode, 1);
        tag.end(suffix);
        tag
    }

    /// Returns the tag of every file with this content, by a hash of that with 256 bits.
    pub fn content(hash: &[u8; 32], suffix: Option<&str>) -> Self {
        let mut tag = Self { text: [0; CAPACITY], length: 0 };
        tag.push(b'"');
        hash.iter().for_each(|byte| tag.hexadecimal((*byte).into(), 2));
        tag.end(suffix);
        tag
    }

    /// Returns the tag of a representation that is made of many files: a digest of all that it depends on.
    pub fn digest(digest: [u64; 2], suffix: &str) -> Self {
        let mut tag = Self { text: [0; CAPACITY], length: 0 };
        tag.push(b'"');
        digest.into_iter().for_each(|half| tag.hexadecimal(half, 16));
        tag.end(Some(suffix));
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

    /// Returns whether a received tag is equal by strong comparison (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, received: &[u8]) -> bool {
        self.as_bytes() == received
    }

    /// Returns whether a received tag is equal by weak comparison (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, received: &[u8]) -> bool {
        self.as_bytes() == opaque(received)
    }

    fn begin(size: u64, modified: Timestamp) -> Self {
        let mut tag = Self { text: [0; CAPACITY], length: 0 };
        tag.push(b'"');
        tag.time(modified);
        tag.push(b'-');
        tag.hexadecimal(size, 1);
        tag
    }

    fn end(&mut self, suffix: Option<&str>) {
        if let Some(suffix) = suffix {
            self.push(b'-');
            suffix.bytes().filter(u8::is_ascii_alphanumeric).take(8).for_each(|b| self.push(b));
        }
        self.push(b'"');
    }

    fn time(&mut self, time: Timestamp) {
        self.hexadecimal(time.seconds.cast_unsigned(), 1);
        self.hexadecimal(u64::from(time.nanoseconds), 8);
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
/// Malformed members are skipped up to the next comma (RFC 9110 §5.6.1).
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

/// Two quotes, time, size, time, inode and suffix, with `-` between them.
const CAPACITY: usize = 2 + 24 + 1 + 16 + 1 + 24 + 1 + 16 + 1 + 8;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::{EntityTag, Timestamp, tags};

    fn time(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp { seconds, nanoseconds }
    }

    #[test]
    fn texts() {
        let plain = EntityTag::shared(0x1234, time(0x6500_0000, 0xff), None);
        assert_eq!(plain.as_str(), "\"65000000000000ff-1234\"");
        let coded = EntityTag::shared(0, time(0, 0), Some("zst"));
        assert_eq!(coded.as_str(), "\"000000000-0-zst\"");
        let local = EntityTag::local(0x1234, time(1, 2), time(3, 4), 0xabc, Some("br"));
        assert_eq!(local.as_str(), "\"100000002-1234-300000004-abc-br\"");
        let digest = EntityTag::digest([0xab, 1], "tar");
        assert_eq!(digest.as_str(), format!("\"{:032x}-tar\"", 0xab_u128 << 64 | 1));
        let never = time(-1, u32::MAX);
        let longest = EntityTag::local(u64::MAX, never, never, u64::MAX, Some("12345678\"\r\n9"));
        let mut hash = [0xff; 32];
        hash[0] = 1;
        let content = EntityTag::content(&hash, Some("12345678"));
        assert_eq!(content.as_str(), format!("\"01{}-12345678\"", "f".repeat(62)));
        let (time, number) = ("f".repeat(24), "f".repeat(16));
        assert_eq!(longest.as_str(), format!("\"{time}-{number}-{time}-{number}-12345678\""));
    }

    #[test]
    fn comparisons() {
        // RFC 9110 §8.8.3.2, as far as ours are strong: theirs, strong, weak.
        let tag = EntityTag::shared(1, time(1, 0), None);
        let weak = format!("W/{}", tag.as_str());
        for (theirs, strongly, weakly) in [
            (tag.as_bytes(), true, true),
            (weak.as_bytes(), false, true),
            (b"\"2\"".as_slice(), false, false),
            (b"W/\"2\"", false, false),
        ] {
            assert_eq!(tag.strong_eq(theirs), strongly, "{}", theirs.escape_ascii());
            assert_eq!(tag.weak_eq(theirs), weakly, "{}", theirs.escape_ascii());
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
