//! The URL of an ACME server's directory (RFC 8555 §7.1.1).
//!
//! # Limitations
//!
//! HTTPS only, as RFC 8555 §6.1 demands.

use std::fmt;
use std::str::FromStr;
use ureq::http::Uri;

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The URL of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUrl(String);

/// A text is no URL with `https` and a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUrl;

impl DirectoryUrl {
    /// Returns the URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DirectoryUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let has_host = url.host().is_some_and(|host| !host.is_empty());
        if url.scheme_str() == Some("https") && has_host {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUrl)
        }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a URL that begins with https:// and a host")
    }
}

impl std::error::Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_with_a_host_is_accepted() {
        for url in [LETS_ENCRYPT, "https://127.0.0.1:14000/dir", "https://[::1]:1/", "https://ca"] {
            assert!(url.parse::<DirectoryUrl>().is_ok(), "{url}");
        }
        for url in [
            "",
            "ca.example/dir",
            "http://ca.example/dir",
            "https://",
            "https:///dir",
            "https://a b/",
            "/dir",
        ] {
            assert_eq!(url.parse::<DirectoryUrl>(), Err(InvalidUrl), "{url}");
        }
    }
}
