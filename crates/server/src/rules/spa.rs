//! The fallback of a single-page application: navigation to a name that does not exist is answered by one
//! file, with status 200. Other requests, such as for a missing script, get 404, so that a browser does not
//! take HTML for a script.
//!
//! A navigation has `Sec-Fetch-Mode: navigate` (Fetch Metadata); of a client without that field, it is a
//! request that accepts HTML by name.

use karez_http::{Field, Request};

use super::field::FieldRule;
use crate::site::ResourceRequest;

/// The fallback.
#[derive(Debug)]
pub(crate) struct Spa {
    path: Vec<u8>,
}

/// Returns the rule by which the file is asked for each time: it names the assets of the current version.
pub(super) fn cache_rule(file: &str) -> Option<FieldRule> {
    // A name is a glob that matches itself, once its special characters are escaped.
    let glob = format!("/{}", globset::escape(file.trim_start_matches('/')));
    FieldRule::set(&glob, "Cache-Control", "no-cache").ok()
}

impl Spa {
    pub(super) fn new(file: &str) -> Self {
        Self { path: file.trim_start_matches('/').as_bytes().to_vec() }
    }

    /// Returns whether the file answers a request for a name that does not exist.
    pub(super) fn answers(&self, request: &Request) -> bool {
        let is_mode = |name: &[u8]| name.eq_ignore_ascii_case(b"sec-fetch-mode");
        match request.fields().find(|(name, _)| is_mode(name)) {
            Some((_, mode)) => mode == b"navigate",
            None => request.values(Field::Accept).any(|value| {
                memchr::memmem::find(&value.to_ascii_lowercase(), b"text/html").is_some()
            }),
        }
    }

    pub(super) fn resource(&self, instead_of: &ResourceRequest) -> ResourceRequest {
        ResourceRequest { path: self.path.clone(), directory: false, ..instead_of.clone() }
    }
}
