//! Decoded requests: their parts, persistence, bodies and pipelines.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

mod discarding;

use discarding::{Discarding, Received};
use karez_http::h1::{Decoder, Event};
use karez_http::{Field, Limits, Method, Request, Status, Version};

fn decoder(bytes: &[u8]) -> Discarding {
    let mut decoder = Discarding::new(Limits::default());
    decoder.push(bytes);
    decoder
}

fn one(text: &str) -> Received {
    decoder(text.as_bytes()).next().expect(text).expect(text)
}

/// Requests cross threads.
const _: () = {
    const fn crosses<T: Send + 'static>() {}
    crosses::<Request>();
};

#[test]
fn the_parts_of_a_request() {
    let request =
        one("GET /a?b HTTP/1.1\r\nHOST:  example.org \r\nX-Other: 1\r\nIf-None-Match: \"a\"\r\n\
         Accept:\r\nif-none-match:\t\"b\"\t\r\n\r\n");
    assert_eq!(request.method(), Method::Get);
    assert_eq!(request.target(), b"/a?b");
    assert_eq!(request.version(), Version::Http11);
    assert_eq!(request.request_line(), b"GET /a?b HTTP/1.1");
    assert!(request.persistent() && request.complete());
    assert_eq!(request.value(Field::Host), Some(&b"example.org"[..]));
    assert_eq!(request.value(Field::Accept), Some(&b""[..]));
    assert_eq!(request.value(Field::Range), None);
    let tags: Vec<_> = request.values(Field::IfNoneMatch).collect();
    assert_eq!(tags, [b"\"a\"", b"\"b\""]);
    assert_eq!(request.values(Field::Host).count(), 1);
    assert_eq!(request.values(Field::Range).count(), 0);
    let names: Vec<_> = request.fields().map(|(name, _)| name).collect();
    let expected: [&[u8]; 5] = [b"HOST", b"X-Other", b"If-None-Match", b"Accept", b"if-none-match"];
    assert_eq!(names, expected);
    assert_eq!(
        format!("{:?}", request.into_request()),
        "Request { line: \"GET /a?b HTTP/1.1\", persistent: true, .. }"
    );
}

#[test]
fn more_fields_than_fit_on_the_stack() {
    let many = "X: y\r\n".repeat(60);
    let request = one(&format!("GET / HTTP/1.1\r\n{many}Host: a\r\n{}\r\n", "Accept: z\r\n"));
    assert_eq!(request.value(Field::Host), Some(&b"a"[..]));
    assert_eq!(request.value(Field::Accept), Some(&b"z"[..]));
    assert_eq!(request.fields().count(), 62);
}

#[test]
fn persistence() {
    for (text, persistent) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", true),
    ] {
        assert_eq!(one(text).persistent(), persistent, "{text}");
    }
}

#[test]
fn nothing_is_decoded_after_the_last_request() {
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut decoder = decoder(format!("{last}{last}").as_bytes());
    assert!(decoder.next().expect("the first").is_some());
    assert!(decoder.is_empty());
    assert!(decoder.next().expect("silence").is_none());
}

#[test]
fn idle_is_empty() {
    let mut decoder = Discarding::new(Limits::default());
    assert!(decoder.is_empty());
    assert!(decoder.next().expect("nothing").is_none());
    decoder.push(b"");
    assert!(decoder.is_empty());
    decoder.push(b"G");
    assert!(!decoder.is_empty());
    assert!(decoder.next().expect("too little").is_none());
    assert!(!decoder.is_empty());
    decoder.push(b"ET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(decoder.next().expect("whole").is_some());
    assert!(decoder.is_empty());
    decoder.push(b"\r\n");
    assert!(decoder.next().expect("an empty line").is_none());
    assert!(decoder.is_empty());
}

#[test]
fn a_decoder_within_a_body_is_not_idle() {
    let mut decoder = decoder(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    assert!(decoder.next().expect("too little").is_none());
    assert!(!decoder.is_empty());
    decoder.push(b"ab");
    assert!(decoder.next().expect("too little").is_none());
    assert!(!decoder.is_empty());
    decoder.push(b"c");
    assert!(decoder.next().expect("whole").is_some_and(|request| request.complete()));
    assert!(decoder.is_empty());
}

#[test]
fn pipelines() {
    let mut decoder = decoder(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
          POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET \
          PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
          \r\nGET /4 HTTP/1.1\r\nHo",
    );
    for target in ["/1", "/2", "/3"] {
        let request = decoder.next().expect(target).expect(target);
        assert_eq!(request.target(), target.as_bytes());
        assert!(request.persistent());
        assert!(!decoder.is_empty());
    }
    assert!(decoder.next().expect("too little").is_none());
    decoder.push(b"st: a\r\n\r\n");
    let request = decoder.next().expect("whole").expect("whole");
    assert_eq!(request.request_line(), b"GET /4 HTTP/1.1");
    assert_eq!(request.value(Field::Host), Some(&b"a"[..]));
    assert!(decoder.is_empty());
}

#[test]
fn empty_lines_are_counted_for_each_request() {
    let text = "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5);
    let mut decoder = decoder(text.as_bytes());
    for _ in 0..5 {
        assert!(decoder.next().expect("whole").is_some());
    }
}

#[test]
fn bodies_are_discarded_up_to_the_limit() {
    let limits = Limits { max_discarded_body: 100, ..Limits::default() };
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for (name, rest, drained) in [
        ("as much as is read", format!("Content-Length: 100\r\n\r\n{}", "x".repeat(100)), true),
        ("more than is read", "Content-Length: 101\r\n\r\n".into(), false),
        ("a chunk that is too large", format!("{chunked}65\r\n"), false),
        ("the largest of chunks", format!("{chunked}ffffffffffffffff\r\n"), false),
        ("many chunks", format!("{chunked}{}", "1\r\nx\r\n".repeat(20)), false),
        ("long trailers", format!("{chunked}0\r\nX: {}", "y".repeat(100)), false),
        ("a chunked one that is read", format!("{chunked}40\r\n{:64}\r\n0\r\n\r\n", ""), true),
        ("waits to be asked", "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n".into(), false),
        ("waits without reason", "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n".into(), true),
        ("expects nothing known", "Content-Length: 1\r\nExpect: x\r\n\r\ny".into(), true),
    ] {
        let mut decoder = Discarding::new(limits);
        decoder.push(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}").as_bytes());
        let request = decoder.next().expect(name).expect(name);
        assert_eq!(request.complete(), drained, "{name}");
        assert_eq!(request.persistent(), drained, "{name}");
        decoder.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(decoder.next().expect(name).is_some(), drained, "{name}");
    }
}

#[test]
fn an_expectation_in_an_old_version_is_ignored() {
    let mut decoder = decoder(
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\
          Expect: 100-continue\r\n\r\n",
    );
    assert!(decoder.next().expect("too little").is_none());
    decoder.push(b"x");
    assert!(decoder.next().expect("whole").is_some_and(|request| request.persistent()));
}

#[test]
fn a_head_limit_above_the_maximum_is_reduced() {
    let limits =
        Limits { target: usize::MAX, head: usize::MAX, fields: usize::MAX, max_discarded_body: 0 };
    let mut decoder = Discarding::new(limits);
    decoder.push(format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)).as_bytes());
    assert!(decoder.next().is_err());
    let mut decoder = Discarding::new(limits);
    let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(65_000));
    decoder.push(head.as_bytes());
    let request = decoder.next().expect("fits").expect("fits");
    assert_eq!(request.value(Field::Host), Some(&b"a"[..]));
    assert_eq!(request.target().len(), 65_001);
}

#[test]
fn a_timeout_has_the_request_line_as_far_as_received() {
    for (arrived, line) in [
        ("GET /a HTTP/1.1\r\nHost: ", "GET /a HTTP/1.1"),
        ("GET /a", "GET /a"),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", ""),
        ("", ""),
    ] {
        let mut decoder = Discarding::new(Limits::default());
        decoder.push(arrived.as_bytes());
        assert!(decoder.next().expect("no error").is_none());
        let error = decoder.time_out();
        assert_eq!(error.status, Status::RequestTimeout);
        assert_eq!(String::from_utf8_lossy(&error.request_line), line);
        decoder.push(b"\r\n\r\n");
        assert!(decoder.next().expect("no error").is_none(), "nothing more comes out");
    }
}

#[test]
fn bodies_are_returned_in_pieces_without_their_framing() {
    let mut decoder = Decoder::new(Limits { max_discarded_body: 0, ..Limits::default() });
    decoder.push(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
          POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
          3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let mut seen = Vec::new();
    while let Some(event) = decoder.next().expect("valid") {
        seen.push(match event {
            Event::Head(request) => String::from_utf8_lossy(request.target()).into_owned(),
            Event::Body(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Event::End { complete } => complete.to_string(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["/1", "hello", "true", "/2", "abc", "de", "true", "/3", "true"]);
    assert!(decoder.is_empty());
}

#[test]
fn the_rest_of_a_body_can_be_discarded() {
    for (body, complete) in [("4\r\nabcd\r\n0\r\n\r\n", true), ("5\r\nabcde\r\n0\r\n\r\n", false)] {
        let mut decoder = Decoder::new(Limits { max_discarded_body: 16, ..Limits::default() });
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        decoder.push(format!("{head}{body}").as_bytes());
        assert!(matches!(decoder.next(), Ok(Some(Event::Head(_)))));
        assert!(matches!(decoder.next(), Ok(Some(Event::Body(b"abc")))));
        decoder.discard_body();
        let end = decoder.next().expect("valid");
        assert!(
            matches!(end, Some(Event::End { complete: is }) if is == complete),
            "{body}: {end:?}"
        );
    }
}

/// The client sends the body after the server has sent 100 (Continue).
#[test]
fn an_expected_body_is_returned_if_it_is_not_discarded() {
    let mut decoder = Decoder::new(Limits::default());
    decoder
        .push(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let Ok(Some(Event::Head(request))) = decoder.next() else { panic!("no head") };
    assert!(request.expects_continue());
    assert!(matches!(decoder.next(), Ok(None)));
    decoder.push(b"ok");
    assert!(matches!(decoder.next(), Ok(Some(Event::Body(b"ok")))));
    assert!(matches!(decoder.next(), Ok(Some(Event::End { complete: true }))));
}
