//! Routing: from a request to the resource it asks for, before the file system is asked.
//!
//! The policy of the site is here, and no protocol knows it: the allowed methods, and the format of a
//! listing by the query and the `Accept` field.

use karez_http::{Field, Method, Request, Status, Target, encoding, target};

use crate::media_preference::preferred_format;
use crate::site::{ListingView, ResourceRequest};

/// The value of `Allow` (RFC 9110 §10.2.1).
pub(crate) const ALLOWED_METHODS: &str = "GET, HEAD, OPTIONS";

/// The resource or response that a request leads to.
pub(crate) enum Route {
    /// A file or directory beneath the root.
    Resource(ResourceRequest),
    /// A list of the allowed methods.
    Options,
    /// A known method that is not allowed: 405.
    NotAllowed,
    /// A request that leads to no resource, with the reason.
    Error(Status, String),
}

impl Route {
    /// Returns the route of a request.
    pub(crate) fn of(request: &Request) -> Self {
        match request.method() {
            Method::Get | Method::Head => {
                Self::of_target(request, |target| Self::resource(request, target))
            }
            Method::Options if request.target() == b"*" => Self::Options,
            Method::Options => Self::of_target(request, |_| Self::Options),
            Method::Unknown => Self::Error(Status::NotImplemented, "unknown method".to_owned()),
            _ => Self::NotAllowed,
        }
    }

    fn of_target(request: &Request, make: impl FnOnce(Target) -> Self) -> Self {
        match target::parse(request.target()) {
            Ok(target) => make(target),
            Err(bad) => Self::Error(Status::BadRequest, bad.to_string()),
        }
    }

    fn resource(request: &Request, target: Target) -> Self {
        Self::Resource(ResourceRequest {
            view: view(request, &target),
            path: target.path,
            directory: target.directory,
            codings: encoding::preferred(request),
            ranged: request.value(Field::Range).is_some(),
        })
    }
}

/// Returns the format and order of a listing, in case the resource is a directory without an index.
fn view(request: &Request, target: &Target) -> ListingView {
    let view = ListingView { format: preferred_format(request), ..ListingView::default() };
    let query = target.query.clone().map(|query| &request.target()[query]);
    match query {
        Some(query) => view.changed_by(query),
        None => view,
    }
}

/// Returns the URL by which HTTPS serves a request, on this port; `None` if the request names no host.
pub(crate) fn https_location(request: &Request, port: u16) -> Option<Vec<u8>> {
    let target = request.target();
    // The absolute form (RFC 9112 §3.2.2) has its own host.
    let absolute = target.strip_prefix(b"http://").or_else(|| target.strip_prefix(b"HTTP://"));
    let (authority, path) = match absolute {
        Some(rest) => rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())),
        None => (request.value(Field::Host)?, if target == b"*" { &b"/"[..] } else { target }),
    };
    let host = match authority.strip_prefix(b"[") {
        Some(rest) => &authority[..memchr::memchr(b']', rest)? + 2],
        None => &authority[..memchr::memchr(b':', authority).unwrap_or(authority.len())],
    };
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(byte);
    if host.is_empty() || !host.iter().all(fits) {
        return None;
    }
    let mut location = [b"https://", host].concat();
    if port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    if !path.starts_with(b"/") {
        location.push(b'/');
    }
    location.extend_from_slice(path);
    Some(location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::ListingFormat;
    use karez_http::Version;

    fn route(method: &str, target: &str) -> Route {
        let (method, target) = (method.as_bytes(), target.as_bytes());
        Route::of(&Request::assemble(method, target, Version::Http11, []).unwrap())
    }

    #[test]
    fn methods() {
        for method in ["GET", "HEAD"] {
            assert!(matches!(route(method, "/a"), Route::Resource(_)), "{method}");
        }
        for target in ["*", "/a"] {
            assert!(matches!(route("OPTIONS", target), Route::Options), "{target}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"] {
            assert!(matches!(route(method, "/a"), Route::NotAllowed), "{method}");
        }
        assert!(matches!(route("BREW", "/a"), Route::Error(Status::NotImplemented, _)));
        assert!(matches!(route("GET", "a"), Route::Error(Status::BadRequest, _)));
    }

    #[test]
    fn the_query_overrules_accept() {
        let fields = [(&b"accept"[..], &b"application/json"[..])];
        let format = |target: &str| {
            let request =
                Request::assemble(b"GET", target.as_bytes(), Version::Http11, fields).unwrap();
            let Route::Resource(resource) = Route::of(&request) else { panic!("{target}") };
            resource.view.format
        };
        assert_eq!(format("/"), ListingFormat::Json);
        assert_eq!(format("/?sort=size"), ListingFormat::Json);
        assert_eq!(format("/?format=html"), ListingFormat::Html);
    }
}
