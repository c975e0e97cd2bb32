//! Clients that break the rules, or use another protocol.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use karez_tls::{Handshake, Progress, Reading, TlsError};
use rustls::AlertDescription;
use std::sync::Arc;

fn refuse(bytes: &[u8]) -> (TlsError, Vec<u8>) {
    let mut server = Handshake::new(Authority::new().store().config(), Reading::UpToTheEnd);
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = server.wants().unwrap().get().min(rest.len());
        if let Err(error) = server.receive(&rest[..count]) {
            assert_eq!(server.wants(), None, "nothing is read behind an error");
            server.receive(b"more").unwrap_err();
            return (error, server.take_output());
        }
        rest = &rest[count..];
    }
    panic!("accepted: {bytes:?}");
}

#[test]
fn garbage_is_refused_by_the_right_alert() {
    let cases: [(&[u8], u8, &str); 7] = [
        (b"\0\0\0\0\0\0\0\0", 10, "no content type"),
        (b"\x80\x2e\x01\x03\x01\x00\x15", 10, "SSL 2"),
        (b"\x16\x05\x01\x00\x05hello", 70, "an unknown version"),
        (b"\x16\x03\x01\xff\xff", 22, "a record of 64 KiB"),
        (b"\x17\x03\x03\x00\x05hello", 10, "data first"),
        (b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", 50, "a short ClientHello"),
        (b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", 10, "another message first"),
    ];
    for (bytes, alert, why) in cases {
        let (error, output) = refuse(bytes);
        assert_eq!(plain_alert(&output), Some(alert), "{why}: {error} {output:?}");
    }
}

#[test]
fn plain_http_is_recognised_and_handed_back() {
    for request in
        ["GET / HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut server = Handshake::new(Authority::new().store().config(), Reading::UpToTheEnd);
        let (first, rest) = request.as_bytes().split_at(3);
        assert_eq!(server.receive(first), Ok(Progress::Receive));
        assert_eq!(server.receive(rest), Err(TlsError::PlainHttp));
        assert_eq!(server.take_output(), [], "no alert: the client would not understand it");
        assert_eq!(server.into_received(), request.as_bytes());
    }
}

#[test]
fn an_old_version_is_refused_by_its_alert() {
    // A ClientHello of TLS 1.1, whose only extension names a signature.
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    let (error, output) = refuse(&record);
    assert_eq!(plain_alert(&output), Some(70), "{error}");
}

#[test]
fn a_flight_of_more_than_64_kib_is_refused() {
    // The message says that it has 16 MiB: rustls refuses that at once.
    let mut long = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    long.resize(5 + (16 << 10), 0);
    refuse(&long);

    // As many bytes as are allowed in a message, in records of 16 KiB, and one more record.
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(4 + 0xffff, 0);
    let mut record = vec![0x16, 3, 1, 0, 0];
    record.truncate(3);
    let mut whole = Vec::new();
    for piece in message[..message.len() - 1].chunks(16 << 10) {
        whole.extend([0x16, 3, 1]);
        whole.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        whole.extend(piece);
    }
    let (error, output) = refuse(&[&whole[..], b"\x16\x03\x01\x00\x05hel"].concat());
    assert_eq!(error, TlsError::TooMuch("bytes in a handshake"));
    assert_eq!(plain_alert(&output), Some(10));
}

#[test]
fn many_records_and_empty_ones_are_refused() {
    let mut message = vec![1, 0, 0x20, 0];
    message.resize(4 + 0x2000 - 1, 0);
    let mut whole = vec![0x16, 3, 1, 0x1f, 0xff];
    whole.truncate(3);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    whole.extend(length);
    whole.extend(&message);
    let (error, _) = refuse(&fragmented(&whole, 1));
    assert_eq!(error, TlsError::TooMuch("records in a handshake"));
    // rustls limits these.
    refuse(&[0x16, 3, 1, 0, 0].repeat(40));
}

/// A handshake up to where the client has the server's first flight.
fn half_way(suite: usize) -> (Handshake, rustls::ClientConnection) {
    let authority = Authority::new();
    let client = Arc::new(authority.client_of_suite(suites()[suite]));
    let mut client = connect(&client, "server.example");
    let mut server = Handshake::new(authority.store().config(), Reading::Beyond);
    server.receive(&outgoing(&mut client)).unwrap();
    incoming(&mut client, &server.take_output()).unwrap();
    (server, client)
}

#[test]
fn a_finished_that_was_changed_is_refused() {
    for suite in 0..6 {
        let (mut server, mut client) = half_way(suite);
        let mut wire = outgoing(&mut client);
        *wire.last_mut().unwrap() ^= 1;
        let error = server.receive(&wire).unwrap_err();
        let expected = TlsError::Handshake(rustls::Error::DecryptError);
        assert_eq!(error, expected, "suite {suite}");
        let refused = incoming(&mut client, &server.take_output()).unwrap_err();
        assert_eq!(refused, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
        server.finish().unwrap_err();
    }
}

#[test]
fn garbage_in_the_middle_is_refused() {
    for suite in [0, 3] {
        for garbage in
            [&b"\x17\x03\x03\x00\x20"[..], b"\x16\x03\x03\x00\x20", b"GET / HTTP/1.1\r\n"]
        {
            let (mut server, _client) = half_way(suite);
            let mut wire = garbage.to_vec();
            wire.resize(64, 7);
            server.receive(&wire).unwrap_err();
            server.finish().unwrap_err();
        }
    }
}

#[test]
fn a_client_that_gives_up_is_named() {
    let (mut server, _) = half_way(0);
    let error = server.receive(&[21, 3, 3, 0, 2, 2, 48]).unwrap_err();
    assert_eq!(error.to_string(), "the peer sent the alert UnknownCA");
}

#[test]
fn an_unfinished_handshake_has_no_keys() {
    let config = Authority::new().store().config();
    assert!(matches!(Handshake::new(config, Reading::Beyond).finish(), Err(TlsError::NotReady)));
    for suite in [0, 3] {
        assert!(matches!(half_way(suite).0.finish(), Err(TlsError::NotReady)));
    }
}

#[test]
fn early_data_is_refused() {
    // A client that sends data right behind its ClientHello, which was not allowed.
    let authority = Authority::new();
    let client = Arc::new(authority.client_of_suite(suites()[0]));
    let mut client = connect(&client, "server.example");
    let mut wire = outgoing(&mut client);
    wire.extend([23, 3, 3, 0, 20]);
    wire.extend([7; 20]);
    let mut server = Handshake::new(authority.store().config(), Reading::Beyond);
    server.receive(&wire).unwrap_err();
}

#[test]
fn a_waiting_handshake_costs_little_memory() {
    let server = Handshake::new(Authority::new().store().config(), Reading::UpToTheEnd);
    assert_eq!(server.allocated(), 0);
    assert!(size_of_val(&server) <= 160, "{} bytes", size_of_val(&server));

    let mut server = Handshake::new(Authority::new().store().config(), Reading::UpToTheEnd);
    server.receive(b"\x16\x03\x01\x3f").unwrap();
    assert!(server.allocated() <= 64, "a header promises 16 KiB: {}", server.allocated());
}
