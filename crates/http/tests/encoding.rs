//! Which codings a client takes.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

mod discarding;

use discarding::Discarding;
use karez_http::Limits;
use karez_http::encoding::preferred;

fn tokens(fields: &str) -> Vec<&'static str> {
    let mut decoder = Discarding::new(Limits::default());
    decoder.push(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    let request = decoder.next().expect(fields).expect(fields);
    let codings = preferred(&request);
    assert_eq!(codings.is_empty(), codings.iter().next().is_none());
    codings.iter().map(karez_http::Coding::token).collect()
}

#[test]
fn preferences() {
    for (value, expected) in [
        ("gzip, deflate, br, zstd", &["zstd", "br", "gzip"][..]),
        ("gzip", &["gzip"]),
        ("x-gzip", &["gzip"]),
        ("GZIP;Q=1.0", &["gzip"]),
        ("gzip;q=1.0, br;q=0.5", &["gzip", "br"]),
        ("zstd;q=0.1, br;q=0.5, gzip;q=0.9", &["gzip", "br", "zstd"]),
        ("gzip;q=0.5, br;q=0.5", &["br", "gzip"]),
        ("gzip;q=0", &[]),
        ("gzip;q=0.000", &[]),
        ("gzip;q=0.001", &["gzip"]),
        ("gzip;q=0.5, identity", &[]),
        ("gzip;q=0.5, br, identity;q=0.6", &["br"]),
        ("gzip, identity;q=0", &["gzip"]),
        ("identity", &[]),
        ("deflate", &[]),
        ("*", &["zstd", "br", "gzip"]),
        ("*;q=0", &[]),
        ("gzip, *;q=0", &["gzip"]),
        ("br;q=0, *", &["zstd", "gzip"]),
        ("gzip;q=0.3, *;q=0.5", &["zstd", "br"]),
        ("gzip;q=0.3, *;q=0.5, identity;q=0.1", &["zstd", "br", "gzip"]),
        ("gzip ; q=0.5 , br ;\tq=0.7", &["br", "gzip"]),
        ("gzip;q=1.001, br", &["br"]),
        ("gzip;q=0.1234, br", &["br"]),
        ("gzip;q=2, br", &["br"]),
        ("gzip;q=, br", &["br"]),
        ("gzip;q, br", &["br"]),
        ("gzip;x=1, br", &["br"]),
        ("gzip;q=-1, br", &["br"]),
        ("gzip;q=.5, br", &["br"]),
        ("gzip;q=1., br;q=0.", &["gzip"]),
        ("gzip;q=0.5;q=1, br", &["br"]),
        (",,gzip,", &["gzip"]),
        ("", &[]),
    ] {
        assert_eq!(tokens(&format!("Accept-Encoding: {value}\r\n")), expected, "{value}");
    }
}

#[test]
fn lines_are_one_list_and_none_is_none() {
    let both = "Accept-Encoding: br;q=0.1\r\nX: y\r\nAccept-Encoding: gzip\r\n";
    assert_eq!(tokens(both), ["gzip", "br"]);
    assert_eq!(tokens(""), [""; 0]);
}
