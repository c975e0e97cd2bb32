//! Request methods (RFC 9110 §9).
//!
//! Names are case-sensitive: `get` is not GET.

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)+) => {
        /// A request method (RFC 9110 §9.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* $variant,)+
            /// A method that is not known here. Its name is in the request line.
            Unknown,
        }

        impl Method {
            /// Returns the method with this name.
            pub fn from_name(name: &[u8]) -> Self {
                $(
                    if name == $name.as_bytes() {
                        return Self::$variant;
                    }
                )+
                Self::Unknown
            }
        }

        #[cfg(test)]
        const NAMES: &[(Method, &str)] = &[$((Method::$variant, $name),)+];
    };
}

methods! {
    /// RFC 9110 §9.3.1.
    Get = "GET";
    /// RFC 9110 §9.3.2.
    Head = "HEAD";
    /// RFC 9110 §9.3.3.
    Post = "POST";
    /// RFC 9110 §9.3.4.
    Put = "PUT";
    /// RFC 9110 §9.3.5.
    Delete = "DELETE";
    /// RFC 9110 §9.3.6.
    Connect = "CONNECT";
    /// RFC 9110 §9.3.7.
    Options = "OPTIONS";
    /// RFC 9110 §9.3.8.
    Trace = "TRACE";
    /// RFC 5789 §2.
    Patch = "PATCH";
}

#[cfg(test)]
mod tests {
    use super::{Method, NAMES};

    #[test]
    fn names_are_case_sensitive() {
        for (method, name) in NAMES {
            assert_eq!(Method::from_name(name.as_bytes()), *method);
            assert_eq!(Method::from_name(name.to_ascii_lowercase().as_bytes()), Method::Unknown);
        }
        assert_eq!(Method::from_name(b"PROPFIND"), Method::Unknown);
        assert_eq!(Method::from_name(b""), Method::Unknown);
    }
}
