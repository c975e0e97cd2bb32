//! Status codes (RFC 9110 §15) of a static file server.
//!
//! Each has its whole HTTP/1.1 status line, so that encoding it is one copy.

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal $reason:literal;)+) => {
        /// A status code that this server sends (RFC 9110 §15).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name = $code,)+
        }

        impl Status {
            /// Every status, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the status with this number; `None` for one that this server does not send.
            pub fn from_code(code: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|status| status.code() == code)
            }

            /// Returns the number, such as 404.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// Returns the reason phrase, such as `Not Found`.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)+
                }
            }

            /// Returns the status line with its CRLF (RFC 9112 §4).
            pub const fn line(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n"),)+
                }
            }
        }
    };
}

statuses! {
    /// RFC 9110 §15.3.1.
    Ok = 200 "OK";
    /// RFC 9110 §15.3.5.
    NoContent = 204 "No Content";
    /// RFC 9110 §15.3.7.
    PartialContent = 206 "Partial Content";
    /// RFC 9110 §15.4.2.
    MovedPermanently = 301 "Moved Permanently";
    /// RFC 9110 §15.4.3.
    Found = 302 "Found";
    /// RFC 9110 §15.4.5.
    NotModified = 304 "Not Modified";
    /// RFC 9110 §15.4.8.
    TemporaryRedirect = 307 "Temporary Redirect";
    /// RFC 9110 §15.4.9.
    PermanentRedirect = 308 "Permanent Redirect";
    /// RFC 9110 §15.5.1.
    BadRequest = 400 "Bad Request";
    /// RFC 9110 §15.5.2.
    Unauthorized = 401 "Unauthorized";
    /// RFC 9110 §15.5.4.
    Forbidden = 403 "Forbidden";
    /// RFC 9110 §15.5.5.
    NotFound = 404 "Not Found";
    /// RFC 9110 §15.5.6.
    MethodNotAllowed = 405 "Method Not Allowed";
    /// RFC 9110 §15.5.9.
    RequestTimeout = 408 "Request Timeout";
    /// RFC 9110 §15.5.13.
    PreconditionFailed = 412 "Precondition Failed";
    /// RFC 9110 §15.5.14.
    ContentTooLarge = 413 "Content Too Large";
    /// RFC 9110 §15.5.15.
    UriTooLong = 414 "URI Too Long";
    /// RFC 9110 §15.5.17.
    RangeNotSatisfiable = 416 "Range Not Satisfiable";
    /// RFC 9110 §15.5.20.
    MisdirectedRequest = 421 "Misdirected Request";
    /// RFC 6585 §4.
    TooManyRequests = 429 "Too Many Requests";
    /// RFC 6585 §5.
    FieldsTooLarge = 431 "Request Header Fields Too Large";
    /// Never sent: logged if the client resets the connection before the response, as in nginx.
    ClientClosedRequest = 499 "Client Closed Request";
    /// RFC 9110 §15.6.1.
    InternalServerError = 500 "Internal Server Error";
    /// RFC 9110 §15.6.2.
    NotImplemented = 501 "Not Implemented";
    /// RFC 9110 §15.6.4.
    ServiceUnavailable = 503 "Service Unavailable";
    /// RFC 9110 §15.6.6.
    VersionNotSupported = 505 "HTTP Version Not Supported";
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_line_is_made_of_code_and_reason() {
        for status in Status::ALL {
            let line = format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason());
            assert_eq!(status.line(), line);
            assert_eq!(Status::from_code(status.code()), Some(*status));
        }
    }
}
