//! Requests by which an ACME server checks who controls a name: the challenge HTTP-01 (RFC 8555 §8.3).
//!
//! # Limitations
//!
//! The host of the request is not compared with the name: only the client of ACME knows the token.

use std::sync::Arc;

use karez_http::Method;

use super::Exchange;
use crate::context::ServerContext;

const PREFIX: &[u8] = b"/.well-known/acme-challenge/";

impl Exchange {
    /// Returns the key authorization for the token that is requested, if one is pending.
    pub(super) fn challenge(&self, context: &ServerContext) -> Option<Arc<str>> {
        let challenges = context.tls.as_ref()?.challenges.as_ref()?;
        let request = self.request.as_ref().ok()?;
        let token = request.target().strip_prefix(PREFIX)?;
        if !matches!(request.method(), Method::Get | Method::Head) {
            return None;
        }
        challenges.key_authorization(std::str::from_utf8(token).ok()?)
    }
}
