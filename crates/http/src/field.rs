//! The request fields that are known by name (RFC 9110 §5.1).
//!
//! A request stores the offset of the first line of each. The syntax of other fields is checked, and they
//! are found by [`Request::fields`](crate::Request::fields).

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// A request field that this crate knows by name (RFC 9110 §5.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Field {
            $($(#[$doc])* $name,)+
        }

        impl Field {
            /// Every known field.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the name in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

fields! {
    /// RFC 9110 §7.2.
    Host = "host";
    /// RFC 9110 §14.2.
    Range = "range";
    /// RFC 9110 §13.1.5.
    IfRange = "if-range";
    /// RFC 9110 §13.1.1.
    IfMatch = "if-match";
    /// RFC 9110 §13.1.2.
    IfNoneMatch = "if-none-match";
    /// RFC 9110 §13.1.3.
    IfModifiedSince = "if-modified-since";
    /// RFC 9110 §13.1.4.
    IfUnmodifiedSince = "if-unmodified-since";
    /// RFC 9110 §12.5.1.
    Accept = "accept";
    /// RFC 9110 §12.5.3.
    AcceptEncoding = "accept-encoding";
    /// RFC 9110 §10.1.5.
    UserAgent = "user-agent";
    /// RFC 9110 §10.1.3.
    Referer = "referer";
    /// RFC 9110 §7.6.1.
    Connection = "connection";
    /// RFC 9110 §10.1.1.
    Expect = "expect";
    /// RFC 9110 §8.6.
    ContentLength = "content-length";
    /// RFC 9112 §6.1.
    TransferEncoding = "transfer-encoding";
}

impl Field {
    /// Returns the field with this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let candidates: &[Self] = match name.len() {
            4 => &[Self::Host],
            5 => &[Self::Range],
            6 => &[Self::Accept, Self::Expect],
            7 => &[Self::Referer],
            8 => &[Self::IfRange, Self::IfMatch],
            10 => &[Self::UserAgent, Self::Connection],
            13 => &[Self::IfNoneMatch],
            14 => &[Self::ContentLength],
            15 => &[Self::AcceptEncoding],
            17 => &[Self::IfModifiedSince, Self::TransferEncoding],
            19 => &[Self::IfUnmodifiedSince],
            _ => &[],
        };
        // Most other names of the same length differ in the first byte, so it is compared first.
        let first = name.first()?.to_ascii_lowercase();
        candidates.iter().copied().find(|field| {
            let known = field.name().as_bytes();
            known[0] == first && name.eq_ignore_ascii_case(known)
        })
    }

    /// Returns its index in a table of [`COUNT`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The number of known fields.
pub(crate) const COUNT: usize = Field::ALL.len();

#[cfg(test)]
mod tests {
    use super::Field;

    #[test]
    fn every_name_is_found_in_any_case() {
        for field in Field::ALL {
            assert_eq!(Field::from_name(field.name().as_bytes()), Some(*field));
            assert_eq!(
                Field::from_name(field.name().to_ascii_uppercase().as_bytes()),
                Some(*field)
            );
        }
        assert_eq!(Field::from_name(b"hosts"), None);
        assert_eq!(Field::from_name(b""), None);
    }
}
