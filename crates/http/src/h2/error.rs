//! Error codes and errors of a connection (RFC 9113 §5.4, §7).

use std::fmt;

/// Why a stream or a connection ends (RFC 9113 §7). Unknown codes are kept as they were received.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)+

            /// Returns the registered name of a known code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The end is no error.
    NO_ERROR = 0x0;
    /// A violation that has no code of its own.
    PROTOCOL_ERROR = 0x1;
    /// A fault of the sender of the code.
    INTERNAL_ERROR = 0x2;
    /// More data than the flow-control window allows, or a window above 2³¹ − 1.
    FLOW_CONTROL_ERROR = 0x3;
    /// The settings were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4;
    /// A frame of a stream that is half closed or closed.
    STREAM_CLOSED = 0x5;
    /// A frame of a wrong length.
    FRAME_SIZE_ERROR = 0x6;
    /// The request was not processed and may be sent again.
    REFUSED_STREAM = 0x7;
    /// The stream is not needed any more.
    CANCEL = 0x8;
    /// The compression state was lost (RFC 7541).
    COMPRESSION_ERROR = 0x9;
    /// The connection made for a CONNECT request was lost.
    CONNECT_ERROR = 0xa;
    /// The peer causes too much load.
    ENHANCE_YOUR_CALM = 0xb;
    /// The transport is not secure enough.
    INADEQUATE_SECURITY = 0xc;
    /// The resource is available over HTTP/1.1 only.
    HTTP_1_1_REQUIRED = 0xd;
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An error after which the connection is closed (RFC 9113 §5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// The code that GOAWAY carries.
    pub code: ErrorCode,
    /// One short sentence for the log, and for the debug data of GOAWAY.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(crate) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(crate) const fn frame_size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(crate) const fn calm(reason: &'static str) -> Self {
        Self::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for ConnectionError {}
