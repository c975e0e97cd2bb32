//! Versions of HTTP (RFC 9110 §2.5).

/// The version that a request was sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// HTTP/1.0: not persistent unless the client asks for it, and without transfer codings.
    Http10,
    /// HTTP/1.1, and any later minor version of 1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// Returns the version as a request line names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}
