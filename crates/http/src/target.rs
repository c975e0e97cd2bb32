//! Request targets to paths, and paths back to targets (RFC 9112 §3.2, RFC 3986 §5.2.4).
//!
//! The order of the steps makes it safe: split at `/`, decode each segment exactly once, and only then
//! check for dots. So `%2e%2e` climbs like `..`, `%252e` is a name, and an encoded `/` or NUL, which no
//! name can hold, is refused. The path that comes out has no `.`, `..` or empty segment.

use std::ops::Range;

use crate::authority;
use crate::buffers;

/// Where a request points to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The decoded path, relative to the root: segments joined by `/`, none of them empty, `.` or
    /// `..`. Empty for the root itself. Any bytes but NUL.
    pub path: Vec<u8>,
    /// Whether it ended like a directory: in `/`, `/.` or `/..`.
    pub directory: bool,
    /// Where the query stands in the target, without its `?`; not decoded.
    pub query: Option<Range<usize>>,
}

/// Why a target is refused; each of them is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadTarget {
    /// It begins with neither `/` nor `http://` nor `https://`.
    Form,
    /// The authority is empty or malformed, or holds user information (RFC 9110 §4.2.4).
    Authority,
    /// A `#`: fragments are never sent (RFC 9110 §4.2.5).
    Fragment,
    /// A `%` without two hexadecimal digits (RFC 3986 §2.1).
    Escape,
    /// A NUL or an encoded `/` inside of a segment.
    Separator,
    /// A control byte that was not encoded.
    Control,
    /// `..` above the root.
    Climb,
}

/// Reads the target of a request for something that has a path (RFC 9112 §3.2): the origin form
/// or the absolute one. The other two, `*` and an authority alone, are for OPTIONS and CONNECT.
///
/// ```
/// let target = karez_http::target::parse(b"/a%20b/./c/?q")?;
/// assert_eq!(target.path, b"a b/c");
/// assert!(target.directory);
/// # Ok::<(), karez_http::target::BadTarget>(())
/// ```
///
/// # Errors
///
/// A [`BadTarget`] if the target does not name a path beneath the root.
pub fn parse(target: &[u8]) -> Result<Target, BadTarget> {
    for byte in target {
        match byte {
            b'#' => return Err(BadTarget::Fragment),
            0..=b' ' | 0x7f => return Err(BadTarget::Control),
            _ => {}
        }
    }
    let begin = match target.first() {
        Some(b'/') => 0,
        _ => path_of_absolute(target)?,
    };
    let question = memchr::memchr(b'?', &target[begin..]).map(|found| begin + found);
    let end = question.unwrap_or(target.len());
    let query = question.map(|at| at + 1..target.len());
    let mut result = Target { query, path: buffers::take(), directory: false };
    resolve(&target[begin..end], &mut result)?;
    Ok(result)
}

/// Appends `path`, percent-encoded for a Location field or a link (RFC 3986 §3.3).
///
/// `/` stays, and so do unreserved bytes and the sub-delimiters that are safe in HTML as well.
pub fn encode_path(path: &[u8], out: &mut Vec<u8>) {
    out.reserve(path.len());
    for byte in path {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b'!'
            | b'$'
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'='
            | b'@' => out.push(*byte),
            _ => {
                let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(*byte)]);
            }
        }
    }
}

/// Returns a relative reference (RFC 3986 §4.2) to the directory `path`, for a request for `path`
/// without its slash: `/a/b` leads to `b/`, with the `query` as it came.
///
/// It holds behind a proxy that strips a prefix of the path, or that has another scheme or
/// authority. No name can make more of it than a name: neither a scheme (`:` is encoded), nor an
/// authority or another directory (`/` and `\` are), nor a query or fragment.
///
/// ```
/// let location = karez_http::target::directory_reference(b"a/x:y", Some(b"q=1"));
/// assert_eq!(location, b"x%3Ay/?q=1");
/// ```
pub fn directory_reference(path: &[u8], query: Option<&[u8]>) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // Without a name a slash alone would lead to the root of the authority.
    let mut out = if name.is_empty() { b".".to_vec() } else { Vec::new() };
    encode_path(name, &mut out);
    out.push(b'/');
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out
}

impl std::fmt::Display for BadTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "the target is not a path",
            Self::Authority => "malformed authority in the target",
            Self::Fragment => "a fragment in the target",
            Self::Escape => "a malformed escape in the target",
            Self::Separator => "an encoded slash or NUL in the target",
            Self::Control => "a control byte in the target",
            Self::Climb => "the target climbs above the root",
        })
    }
}

impl std::error::Error for BadTarget {}

/// Where the path begins in the absolute form (RFC 9112 §3.2.2). One server has one site, so the
/// authority has to be valid and is not looked at any further.
fn path_of_absolute(target: &[u8]) -> Result<usize, BadTarget> {
    let starts = |scheme: &&[u8]| {
        target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let scheme = schemes.iter().find(|scheme| starts(scheme)).ok_or(BadTarget::Form)?;
    let rest = &target[scheme.len()..];
    let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if !authority::is_valid(&rest[..length]) {
        return Err(BadTarget::Authority);
    }
    Ok(scheme.len() + length)
}

fn resolve(path: &[u8], result: &mut Target) -> Result<(), BadTarget> {
    let out = &mut result.path;
    out.reserve(path.len());
    result.directory = true;
    for segment in path.split(|b| *b == b'/') {
        let before = out.len();
        if before > 0 && !segment.is_empty() {
            out.push(b'/');
        }
        let begin = out.len();
        decode(segment, out)?;
        result.directory = true;
        match &out[begin..] {
            b"" | b"." => out.truncate(before),
            b".." if before == 0 => return Err(BadTarget::Climb),
            b".." => {
                let parent = memchr::memrchr(b'/', &out[..before]).unwrap_or(0);
                out.truncate(parent);
            }
            _ => result.directory = false,
        }
    }
    Ok(())
}

fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), BadTarget> {
    let mut rest = segment;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        let digit = |at: usize| escape.get(at).and_then(|b| char::from(*b).to_digit(16));
        let (Some(high), Some(low)) = (digit(1), digit(2)) else {
            return Err(BadTarget::Escape);
        };
        let byte = u8::try_from(high << 4 | low).map_err(|_| BadTarget::Escape)?;
        if matches!(byte, 0 | b'/') {
            return Err(BadTarget::Separator);
        }
        out.extend_from_slice(plain);
        out.push(byte);
        rest = &escape[3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
