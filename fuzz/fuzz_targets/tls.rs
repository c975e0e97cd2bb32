//! Any bytes from a client: in a handshake, in place of parts of a ClientHello or of a Finished, and in
//! records behind the handshake. Nothing panics, nothing but a genuine handshake succeeds, and no split
//! of the bytes changes the result.
//!
//! The first byte is the case.
#![no_main]

use karez_tls::{
    CertStore, Established, Handshake, Incoming, Opener, Progress, Reading, Sealer, Settings,
    TxKeys,
};
use karez_transfer::{RecordKind, Seal};
use libfuzzer_sys::fuzz_target;
use rustls::{ClientConfig, ClientConnection};
use std::sync::{Arc, LazyLock};

#[path = "../../crates/tls/tests/common/trusting.rs"]
mod trusting;

use trusting::Trusting;

static STORE: LazyLock<CertStore> = LazyLock::new(|| {
    CertStore::self_signed(&["localhost".to_owned()], Settings::default()).unwrap().0
});

static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&rustls::version::TLS13, &rustls::version::TLS12].map(|version| {
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting))
            .with_no_client_auth();
        Arc::new(config)
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((case, input)) = input.split_first() else { return };
    let client = &CLIENTS[usize::from(case & 1)];
    match case >> 1 & 3 {
        0 => any_bytes(input),
        1 => changed_hello(client, input),
        2 => changed_finished(client, input),
        _ => records(client, input),
    }
});

/// Gives bytes to a handshake, as much at a time as it wants, or one by one.
fn feed(server: &mut Handshake, mut bytes: &[u8], single: bool) -> Result<Progress, String> {
    let mut progress = Progress::Receive;
    while let (Some(most), false) = (server.wants(), bytes.is_empty()) {
        let count = if single { 1 } else { most.get().min(bytes.len()) };
        progress = server.receive(&bytes[..count]).map_err(|error| error.to_string())?;
        bytes = &bytes[count..];
    }
    Ok(progress)
}

fn new_handshake() -> Handshake {
    Handshake::new(STORE.config(), Reading::UpToTheEnd)
}

fn any_bytes(input: &[u8]) {
    let (mut one, mut other) = (new_handshake(), new_handshake());
    let whole = feed(&mut one, input, false);
    assert_ne!(whole, Ok(Progress::Done));
    assert_eq!(whole, feed(&mut other, input, true));
}

/// Overwrites bytes: pairs of a place and a value.
fn change(wire: &mut [u8], input: &[u8]) -> bool {
    let before = wire.to_vec();
    for patch in input.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % wire.len();
        wire[at] = patch[2];
    }
    before != wire
}

fn changed_hello(client: &Arc<ClientConfig>, input: &[u8]) {
    let mut wire = outgoing(&mut connect(client));
    change(&mut wire, input);
    let mut server = new_handshake();
    assert_ne!(feed(&mut server, &wire, false), Ok(Progress::Done));
    let _ = server.take_output();
    // Any other bytes are not the message for which it waits.
    let _ = feed(&mut server, input, false);
    assert!(server.finish().is_err());
}

/// Returns a handshake that waits for the client's `Finished`, and the bytes with that.
fn before_finished(client: &Arc<ClientConfig>) -> (Handshake, Vec<u8>) {
    let (mut client, mut server) = (connect(client), new_handshake());
    feed(&mut server, &outgoing(&mut client), false).unwrap();
    incoming(&mut client, &server.take_output());
    (server, outgoing(&mut client))
}

fn changed_finished(client: &Arc<ClientConfig>, input: &[u8]) {
    let (mut server, mut wire) = before_finished(client);
    let changed = change(&mut wire, input);
    let done = feed(&mut server, &wire, false) == Ok(Progress::Done);
    // The version in a record's header is not authenticated in TLS 1.3.
    assert!(done || changed);
    assert_eq!(done, server.finish().is_ok());
}

/// Records that open, with any content, and then any bytes.
fn records(client: &Arc<ClientConfig>, input: &[u8]) {
    let (mut server, wire) = before_finished(client);
    assert_eq!(feed(&mut server, &wire, false), Ok(Progress::Done));
    let Established { rx, mut session, .. } = server.finish().unwrap();
    let tx = TxKeys::from_kernel(rx.as_kernel().clone());
    let mut sealer = Sealer::new(tx, &session).unwrap();
    let mut opener = Opener::new(rx).unwrap();
    let mut input = input;
    while let [kind, length, rest @ ..] = input {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        let room = sealer.room();
        let mut record = vec![0; room.prefix];
        record.extend_from_slice(content);
        record.resize(record.len() + room.tag, 0);
        if *kind & 0x80 == 0 {
            sealer.seal(RecordKind(*kind), &mut record).unwrap();
        }
        let mut received = &mut record[..];
        loop {
            match opener.next(&mut received, &mut session) {
                Ok(Some(Incoming::Data(data))) => assert!(!data.is_empty()),
                Ok(Some(_)) => assert!(opener.is_closed()),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn connect(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap()
}

fn outgoing(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

fn incoming(client: &mut ClientConnection, mut wire: &[u8]) {
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets().unwrap();
    }
}
