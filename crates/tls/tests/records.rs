//! Records behind the handshake: sizes, ends, limits, damage, splits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::exposed::exposed;
use common::*;
use karez_tls::{Alert, Incoming, Opener, RxKeys, Sealer, TlsError, TxKeys};
use karez_transfer::{FileToSocket, Progress, RecordKind, Seal as _, Via};
use proptest::prelude::*;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;

#[test]
fn the_first_records_are_short_and_the_others_are_full() {
    for suite in 0..6 {
        let (mut server, _) = pair(suite);
        let wire = server.send(&[1; 50_000]);
        let lengths = record_lengths(&wire);
        let most = 16_384 + if suite < 3 { 17 } else { 24 };
        // The last bytes of the first flight of a new connection are whole records.
        assert_eq!(lengths[..3], [4096 - 5; 3], "suite {suite}");
        assert!((most - 8..=most).contains(&lengths[3]), "suite {suite}: {lengths:?}");
        // It costs two more records: less than 60 bytes in all.
        assert_eq!(lengths.len(), 6, "suite {suite}");
        let each = (wire.len() - 50_000) / lengths.len();
        assert!((21..=29).contains(&each), "suite {suite}: {each} bytes for a record");
        assert!(record_lengths(&server.send(&[1; 20_000]))[0] > 16_384, "not idle any more");
    }
}

#[test]
fn both_sides_close_by_close_notify() {
    for suite in 0..6 {
        let (mut server, mut client) = pair(suite);
        let mut wire = seal(&mut client, b"bye");
        client.send_close_notify();
        wire.extend(outgoing(&mut client));
        wire.extend(b"and bytes that mean nothing");
        assert_eq!(server.receive(&wire).unwrap(), (b"bye".to_vec(), true));
        assert!(server.opener.is_closed() && server.opener.is_between_records());
        assert_eq!(server.receive(b"more").unwrap(), (Vec::new(), false));

        let close = Alert::CLOSE_NOTIFY.to_bytes().to_vec();
        server.outbox.push_bytes(b"so long".to_vec());
        server.outbox.push_record(RecordKind::ALERT, close);
        let wire = drain(&mut server.outbox);
        assert_eq!(incoming(&mut client, &wire).unwrap(), b"so long");
        assert_eq!(client.reader().read(&mut [0; 8]).unwrap(), 0, "a regular end");
    }
}

#[test]
fn an_end_inside_a_record_or_without_close_notify_is_no_regular_one() {
    let (mut server, mut client) = pair(0);
    let wire = seal(&mut client, &[1; 100]);
    for byte in &wire[..wire.len() - 1] {
        assert_eq!(server.receive(&[*byte]).unwrap(), (Vec::new(), false));
        assert!(!server.opener.is_between_records());
    }
    assert_eq!(server.receive(&wire[wire.len() - 1..]).unwrap().0, [1; 100]);
    assert!(server.opener.is_between_records() && !server.opener.is_closed());
    assert_eq!(server.opener.held(), 0, "memory is given back");
}

#[test]
fn damaged_records_are_refused_by_the_right_alert() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(Damage, Alert); 6] = [
        (|wire| wire[20] ^= 1, Alert::BAD_RECORD_MAC),
        (|wire| *wire.last_mut().unwrap() ^= 0x80, Alert::BAD_RECORD_MAC),
        (|wire| wire[0] = 20, Alert::UNEXPECTED_MESSAGE),
        (|wire| wire[1] = 2, Alert::UNEXPECTED_MESSAGE),
        (|wire| wire[3..5].copy_from_slice(&[0x41, 1]), Alert::RECORD_OVERFLOW),
        (|wire| wire.splice(0.., [23, 3, 3, 0, 3, 1, 2, 3]).for_each(drop), Alert::BAD_RECORD_MAC),
    ];
    for suite in 0..6 {
        for (damage, alert) in cases {
            let (mut server, mut client) = pair(suite);
            let mut wire = seal(&mut client, &[5; 100]);
            damage(&mut wire);
            let error = server.receive(&wire).unwrap_err();
            assert_eq!(error.alert(), Some(alert), "suite {suite}: {error}");
            let intact = seal(&mut client, b"more");
            server.receive(&intact).unwrap_err();

            // The alert reaches the client.
            server.outbox.push_record(RecordKind::ALERT, alert.to_bytes().to_vec());
            let refused = incoming(&mut client, &drain(&mut server.outbox)).unwrap_err();
            assert_eq!(refused, rustls::Error::AlertReceived(alert.0.into()));
        }
    }
}

#[test]
fn a_record_that_comes_twice_or_too_early_is_refused() {
    for suite in 0..6 {
        let (mut server, mut client) = pair(suite);
        let (first, second) = (seal(&mut client, b"first"), seal(&mut client, b"second"));
        assert_eq!(server.receive(&first).unwrap().0, b"first");
        server.receive(&first).unwrap_err();
        let (mut server, _) = pair(suite);
        server.receive(&second).unwrap_err();
    }
}

#[test]
fn an_alert_and_renegotiation_end_the_connection() {
    let (mut server, mut client) = pair(0);
    // The client refuses a damaged record by an alert.
    let mut wire = server.send(b"hello");
    *wire.last_mut().unwrap() ^= 1;
    incoming(&mut client, &wire).unwrap_err();
    let error = server.receive(&outgoing(&mut client)).unwrap_err();
    assert_eq!((error.clone(), error.alert()), (TlsError::Peer(Alert::BAD_RECORD_MAC), None));

    let (mut server, _) = pair(3);
    let error = server.session.control(22, &[1, 0, 0, 38]).unwrap_err();
    assert_eq!(error.alert(), Some(Alert::NO_RENEGOTIATION));
}

#[test]
fn padding_is_taken_off_and_padding_alone_is_refused() {
    let (server, client) = exposed();
    let mut session = server.session;
    let sealed = |content: &[u8]| {
        // Sealed as data, so the type that the opener sees is the last byte that is not zero.
        let mut sealer =
            Sealer::new(TxKeys::from_kernel(client.tx.as_kernel().clone()), &session).unwrap();
        let mut record = vec![0; 5];
        record.extend(content);
        record.resize(record.len() + 17, 0);
        sealer.seal(RecordKind(0), &mut record).unwrap();
        record
    };
    let padded = sealed(b"water\x17\0\0\0\0");
    let empty = sealed(b"\0\0\0\0");
    for (mut record, expected) in [(padded, Some(b"water")), (empty, None)] {
        let rx = RxKeys::from_kernel(server.rx.as_kernel().clone());
        let mut opener = Opener::new(rx).unwrap();
        let mut input = &mut record[..];
        match (opener.next(&mut input, &mut session), expected) {
            (Ok(Some(Incoming::Data(data))), Some(text)) => assert_eq!(data, text),
            (Err(error), None) => assert_eq!(error.alert(), Some(Alert::UNEXPECTED_MESSAGE)),
            (other, _) => panic!("{other:?}"),
        };
    }
}

#[test]
fn empty_records_are_limited() {
    let (server, client) = exposed();
    let mut session = server.session;
    let mut sealer = Sealer::new(client.tx, &session).unwrap();
    let mut opener = Opener::new(server.rx).unwrap();
    for count in 0..40 {
        let mut record = vec![0; 5 + 17];
        sealer.seal(RecordKind::DATA, &mut record).unwrap();
        let mut input = &mut record[..];
        match opener.next(&mut input, &mut session) {
            Ok(None) => assert!(count < 32),
            Err(TlsError::TooMuch(_)) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("40 empty records");
}

#[test]
fn a_sealer_refuses_a_record_without_room() {
    let (server, _) = exposed();
    let mut sealer = Sealer::new(server.tx, &server.session).unwrap();
    for length in 0..5 + 17 {
        sealer.seal(RecordKind::DATA, &mut vec![0; length]).unwrap_err();
    }
}

#[test]
fn files_leave_sealed_and_whole() {
    let authority = Authority::new();
    let config = authority.store().config();
    for size in [1, 4_074, 4_075, 16_383, 16_384, 16_385, 65_536, 65_537, 1 << 20] {
        for suite in [0, 2, 3, 5] {
            let client = Arc::new(authority.client_of_suite(suites()[suite]));
            let (mut server, mut client) =
                established(Arc::clone(&config), &client, "server.example");
            let content: Vec<u8> = (0..size).map(|at: u32| (at / 7 % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();

            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            let receiver = std::thread::spawn(move || {
                let mut wire = Vec::new();
                far.read_to_end(&mut wire).unwrap();
                incoming(&mut client, &wire).unwrap()
            });
            server.outbox.push_bytes(b"head".to_vec());
            let transfer = FileToSocket::new(Arc::new(file), 0..u64::from(size), Via::Sendfile);
            server.outbox.push_file(transfer);
            while !matches!(server.outbox.step(near.as_fd()).unwrap(), Progress::Done) {}
            drop(near);
            let received = receiver.join().unwrap();
            assert!(received[..4] == *b"head" && received[4..] == content, "{size}, suite {suite}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_split_of_a_stream_gives_the_same(
        suite in 0..6_usize,
        pieces in prop::collection::vec((0_usize..40_000, any::<bool>()), 1..8),
        sizes in prop::collection::vec(1_usize..20_000, 1..30),
    ) {
        let (mut server, mut client) = pair(suite);
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for (at, (length, update)) in pieces.into_iter().enumerate() {
            let plain = vec![u8::try_from(at).unwrap(); length];
            wire.extend(seal(&mut client, &plain));
            if update && suite < 3 {
                client.refresh_traffic_keys().unwrap();
                wire.extend(outgoing(&mut client));
            }
            expected.extend(plain);
        }
        client.send_close_notify();
        wire.extend(outgoing(&mut client));
        let mut sizes = sizes.into_iter().cycle();
        let (mut received, mut ends) = (Vec::new(), 0);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            let (plain, closed) = server.receive(piece).unwrap();
            received.extend(plain);
            ends += usize::from(closed);
            rest = behind;
        }
        prop_assert!(received == expected);
        prop_assert_eq!(ends, 1);
    }

    #[test]
    fn any_bytes_are_refused_or_awaited(bytes in prop::collection::vec(any::<u8>(), 0..400), suite in 0..6_usize) {
        let (mut server, _) = pair(suite);
        match server.receive(&bytes) {
            Ok((plain, closed)) => prop_assert!(plain.is_empty() && !closed),
            Err(error) => prop_assert!(error.alert().is_some()),
        }
    }
}
