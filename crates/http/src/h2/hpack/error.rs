//! The error of HPACK (RFC 9113 §4.3).

use std::fmt;

/// A violation of RFC 7541: the decoder's table no longer matches the peer's, so the connection ends
/// with `COMPRESSION_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionError(pub &'static str);

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for CompressionError {}
