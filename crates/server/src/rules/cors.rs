//! Access by scripts of other origins (CORS, Fetch §3.2): `*`, or a list of origins. Preflight requests are
//! answered without a lookup.
//!
//! One origin, or `*`, is a field like any other. Of several, the response names that of the request, and
//! `Vary: Origin` keeps caches from mixing them up.
//!
//! # Limitations
//!
//! No credentials: the server has no sessions.

use std::str::FromStr;

use karez_http::Request;

use super::field::FieldRule;

/// An origin whose scripts may read responses: `*`, or such as `https://example.org:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsOrigin(String);

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        let is_origin = |host: &str| !host.is_empty() && host.bytes().all(fits);
        match text == "*" || host.is_some_and(is_origin) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err("expected * or an origin such as https://example.org".to_owned()),
        }
    }
}

/// The rules for other origins.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<CorsOrigin>,
}

impl Cors {
    pub(super) fn new(origins: &[CorsOrigin]) -> Option<Self> {
        let all = origins.iter().find(|origin| origin.0 == "*");
        let origins = all.map_or_else(|| origins.to_vec(), |all| vec![all.clone()]);
        (!origins.is_empty()).then_some(Self { origins })
    }

    /// Returns the fields that are the same for each request.
    pub(super) fn fields(&self) -> Vec<FieldRule> {
        let one = match &self.origins[..] {
            [origin] => FieldRule::set("**", "Access-Control-Allow-Origin", &origin.0),
            _ => FieldRule::add("**", "Vary", "Origin"),
        };
        let exposed = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag";
        let exposed = FieldRule::set("**", "Access-Control-Expose-Headers", exposed);
        [one, exposed].into_iter().flatten().collect()
    }

    /// Returns the origin to name in the response to a request, if that depends on the request.
    pub(crate) fn origin(&self, request: &Request) -> Option<&str> {
        if self.origins.len() < 2 {
            return None;
        }
        let origin = field(request, b"origin")?;
        let known = self.origins.iter().find(|it| it.0.as_bytes().eq_ignore_ascii_case(origin));
        known.map(|origin| origin.0.as_str())
    }

    /// Returns the names of the fields that a preflight request asks to send; `None` if it is none.
    pub(crate) fn preflight<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        field(request, b"origin")?;
        field(request, b"access-control-request-method")?;
        Some(field(request, b"access-control-request-headers").unwrap_or_default())
    }
}

fn field<'a>(request: &'a Request, name: &[u8]) -> Option<&'a [u8]> {
    request.fields().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        for origin in ["*", "https://a.example", "http://localhost:8080", "https://[::1]:1"] {
            origin.parse::<CorsOrigin>().unwrap();
        }
        for origin in ["", "a.example", "https://", "https://a/", "null", "https://a b", "ftp://a"]
        {
            assert!(origin.parse::<CorsOrigin>().is_err(), "{origin}");
        }
    }
}
