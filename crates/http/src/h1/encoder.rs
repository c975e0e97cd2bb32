//! Response heads and chunks as HTTP/1.1 bytes (RFC 9112 §4, §5, §7.1).

use crate::decimal;
use crate::response::{BodyLength, HeadItem, ResponseHead};

/// The persistence of a connection behind a response (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The connection persists, which is the default of HTTP/1.1 and not written.
    Implicit,
    /// The connection persists, which an HTTP/1.0 client expects to read: `Connection: keep-alive`.
    Explicit,
    /// The server closes the connection: `Connection: close`.
    Close,
}

/// Appends a response head with its empty line. `chunked` says how a
/// [streamed](BodyLength::Streamed) body is sent: in chunks, or up to the end of the connection, which
/// is all that HTTP/1.0 knows.
///
/// The `Connection` field follows `Date`, so that the fields about the message come before the fields
/// about its content (RFC 9110 §5.3 recommends control data first).
pub fn encode(head: &ResponseHead, keep_alive: KeepAlive, chunked: bool, out: &mut Vec<u8>) {
    out.reserve(INITIAL_CAPACITY);
    out.extend_from_slice(head.status().line().as_bytes());
    let mut connection: &[u8] = match keep_alive {
        KeepAlive::Implicit => b"",
        KeepAlive::Explicit => b"Connection: keep-alive\r\n",
        KeepAlive::Close => b"Connection: close\r\n",
    };
    for item in head.items() {
        match item {
            HeadItem::Field(name, value) => {
                push_name(name, out);
                value.push_to(out);
                out.extend_from_slice(b"\r\n");
                if *name == "Date" {
                    out.extend_from_slice(std::mem::take(&mut connection));
                }
            }
            HeadItem::Length(BodyLength::Known(length)) => {
                push_name("Content-Length", out);
                decimal::push(*length, out);
                out.extend_from_slice(b"\r\n");
            }
            HeadItem::Length(BodyLength::Streamed) if chunked => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            HeadItem::Length(BodyLength::Streamed) => {}
            HeadItem::Prepared(part) => {
                out.extend_from_slice(head.prepared().map_or(&[][..], |it| it.lines(*part)));
            }
        }
    }
    out.extend_from_slice(connection);
    out.extend_from_slice(b"\r\n");
}

/// Appends `data` as one chunk (RFC 9112 §7.1). Appends nothing if it is empty, because an empty chunk
/// ends the body.
pub fn chunk(data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|place| DIGITS[data.len() >> (4 * place) & 15]));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, without trailers (RFC 9112 §7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn push_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
}

/// Most heads are not larger, in bytes.
const INITIAL_CAPACITY: usize = 512;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::{Prepared, PreparedPart, PreparedStart};
    use crate::status::Status;
    use std::sync::Arc;

    fn encoded(head: &ResponseHead, keep_alive: KeepAlive, chunked: bool) -> String {
        let mut out = Vec::new();
        encode(head, keep_alive, chunked, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn items_are_encoded_in_order() {
        let prepared = Arc::new(Prepared::new("text/css", None, None, Some(0)));
        let mut head = ResponseHead::new(Status::Ok);
        head.field("Date", "now").length(BodyLength::Known(7));
        let part = PreparedPart { from: PreparedStart::Type, last_modified: false };
        head.prepared_fields(&prepared, part).field("X", 1).field("Y", &b"2"[..]);
        assert_eq!(
            encoded(&head, KeepAlive::Implicit, true),
            "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 7\r\nContent-Type: text/css\r\n\
             X: 1\r\nY: 2\r\n\r\n"
        );
    }

    #[test]
    fn connection_follows_date_and_is_never_lost() {
        let mut head = ResponseHead::new(Status::Ok);
        let close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        assert_eq!(encoded(&head, KeepAlive::Close, true), close);
        head.field("Server", "x").field("Date", "now").field("X", "y");
        assert_eq!(
            encoded(&head, KeepAlive::Explicit, true),
            "HTTP/1.1 200 OK\r\nServer: x\r\nDate: now\r\nConnection: keep-alive\r\nX: y\r\n\r\n"
        );
    }

    #[test]
    fn streamed_bodies_are_chunked_or_end_with_the_connection() {
        let mut head = ResponseHead::new(Status::Ok);
        head.length(BodyLength::Streamed).field("X", "y");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
        assert_eq!(encoded(&head, KeepAlive::Implicit, true), chunked);
        let closed = "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n";
        assert_eq!(encoded(&head, KeepAlive::Close, false), closed);
    }

    #[test]
    fn chunks() {
        let mut out = Vec::new();
        chunk(b"hello", &mut out);
        chunk(b"", &mut out);
        chunk(&[b'x'; 0x1a], &mut out);
        out.extend_from_slice(LAST_CHUNK);
        let expected = [&b"5\r\nhello\r\n1a\r\n"[..], &[b'x'; 0x1a], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(out, expected);
    }
}
