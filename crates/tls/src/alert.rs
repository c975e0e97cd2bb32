//! Alerts: RFC 8446 §6, RFC 5246 §7.2.
//!
//! # Limitations
//!
//! The level of a received alert is not kept: TLS 1.3 ignores it.

use std::fmt;

/// A message that ends a connection, or says something about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// The sender sends nothing more.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A message that is not allowed at this point.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that does not open.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record that is too long.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// A field that is out of range or contradicts another.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message that cannot be parsed.
    pub const DECODE_ERROR: Self = Self(50);
    /// A version of TLS that is not supported.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// An error that has nothing to do with the peer.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The handshake was given up by the user.
    pub const USER_CANCELED: Self = Self(90);
    /// A second handshake on a TLS 1.2 connection is refused.
    pub const NO_RENEGOTIATION: Self = Self(100);
    /// There is no certificate for the name that the client asks for (RFC 6066 §3).
    pub const UNRECOGNIZED_NAME: Self = Self(112);

    /// Returns the content of its record: a level and the description. Only `close_notify`,
    /// `user_canceled` and `no_renegotiation` are warnings.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 2] {
        let warns = [Self::CLOSE_NOTIFY, Self::USER_CANCELED, Self::NO_RENEGOTIATION];
        [if warns.contains(&self) { 1 } else { 2 }, self.0]
    }

    /// Returns a whole record that is not encrypted, for the time before there are keys.
    pub(crate) fn to_plain_record(self) -> [u8; 7] {
        let [level, description] = self.to_bytes();
        [21, 3, 3, 0, 2, level, description]
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::CLOSE_NOTIFY => "close_notify",
            Self::UNEXPECTED_MESSAGE => "unexpected_message",
            Self::BAD_RECORD_MAC => "bad_record_mac",
            Self::RECORD_OVERFLOW => "record_overflow",
            Self::ILLEGAL_PARAMETER => "illegal_parameter",
            Self::DECODE_ERROR => "decode_error",
            Self::PROTOCOL_VERSION => "protocol_version",
            Self::INTERNAL_ERROR => "internal_error",
            Self::USER_CANCELED => "user_canceled",
            Self::NO_RENEGOTIATION => "no_renegotiation",
            Self::UNRECOGNIZED_NAME => "unrecognized_name",
            // The peer's alerts are many more, and rustls has their names.
            Self(number) => return write!(f, "{:?}", rustls::AlertDescription::from(number)),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_is_a_warning_and_an_error_is_fatal() {
        assert_eq!(Alert::CLOSE_NOTIFY.to_bytes(), [1, 0]);
        assert_eq!(Alert::BAD_RECORD_MAC.to_bytes(), [2, 20]);
        assert_eq!(Alert::DECODE_ERROR.to_plain_record(), [21, 3, 3, 0, 2, 2, 50]);
    }

    #[test]
    fn alerts_have_names() {
        assert_eq!(Alert::NO_RENEGOTIATION.to_string(), "no_renegotiation");
        assert_eq!(Alert(46).to_string(), "CertificateUnknown");
    }
}
