//! A decoder whose bodies are thrown away, as a file server uses it: requests come out when they end.
#![allow(dead_code, reason = "each test file uses a part of it")]

use karez_http::h1::{Decoder, Event};
use karez_http::{Limits, Request, RequestError};
use std::ops::Deref;

/// A decoder that discards bodies.
pub(crate) struct Discarding {
    decoder: Decoder,
    /// A request whose end has not been decoded.
    open: Option<Request>,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Received {
    request: Request,
    complete: bool,
}

impl Discarding {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { decoder: Decoder::new(limits), open: None }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Returns the next request that has ended.
    pub(crate) fn next(&mut self) -> Result<Option<Received>, RequestError> {
        while let Some(event) = self.decoder.next()? {
            match event {
                Event::Head(request) => {
                    assert!(self.open.replace(request).is_none(), "a head within a request");
                    self.decoder.discard_body();
                }
                Event::End { complete } => {
                    let request = self.open.take().expect("an end without a head");
                    return Ok(Some(Received { request, complete }));
                }
                other => unreachable!("a discarded body: {other:?}"),
            }
        }
        Ok(None)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.decoder.is_empty()
    }

    pub(crate) fn time_out(&mut self) -> RequestError {
        self.decoder.time_out()
    }
}

impl Received {
    /// Returns whether the whole body was read.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// Returns whether another request may follow.
    pub(crate) fn persistent(&self) -> bool {
        self.complete && self.request.persistent()
    }

    pub(crate) fn into_request(self) -> Request {
        self.request
    }
}

impl Deref for Received {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}
