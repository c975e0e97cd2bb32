//! Which bytes of a file a Range field asks for (RFC 9110 §14.1, §14.2).
//!
//! A Range may always be ignored. Malformed and hostile ones are: the response is then the whole file.
//! Ranges that overlap or touch are joined, so that no byte is sent twice (§15.3.7.2); a joined range has
//! the place of its first member, and otherwise the order of the request stays. Work and memory are
//! bounded by [`MAX_RANGES`].

use crate::decimal;

/// The most ranges of one request; with more, the whole file is sent.
pub const MAX_RANGES: usize = 64;
/// The most parts after joining; with more, the whole file is sent.
pub const MAX_PARTS: usize = 16;

/// A part of a file that has at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// The offset of the first byte.
    pub start: u64,
    /// The number of bytes.
    pub length: u64,
}

impl ByteRange {
    /// Returns the offset behind the last byte.
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Returns the offset of the last byte, as in Content-Range.
    pub const fn last(self) -> u64 {
        self.end().saturating_sub(1)
    }
}

/// The part of a file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole file, as if there were no Range: 200.
    Whole,
    /// One part: 206.
    One(ByteRange),
    /// Two parts or more: 206 in `multipart/byteranges`.
    Many(Vec<ByteRange>),
    /// The request asks for no byte of the file: 416.
    Unsatisfiable,
}

/// Evaluates the `value` of a Range field for a file of `size` bytes (RFC 9110 §14.2).
///
/// An empty file has no ranges, so the field is ignored: a 416 would turn a complete download of
/// nothing into an error, for a client that resumes (`bytes=0-`) or reads a tail (`bytes=-1`).
pub fn select(value: &[u8], size: u64) -> Selection {
    if size == 0 {
        return Selection::Whole;
    }
    let Some(specs) = bytes_unit(value) else {
        return Selection::Whole;
    };
    if memchr::memchr(b',', specs).is_none() {
        return match spec(specs.trim_ascii(), size) {
            Ok(Some(range)) => Selection::One(range),
            Ok(None) => Selection::Unsatisfiable,
            Err(Malformed) => Selection::Whole,
        };
    }
    match list(specs, size) {
        Ok(ranges) if ranges.is_empty() => Selection::Unsatisfiable,
        Ok(ranges) => {
            let parts = join(&ranges);
            match parts.as_slice() {
                [one] => Selection::One(*one),
                many if many.len() > MAX_PARTS => Selection::Whole,
                _ => Selection::Many(parts),
            }
        }
        Err(Malformed) => Selection::Whole,
    }
}

/// Returns the range set behind `bytes=`, if that is the unit.
fn bytes_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, specs) = value.split_at_checked(UNIT.len())?;
    unit.eq_ignore_ascii_case(UNIT).then_some(specs)
}

/// Returns the satisfiable ranges of a list; empty members are ignored (RFC 9110 §5.6.1.2).
fn list(specs: &[u8], size: u64) -> Result<Vec<ByteRange>, Malformed> {
    let mut ranges = Vec::new();
    let mut asked = 0;
    for member in specs.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        if member.is_empty() {
            continue;
        }
        asked += 1;
        if asked > MAX_RANGES {
            return Err(Malformed);
        }
        ranges.extend(spec(member, size)?);
    }
    if asked == 0 { Err(Malformed) } else { Ok(ranges) }
}

/// Reads one range: `first-`, `first-last` or `-suffix`; `None` if it is unsatisfiable.
fn spec(text: &[u8], size: u64) -> Result<Option<ByteRange>, Malformed> {
    let dash = memchr::memchr(b'-', text).ok_or(Malformed)?;
    let (first, last) = (&text[..dash], &text[dash + 1..]);
    if first.is_empty() {
        let length = position(last)?.min(size);
        return Ok((length > 0).then_some(ByteRange { start: size - length, length }));
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < first {
        return Err(Malformed);
    }
    if first >= size {
        return Ok(None);
    }
    let end = last.saturating_add(1).min(size);
    Ok(Some(ByteRange { start: first, length: end - first }))
}

/// Reads `1*DIGIT`. A number that does not fit is beyond the end of every file, as the largest one is.
fn position(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(decimal::parse(digits).unwrap_or(u64::MAX))
}

/// Joins ranges that overlap or touch.
fn join(ranges: &[ByteRange]) -> Vec<ByteRange> {
    let mut sorted: Vec<(usize, ByteRange)> = ranges.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(place, range)| (range.start, *place));
    let mut joined: Vec<(usize, ByteRange)> = Vec::with_capacity(sorted.len());
    for (place, range) in sorted {
        match joined.last_mut() {
            Some((first, into)) if range.start <= into.end() => {
                into.length = into.end().max(range.end()) - into.start;
                *first = place.min(*first);
            }
            _ => joined.push((place, range)),
        }
    }
    joined.sort_unstable_by_key(|(place, _)| *place);
    joined.into_iter().map(|(_, range)| range).collect()
}

/// The Range field is to be ignored.
#[derive(Debug)]
struct Malformed;

const UNIT: &[u8] = b"bytes=";
