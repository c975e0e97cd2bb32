//! The names that a certificate can be obtained for: RFC 8555 §7.1.4, RFC 5280 §4.2.1.6.
//!
//! # Limitations
//!
//! Whether the authority issues certificates for a name is only known when it is asked.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A DNS name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

/// Why a text is not such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidName {
    /// It is an IP address.
    Address,
    /// It begins with `*.`.
    Wildcard,
    /// It is not ASCII.
    NotAscii,
    /// It is no DNS name.
    Malformed,
}

impl DnsName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(InvalidName::Address);
        }
        if text.starts_with("*.") {
            return Err(InvalidName::Wildcard);
        }
        if !text.is_ascii() {
            return Err(InvalidName::NotAscii);
        }
        match rustls_pki_types::DnsName::try_from(text) {
            // A name in a certificate has no dot at its end.
            Ok(_) if !text.ends_with('.') => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(InvalidName::Malformed),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "an IP address; certificates are obtained for DNS names only",
            Self::Wildcard => "wildcards need the challenge dns-01, which is not supported",
            Self::NotAscii => "not ASCII; write international names in their form xn--…",
            Self::Malformed => "not a DNS name",
        })
    }
}

impl std::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_put_into_lower_case() {
        let valid = ["a.example", "localhost", "xn--bcher-kva.example", "a-b.c_d.example"];
        for name in valid {
            assert_eq!(name.parse::<DnsName>().map(|name| name.to_string()).as_deref(), Ok(name));
        }
        assert_eq!(
            "WWW.Example".parse::<DnsName>().map(|name| name.0).as_deref(),
            Ok("www.example")
        );
        let long = format!("{}.example", "a".repeat(64));
        for (name, error) in [
            ("192.0.2.1", InvalidName::Address),
            ("2001:db8::1", InvalidName::Address),
            ("[2001:db8::1]", InvalidName::Address),
            ("*.example", InvalidName::Wildcard),
            ("bücher.example", InvalidName::NotAscii),
            ("a.example.", InvalidName::Malformed),
            ("", InvalidName::Malformed),
            (".", InvalidName::Malformed),
            ("..", InvalidName::Malformed),
            ("a..example", InvalidName::Malformed),
            ("a/b.example", InvalidName::Malformed),
            ("a.example:443", InvalidName::Malformed),
            ("https://a.example", InvalidName::Malformed),
            ("a b", InvalidName::Malformed),
            (&long, InvalidName::Malformed),
        ] {
            assert_eq!(name.parse::<DnsName>(), Err(error), "{name}");
        }
    }
}
