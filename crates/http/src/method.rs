//! Request methods (RFC 9110 §9), as far as a server of files tells them apart.
//!
//! Names are case-sensitive: `get` is not GET.

/// What `Allow` says (RFC 9110 §10.2.1).
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A request method (RFC 9110 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 9110 §9.3.1.
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.7.
    Options,
    /// Known, never allowed here (405): PUT, POST, DELETE, PATCH, TRACE, CONNECT.
    OtherKnown,
    /// Not recognized (501).
    Unknown,
}

impl Method {
    /// The method that `name` spells.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PUT" | b"POST" | b"DELETE" | b"PATCH" | b"TRACE" | b"CONNECT" => Self::OtherKnown,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn names_are_case_sensitive() {
        assert_eq!(Method::of(b"GET"), Method::Get);
        assert_eq!(Method::of(b"get"), Method::Unknown);
        assert_eq!(Method::of(b"PATCH"), Method::OtherKnown);
        assert_eq!(Method::of(b"PROPFIND"), Method::Unknown);
    }
}
