//! Sessions with an output in memory: framing, persistence and errors.

use super::*;
use crate::request::Request;
use crate::response::BodyLength;
use crate::status::Status;

#[derive(Default)]
struct Output(Vec<u8>);

impl Sink<&'static str> for Output {
    fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.0.extend(bytes);
    }

    fn push_file(&mut self, file: &'static str) {
        self.0.extend(file.as_bytes());
    }
}

impl Output {
    fn take(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.0)).unwrap()
    }
}

/// Receives a request and returns its head; the body is discarded.
fn request(session: &mut Session, text: &str) -> Request {
    session.receive(text.as_bytes());
    let Ok(Some(Event::Head(request))) = session.next() else { panic!("no head") };
    session.discard_body();
    assert!(matches!(session.next(), Ok(Some(Event::End { .. }))));
    request
}

fn ok(length: BodyLength) -> ResponseHead {
    let mut head = ResponseHead::new(Status::Ok);
    head.length(length);
    head
}

#[test]
fn pipelined_requests_wait_for_the_response() {
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    let two = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(request(&mut session, two).target(), b"/1");
    assert!(matches!(session.next(), Ok(None)));
    assert!(!session.is_idle());
    session.respond(&ok(BodyLength::Known(4)), Body::File("file"), &mut out);
    assert_eq!(out.take(), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile");
    assert_eq!(session.complete(), Next::Request);
    assert_eq!(request(&mut session, "").target(), b"/2");
}

#[test]
fn a_response_to_head_has_no_body() {
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    request(&mut session, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = ok(BodyLength::Known(4));
    let length = session.respond(&head, Body::File("file"), &mut out);
    let text = out.take();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(length, text.len());
    session.complete();
    request(&mut session, "HEAD / HTTP/1.0\r\n\r\n");
    session.respond(&ok(BodyLength::Streamed), Body::Stream, &mut out);
    session.append(b"x".to_vec(), &mut out);
    assert!(!session.finish(&mut out));
    assert!(out.take().ends_with("\r\n\r\n"));
    assert_eq!(session.abort(), Abort::Close, "the client waits for no body");
}

#[test]
fn streamed_bodies_are_framed_by_version() {
    for (version, body, abort) in [
        ("1.1", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Abort::Close),
        ("1.0", "Connection: close\r\n\r\nab", Abort::Reset),
    ] {
        let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
        let text = format!("GET / HTTP/{version}\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
        request(&mut session, &text);
        session.respond(&ok(BodyLength::Streamed), Body::Stream, &mut out);
        session.append(b"ab".to_vec(), &mut out);
        assert_eq!(clone_framing(&session).abort(), abort, "{version}");
        assert_eq!(session.finish(&mut out), version == "1.1");
        assert_eq!(out.take(), format!("HTTP/1.1 200 OK\r\n{body}"));
        let next = if version == "1.1" { Next::Request } else { Next::Close };
        assert_eq!(session.complete(), next);
    }
}

/// A session with the same response state and an empty decoder.
fn clone_framing(session: &Session) -> Session {
    let decoder = Decoder::new(Limits::default());
    let Session { state, version, is_head, persistent, stream, .. } = *session;
    Session { decoder, state, version, is_head, persistent, stream }
}

#[test]
fn bodies_in_parts_keep_their_order() {
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    request(&mut session, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let parts = vec![
        BodyPart::Bytes(b"<".to_vec()),
        BodyPart::File("file"),
        BodyPart::Bytes(b">".to_vec()),
    ];
    session.respond(&ok(BodyLength::Known(6)), Body::Parts(parts), &mut out);
    assert!(out.take().ends_with("\r\n\r\n<file>"));
}

#[test]
fn sized_bodies_are_appended_without_chunks() {
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    for (method, body) in [("GET", "<file"), ("HEAD", "")] {
        request(&mut session, &format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        session.respond(&ok(BodyLength::Known(5)), Body::Sized, &mut out);
        session.append(b"<".to_vec(), &mut out);
        session.append_file("file", &mut out);
        assert!(!session.finish(&mut out));
        assert_eq!(out.take(), format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        assert_eq!(session.complete(), Next::Request);
    }
    request(&mut session, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    session.respond(&ok(BodyLength::Known(5)), Body::Sized, &mut out);
    assert_eq!(session.abort(), Abort::Close);
}

#[test]
fn the_connection_closes_where_it_cannot_persist() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "Connection: close\r\n",
        ),
    ] {
        let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
        request(&mut session, text);
        session.respond(&ResponseHead::new(Status::NoContent), Body::Empty, &mut out);
        assert_eq!(out.take(), format!("HTTP/1.1 204 No Content\r\n{expected}\r\n"), "{text}");
        let closes = expected.ends_with("close\r\n");
        assert_eq!(session.complete() == Next::Close, closes, "{text}");
    }
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    request(&mut session, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    session.close_after_response();
    session.respond(&ResponseHead::new(Status::NoContent), Body::Empty, &mut out);
    assert!(out.take().contains("Connection: close"));
    assert_eq!(session.complete(), Next::Close);
}

/// Of a malformed body the method is known, and a response to HEAD never has a body (RFC 9110 §9.3.2).
#[test]
fn an_error_in_the_body_of_head_is_answered_without_a_body() {
    for (method, body) in [("HEAD", ""), ("GET", "why")] {
        let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
        let text = format!("{method} / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx");
        session.receive(text.as_bytes());
        assert!(matches!(session.next(), Ok(Some(Event::Head(_)))));
        session.discard_body();
        let error = session.next().unwrap_err();
        let head = ResponseHead::new(error.status);
        session.respond(&head, Body::Bytes(b"why".to_vec()), &mut out);
        assert_eq!(
            out.take(),
            format!("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{body}")
        );
        assert_eq!(session.complete(), Next::Close);
    }
}

#[test]
fn a_request_that_is_late_is_answered_and_closes() {
    let (mut session, mut out) = (Session::new(Limits::default()), Output::default());
    session.receive(b"GET / HT");
    assert!(matches!(session.next(), Ok(None)));
    assert!(!session.is_idle());
    let error = session.time_out();
    assert_eq!((error.status, &error.request_line[..]), (Status::RequestTimeout, &b"GET / HT"[..]));
    session.respond(&ResponseHead::new(error.status), Body::Empty, &mut out);
    assert!(out.take().contains("Connection: close"));
    assert_eq!(session.complete(), Next::Close);
}
