//! Why a TLS connection ends early.

use std::error::Error;
use std::fmt;

use crate::alert::Alert;

/// A connection cannot go on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TlsError {
    /// The client sent HTTP without TLS: [`Handshake::into_received`](crate::Handshake::into_received)
    /// has its bytes.
    PlainHttp,
    /// This bound is exceeded: bytes or records of a handshake, key updates, empty records.
    TooMuch(&'static str),
    /// The handshake failed, by the peer's fault or because both sides have nothing in common.
    Handshake(rustls::Error),
    /// The peer broke the protocol, or its bytes were changed on the way.
    Protocol {
        /// The alert to send.
        alert: Alert,
        /// The rule that was broken.
        reason: &'static str,
    },
    /// The peer ended the connection by this alert.
    Peer(Alert),
    /// The keys are used up and cannot be replaced.
    KeysUsedUp,
    /// The handshake is not over, or a key cannot be extracted.
    NotReady,
}

impl TlsError {
    pub(crate) fn protocol(alert: Alert, reason: &'static str) -> Self {
        Self::Protocol { alert, reason }
    }

    pub(crate) fn unexpected(reason: &'static str) -> Self {
        Self::protocol(Alert::UNEXPECTED_MESSAGE, reason)
    }

    /// Returns the alert that the peer should be sent before the connection is closed. An error of a
    /// handshake has none here: its alert is in [`Handshake::take_output`](crate::Handshake).
    #[must_use]
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::Protocol { alert, .. } => Some(*alert),
            Self::TooMuch(_) => Some(Alert::UNEXPECTED_MESSAGE),
            Self::KeysUsedUp | Self::NotReady => Some(Alert::INTERNAL_ERROR),
            Self::PlainHttp | Self::Handshake(_) | Self::Peer(_) => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("plain HTTP on a TLS port"),
            Self::TooMuch(bound) => write!(f, "too many {bound}"),
            Self::Handshake(error) => write!(f, "TLS handshake: {error}"),
            Self::Protocol { alert, reason } => write!(f, "{reason} ({alert})"),
            Self::Peer(alert) => write!(f, "the peer sent the alert {alert}"),
            Self::KeysUsedUp => f.write_str("the keys are used up"),
            Self::NotReady => f.write_str("the handshake is not complete"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            _ => None,
        }
    }
}
