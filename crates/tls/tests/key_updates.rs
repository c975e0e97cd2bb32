//! Key updates (RFC 8446 §4.6.3): asked for by the client, due after many records, sent by the kernel.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::exposed::{at, exposed, keys};
use common::*;
use karez_tls::{Control, Incoming, Opener, RxKeys, Sealer, TlsError, TxKeys};
use karez_transfer::Outbox;
use std::sync::Arc;

/// Records under one key before it is replaced.
const LIMIT: u64 = 1 << 23;

#[test]
fn key_updates_in_the_middle_of_data_are_followed_both_ways() {
    for suite in 0..3 {
        let (mut server, mut client) = pair(suite);
        for round in 0..5_u8 {
            // The client changes its key, and asks for the same of the server.
            let mut wire = seal(&mut client, &[round; 20_000]);
            client.refresh_traffic_keys().unwrap();
            wire.extend(outgoing(&mut client));
            wire.extend(seal(&mut client, &[round; 3]));
            let (received, _) = server.receive(&wire).unwrap();
            assert_eq!(received, [round; 20_003]);

            // The answer begins with the server's key update, under the old key.
            let wire = server.send(&[round; 30_000]);
            assert_eq!(wire[..5], [23, 3, 3, 0, 22], "5 bytes, their type and a tag");
            assert_eq!(incoming(&mut client, &wire).unwrap(), [round; 30_000]);
            let wire = server.send(&[round; 10]);
            assert_eq!(wire.len(), 5 + 10 + 1 + 16, "one update is enough");
            assert_eq!(incoming(&mut client, &wire).unwrap(), [round; 10]);
        }
    }
}

#[test]
fn a_key_update_that_is_asked_for_in_the_middle_of_a_response_is_put_between_records() {
    let (mut server, mut client) = pair(0);
    server.outbox.push_bytes(vec![7; 200_000]);
    client.refresh_traffic_keys().unwrap();
    let wire = outgoing(&mut client);
    server.receive(&wire).unwrap();
    // The outbox is not empty, so the session appends nothing.
    server.session.update_keys(&mut server.outbox);
    assert_eq!(server.outbox.queued(), 200_000);
    let wire = drain(&mut server.outbox);
    let lengths = record_lengths(&wire);
    assert_eq!(lengths[1], 22, "behind the first record: {lengths:?}");
    assert_eq!(incoming(&mut client, &wire).unwrap(), [7; 200_000]);
}

#[test]
fn too_many_key_updates_are_refused() {
    let (mut server, mut client) = pair(0);
    for _ in 0..40 {
        client.refresh_traffic_keys().unwrap();
        let wire = outgoing(&mut client);
        if let Err(error) = server.receive(&wire) {
            assert_eq!(error, TlsError::TooMuch("key updates"));
            return;
        }
    }
    panic!("40 key updates without data");
}

#[test]
fn a_key_that_is_used_up_is_replaced() {
    let (server, mut client) = exposed();
    assert_eq!(server.tx.as_kernel().sequence(), client.rx.as_kernel().sequence());
    let tx = TxKeys::from_kernel(at(server.tx.as_kernel(), LIMIT - 2));
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Sealer::new(tx, &server.session).unwrap()));
    let mut wire = Vec::new();
    for text in [b"one", b"two", b"tri"] {
        outbox.push_bytes(text.to_vec());
        wire.extend(drain(&mut outbox));
    }
    assert_eq!(record_lengths(&wire), [20, 20, 22, 20]);

    // The first three under the old key, the last under the client's next.
    let (old, new) = wire.split_at_mut(2 * 25 + 27);
    let mut session = server.session;
    let rx = RxKeys::from_kernel(at(client.rx.as_kernel(), LIMIT - 2));
    let mut opener = Opener::new(rx).unwrap();
    let mut input = old;
    for text in [b"one", b"two"] {
        match opener.next(&mut input, &mut session).unwrap() {
            Some(Incoming::Data(data)) => assert_eq!(data, text),
            other => panic!("{other:?}"),
        }
    }
    assert!(opener.next(&mut input, &mut session).unwrap().is_none(), "a key update");
    let (sequence, secrets) = client.kernel.update_rx_secret().unwrap();
    let rx = RxKeys::from_kernel(keys(sequence, secrets));
    let mut opener = Opener::new(rx).unwrap();
    let mut input = new;
    match opener.next(&mut input, &mut session).unwrap() {
        Some(Incoming::Data(data)) => assert_eq!(data, b"tri"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_kernel_is_given_a_key_update_when_one_is_due() {
    let (server, mut client) = exposed();
    let mut session = server.session;
    assert!(session.kernel_update().unwrap().is_none());

    // The client asks for one; the kernel delivers the record.
    match session.control(22, &[24, 0, 0, 1, 1]).unwrap() {
        Control::KeyUpdate(rx) => {
            let (sequence, secrets) = client.kernel.update_tx_secret().unwrap();
            assert_eq!(rx.as_kernel().key(), keys(sequence, secrets).key());
        }
        other => panic!("{other:?}"),
    }
    assert!(session.kernel_update_due());
    let update = session.kernel_update().unwrap().unwrap();
    assert_eq!(update.message, [24, 0, 0, 1, 0]);
    let (sequence, secrets) = client.kernel.update_rx_secret().unwrap();
    assert_eq!(update.keys.as_kernel().key(), keys(sequence, secrets).key());
    assert!(!session.kernel_update_due(), "once");
    assert!(session.kernel_update().unwrap().is_none());

    session.sent_by_kernel(200 << 30);
    assert!(session.kernel_update().unwrap().is_some(), "the key has been in use for long");
    assert!(session.kernel_update().unwrap().is_none());
}

#[test]
fn tls12_asks_for_a_close_when_its_key_is_used_up() {
    let authority = Authority::new();
    let client = Arc::new(authority.client_of_suite(suites()[3]));
    let mut client = connect(&client, "server.example");
    let server = handshake(authority.store().config(), &mut client).unwrap().finish().unwrap();
    let tx = TxKeys::from_kernel(at(server.tx.as_kernel(), LIMIT - 2));
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Sealer::new(tx, &server.session).unwrap()));
    for expected in [false, true] {
        outbox.push_bytes(b"water".to_vec());
        assert_eq!(record_lengths(&drain(&mut outbox)), [8 + 5 + 16], "no key update");
        assert_eq!(server.session.should_close(), expected);
    }
}
