//! The path by which load balancers and orchestrators ask whether the server serves.
//!
//! The server answers itself, without a lookup: 200 while it serves, 503 from a stop signal on.
//!
//! # Limitations
//!
//! The answer says that an event loop runs, and nothing of the disks. An encoded form of the path (`/%68`) is
//! another path.

use std::fmt;
use std::str::FromStr;

use karez_http::target;

/// The options of the health of a server. Default: no path.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HealthOptions {
    /// The path that is answered, on every site.
    pub path: Option<HealthPath>,
    /// Whether its requests are written to the access log.
    pub log: bool,
}

/// A path such as `/healthz`.
///
/// ```
/// assert!("/healthz".parse::<karez_server::HealthPath>().is_ok());
/// assert!("healthz".parse::<karez_server::HealthPath>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPath(Box<[u8]>);

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHealthPath;

impl HealthPath {
    /// Returns whether a target has this path, with any query.
    pub(crate) fn is_of(&self, target: &[u8]) -> bool {
        let Self(path) = self;
        let rest = match target.first() {
            Some(b'/') => target.strip_prefix(&**path),
            // The absolute form (RFC 9112 §3.2.2).
            _ => path_of(target).and_then(|target| target.strip_prefix(&**path)),
        };
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'?')))
    }
}

/// Returns the path and query of an absolute target.
fn path_of(target: &[u8]) -> Option<&[u8]> {
    target::parse(target).ok()?;
    let authority = target.windows(2).position(|two| two == b"//")? + 2;
    let rest = target.get(authority..)?;
    rest.get(memchr::memchr(b'/', rest)?..)
}

impl FromStr for HealthPath {
    type Err = BadHealthPath;

    fn from_str(text: &str) -> Result<Self, BadHealthPath> {
        let is_path = text.starts_with('/') && text.len() > 1 && !text.contains('?');
        // One that is its own canonical form, so that it can be compared byte by byte.
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
        let canonical = target::parse(text.as_bytes()).is_ok_and(|parsed| {
            let slash = if parsed.directory { &b"/"[..] } else { b"" };
            [b"/", &parsed.path[..], slash].concat() == text.as_bytes()
        });
        match is_path && plain && canonical {
            true => Ok(Self(text.as_bytes().into())),
            false => Err(BadHealthPath),
        }
    }
}

impl fmt::Display for BadHealthPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no path such as /healthz: it begins with a slash, has no query, and nothing encoded",
        )
    }
}

impl std::error::Error for BadHealthPath {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_with_the_path() {
        let path: HealthPath = "/-/health".parse().unwrap();
        for (target, expected) in [
            ("/-/health", true),
            ("/-/health?full=1", true),
            ("http://a.example/-/health", true),
            ("https://[::1]:8443/-/health?a", true),
            ("/-/health/", false),
            ("/-/healthy", false),
            ("/-/%68ealth", false),
            ("/", false),
            ("*", false),
            ("", false),
            ("http://a.example", false),
            ("http:/-/health", false),
        ] {
            assert_eq!(path.is_of(target.as_bytes()), expected, "{target}");
        }
    }

    #[test]
    fn other_texts_are_no_path() {
        for text in ["", "/", "healthz", "/a b", "/a?b", "/a#b", "/a/../b", "/%61", "//a", "/ä"] {
            assert_eq!(text.parse::<HealthPath>(), Err(BadHealthPath), "{text}");
        }
        assert!("/a/".parse::<HealthPath>().is_ok());
    }
}
