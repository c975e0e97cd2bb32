//! The user and password of a request: HTTP basic authentication (RFC 7617).
//!
//! # Limitations
//!
//! Bytes are compared as they are sent; the challenge asks for UTF-8.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use karez_http::Request;

/// The value of `WWW-Authenticate`.
pub(crate) const CHALLENGE: &str = "Basic realm=\"restricted\", charset=\"UTF-8\"";

/// A user and a password.
pub(crate) struct Credentials {
    /// `USER:PASSWORD`.
    text: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// Returns those of a request; `None` if it has none, or malformed ones.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let is_name = |name: &[u8]| name.eq_ignore_ascii_case(b"authorization");
        let mut values = request.fields().filter(|(name, _)| is_name(name));
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None; // it is no list
        }
        let (scheme, token) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        Self::decode(token.trim_ascii())
    }

    fn decode(token: &[u8]) -> Option<Self> {
        let text = BASE64.decode(token).ok()?;
        let colon = memchr::memchr(b':', &text)?;
        Some(Self { text, colon })
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }

    #[cfg(test)]
    pub(super) fn new(user: &[u8], password: &[u8]) -> Self {
        Self { text: [user, b":", password].concat(), colon: user.len() }
    }
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(\"{}\")", self.user().escape_ascii())
    }
}

/// With or without padding, which some clients leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use karez_http::Version;

    fn of(values: &[&str]) -> Option<(String, String)> {
        let fields = values.iter().map(|value| (&b"Authorization"[..], value.as_bytes()));
        let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
        let found = Credentials::of(&request)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some((text(found.user()), text(found.password())))
    }

    #[test]
    fn basic_credentials_are_decoded() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), pair("Aladdin", "open sesame"));
        assert_eq!(of(&["basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ"]), pair("Aladdin", "open sesame"));
        assert_eq!(of(&["Basic YTpiOmM="]), pair("a", "b:c"));
        assert_eq!(of(&["Basic Og=="]), pair("", ""));
        for value in ["", "Basic", "Basic ", "Bearer QTpi", "Basic QQ==", "Basic !", "BasicYTpi"] {
            assert_eq!(of(&[value]), None, "{value}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["Basic YTpi", "Basic YTpi"]), None);
    }
}
