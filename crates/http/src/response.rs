//! The head of a response, independent of the protocol that carries it (RFC 9110 §6.2).
//!
//! A [`ResponseHead`] is a list of fields in the order in which they are encoded. Fields that describe
//! one file and stay the same from response to response are a [`Prepared`] block, which holds an
//! encoded copy for each protocol; the list refers to the part of it that a response needs. HTTP/1.1
//! encodes a head by [`h1::encode`](crate::h1::encode).
//!
//! No allocation is made for a head with up to ten items whose values are numbers, static
//! or at most 30 bytes long. That covers every response to a request for a cached file.
//!
//! # Limitations
//!
//! A field name is static: a head is made by the server, and does not forward the fields of another
//! server. Fields that describe the connection (`Connection`, `Transfer-Encoding`) are no part of a
//! head, because HTTP/2 has none; the protocol adds them.

use std::sync::Arc;

use crate::field_value::FieldValue;
use crate::prepared::{Prepared, PreparedPart};
use crate::status::Status;

/// A response head: a status and fields.
///
/// ```
/// use karez_http::{BodyLength, ResponseHead, Status, h1};
///
/// let mut head = ResponseHead::new(Status::Ok);
/// head.field("Content-Type", "text/plain").length(BodyLength::Known(5));
/// let mut out = Vec::new();
/// h1::encode(&head, h1::KeepAlive::Implicit, true, &mut out);
/// assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
/// ```
#[derive(Debug)]
pub struct ResponseHead {
    status: Status,
    /// The first items; `None` behind the last.
    inline: [Option<HeadItem>; INLINE_ITEMS],
    /// Items for which there was no place inline.
    more: Vec<HeadItem>,
    prepared: Option<Arc<Prepared>>,
}

/// An element of a response head, in the order of encoding.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeadItem {
    /// A field with its name in the usual capitals, such as `Content-Type`.
    Field(&'static str, FieldValue),
    /// The length of the body. HTTP/1.1 encodes it as `Content-Length` or `Transfer-Encoding`.
    Length(BodyLength),
    /// Fields of the [prepared block](ResponseHead::prepared).
    Prepared(PreparedPart),
}

/// The length of a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyLength {
    /// Exactly so many bytes.
    Known(u64),
    /// Unknown when the head is sent: the protocol marks the end of the body.
    Streamed,
}

impl ResponseHead {
    /// Returns a head without fields.
    pub const fn new(status: Status) -> Self {
        Self { status, inline: [const { None }; INLINE_ITEMS], more: Vec::new(), prepared: None }
    }

    /// Appends a field.
    pub fn field(&mut self, name: &'static str, value: impl Into<FieldValue>) -> &mut Self {
        debug_assert!(name.bytes().all(crate::grammar::is_token), "not a field name: {name}");
        self.push(HeadItem::Field(name, value.into()))
    }

    /// Appends the length of the body: at most once, and not where the status has no body.
    pub fn length(&mut self, length: BodyLength) -> &mut Self {
        self.push(HeadItem::Length(length))
    }

    /// Appends fields of a prepared block. A head refers to one block: a second call with another
    /// block replaces the first block.
    pub fn prepared_fields(&mut self, prepared: &Arc<Prepared>, part: PreparedPart) -> &mut Self {
        self.prepared = Some(Arc::clone(prepared));
        self.push(HeadItem::Prepared(part))
    }

    /// Returns the status.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Returns the prepared block that [`HeadItem::Prepared`] refers to.
    pub fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_deref()
    }

    /// Returns the items in the order of encoding.
    pub fn items(&self) -> impl Iterator<Item = &HeadItem> {
        self.inline.iter().map_while(Option::as_ref).chain(&self.more)
    }

    fn push(&mut self, item: HeadItem) -> &mut Self {
        match self.inline.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(item),
            None => self.more.push(item),
        }
        self
    }
}

/// Items that a head holds without an allocation.
const INLINE_ITEMS: usize = 10;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_order_beyond_the_inline_places() {
        let mut head = ResponseHead::new(Status::Ok);
        let count = INLINE_ITEMS as u64 + 3;
        for number in 0..count {
            head.field("X", number);
        }
        let numbers = head.items().map(|item| match item {
            HeadItem::Field(_, value) => value.bytes().into_owned(),
            other => panic!("{other:?}"),
        });
        assert!(numbers.eq((0..count).map(|number| number.to_string().into_bytes())));
    }
}
