//! Names of hosts: those that a site has, and that which a request is for (RFC 9110 §7.2).
//!
//! Names are compared as A-labels (RFC 5890 §2.3.2.1) in lower case, because that is how clients send
//! them.
//!
//! # Limitations
//!
//! An asterisk stands for one label, as in certificates (RFC 9525 §6.3). Percent-encoded hosts match no
//! name.

use std::fmt;
use std::str::FromStr;

use karez_http::{Field, Request};

/// A name of a site: a host such as `example.org`, or any host with one label more (`*.example.org`).
///
/// ```
/// let name: karez_server::HostName = "*.Bücher.example".parse()?;
/// assert_eq!(name.to_string(), "*.xn--bcher-kva.example");
/// # Ok::<(), karez_server::BadHostName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName {
    /// In lower case, without the wildcard.
    name: String,
    wildcard: bool,
}

/// A text that is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHostName(String);

impl HostName {
    /// Returns the name without a wildcard.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a label stands in front of the name.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.wildcard
    }
}

impl FromStr for HostName {
    type Err = BadHostName;

    fn from_str(text: &str) -> Result<Self, BadHostName> {
        let bad = || BadHostName(text.to_owned());
        let (rest, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if let Some(address) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| bad())?;
            let name = format!("[{address}]");
            return if wildcard { Err(bad()) } else { Ok(Self { name, wildcard }) };
        }
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let name = idna::domain_to_ascii(rest).map_err(|_| bad())?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let has_empty_label = name.split('.').any(str::is_empty);
        if has_empty_label || name.len() > LONGEST || !name.bytes().all(fits) {
            return Err(bad());
        }
        Ok(Self { name, wildcard })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.wildcard { "*." } else { "" };
        write!(f, "{wildcard}{}", self.name)
    }
}

impl fmt::Display for BadHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(f, "\"{text}\" is no host, such as example.org or *.example.org (without a port)")
    }
}

impl std::error::Error for BadHostName {}

/// Returns the authority that a request is for: that of an absolute target, which counts more than `Host`
/// (RFC 9112 §3.2.2). HTTP/1.0 may have none.
pub(crate) fn authority(request: &Request) -> Option<&[u8]> {
    let target = request.target();
    match target.first() {
        Some(b'/' | b'*') => request.value(Field::Host),
        _ => {
            let start = memchr::memmem::find(target, b"://")? + 3;
            let rest = &target[start..];
            let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
            Some(&rest[..end])
        }
    }
}

/// Returns the host of an authority, without its port.
pub(crate) fn host(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map(|at| at + 1),
        _ => memchr::memchr(b':', authority),
    };
    let host = &authority[..end.unwrap_or(authority.len())];
    host.strip_suffix(b".").unwrap_or(host)
}

/// Calls `with` with the host in lower case; `None` if it is longer than any name.
pub(crate) fn in_lower_case<T>(host: &[u8], with: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut buffer = [0; LONGEST];
    let buffer = buffer.get_mut(..host.len())?;
    buffer.copy_from_slice(host);
    buffer.make_ascii_lowercase();
    Some(with(buffer))
}

/// The longest name of a host, in bytes (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use karez_http::Version;

    #[test]
    fn names_are_compared_as_a_labels() {
        for (text, expected) in [
            ("example.org", "example.org"),
            ("EXAMPLE.org.", "example.org"),
            ("*.example.org", "*.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--bcher-KVA.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("localhost", "localhost"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), expected, "{text}");
        }
        for text in
            ["", ".", "*.", "*", "a.*.b", "example.org:80", "a/b", "a..b", "[x]", "*.[::1]", "a b"]
        {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_absolute_target_counts_more_than_the_host() {
        for (target, host, expected) in [
            ("/", "Example.org:80", "Example.org"),
            ("/", "[::1]:80", "[::1]"),
            ("/", "a.", "a"),
            ("http://b.example:8080/x?y://c", "a", "b.example"),
            ("https://b.example", "a", "b.example"),
            ("http://b.example?q", "a", "b.example"),
        ] {
            let fields = [(&b"host"[..], host.as_bytes())];
            let request =
                Request::assemble(b"GET", target.as_bytes(), Version::Http11, fields).unwrap();
            assert_eq!(super::host(authority(&request).unwrap()), expected.as_bytes());
        }
    }
}
