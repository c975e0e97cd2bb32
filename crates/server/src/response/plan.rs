//! The plan of a body, for `Server-Timing`: it is known before the first byte is sent.

use std::sync::Arc;

use karez_http::range::ByteRange;
use karez_http::{Method, Version};
use karez_reactor::Model;
use karez_transfer::{Via, cached_bytes};
use rustix::fd::AsFd as _;

use super::ResponseBuilder;
use crate::cost::BodyPlan;
use crate::http_clock;
use crate::site::OpenFile;

impl ResponseBuilder<'_> {
    /// Returns how these parts of a file are going to be sent.
    pub(super) fn body_plan(
        &self,
        model: Model,
        file: &Arc<OpenFile>,
        parts: &[ByteRange],
    ) -> Option<BodyPlan> {
        let first = parts.first()?;
        let bytes = parts.iter().map(|part| part.length).sum();
        // A remote file system may never answer the question.
        let cached = parts.iter().map(|part| {
            let range = part.start..part.start + part.length;
            (!file.device().remote).then(|| cached_bytes(file.as_fd(), range).ok()).flatten()
        });
        let cached: Option<u64> = cached.sum();
        let part = self.file_part(file, first.start, first.length, http_clock::now().unix);
        // Frames of several streams are read into one buffer and sent from it.
        let framed = self.request.is_some_and(|request| request.version() == Version::Http2);
        let via = match framed {
            true => Via::Copy,
            false => model.supported_via(part.into_transfer().intended(cached.unwrap_or(bytes))),
        };
        (bytes > 0).then_some(BodyPlan { via, bytes, cached })
    }

    pub(super) fn sends_body(&self) -> bool {
        self.request.is_none_or(|request| request.method() != Method::Head)
    }
}
