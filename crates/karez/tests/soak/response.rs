//! Responses as both protocols return them.

use std::time::Instant;

#[derive(Clone, Default, Debug)]
pub struct Head {
    pub status: u16,
    /// The names are in lower case.
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    /// Returns whether the response announces the end of its connection.
    pub fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }

    /// Returns the offset in `Content-Range`, or 0.
    pub fn offset(&self) -> u64 {
        let range = self.field("content-range").and_then(|range| range.strip_prefix("bytes "));
        range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
pub struct Response {
    pub head: Head,
    /// When the head had arrived.
    pub headed: Instant,
    /// The body as far as it has arrived.
    pub body: Vec<u8>,
}
