//! Handshakes with rustls's client, in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use karez_tls::{CertStore, Handshake, Progress, Reading, TlsError, TlsVersion};
use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::{ClientConnection, SignatureScheme};
use std::sync::Arc;

#[test]
fn every_suite_is_negotiated_and_carries_data() {
    let authority = Authority::new();
    let config = authority.store().config();
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    for suite in suites() {
        let client = Arc::new(authority.client_of_suite(suite));
        let (mut server, mut client) = established(Arc::clone(&config), &client, "server.example");
        let version = match suite.tls13() {
            Some(_) => TlsVersion::Tls13,
            None => TlsVersion::Tls12,
        };
        assert_eq!((server.info.version, server.info.suite), (version, suite.suite()));
        assert_eq!(server.info.server_name.as_deref(), Some("server.example"));
        assert_eq!((server.info.resumed, &server.info.protocol), (false, &None));

        let (received, closed) = server.receive(&seal(&mut client, &data)).unwrap();
        assert!(received == data && !closed, "{suite:?}");
        let wire = server.send(&received);
        assert!(incoming(&mut client, &wire).unwrap() == data, "{suite:?}");
    }
}

#[test]
fn a_client_resumes_by_a_ticket_also_after_a_reload() {
    let authority = Authority::new();
    let store = authority.store();
    for suite in suites() {
        let config = Arc::new(authority.client_of_suite(suite));
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let (mut server, mut client) = established(store.config(), &config, "server.example");
            // TLS 1.3 has its tickets behind the handshake, so the client has to read on.
            let wire = server.send(b"hello");
            incoming(&mut client, &wire).unwrap();
            resumed.push(server.info.resumed);
            store.reload().unwrap();
        }
        assert_eq!(resumed, [false, true], "{suite:?}");
        let (server, _) = established(authority.store().config(), &config, "server.example");
        assert!(!server.info.resumed, "another store has other keys");
    }
}

#[test]
fn a_reload_with_a_client_ca_forgets_tickets() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    let store = CertStore::load(settings).unwrap();
    let config = Arc::new(authority.client_with_certificate(&authority));
    let resumes = || {
        let (mut server, mut client) = established(store.config(), &config, "server.example");
        let wire = server.send(b"hello");
        incoming(&mut client, &wire).unwrap();
        assert_eq!(server.info.client_certificates.len(), 1);
        server.info.resumed
    };
    assert!(!resumes());
    assert!(resumes());
    store.reload().unwrap();
    assert!(!resumes());
}

#[test]
fn protocols_are_chosen_in_the_servers_order() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let store = CertStore::load(settings).unwrap();
    let cases = [
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["x", "http/1.1"], Some("http/1.1")),
        (vec![], None),
    ];
    for (offered, expected) in cases {
        let mut config = authority.client();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let expected = expected.map(str::as_bytes);
        let (server, client) = established(store.config(), &Arc::new(config), "server.example");
        assert_eq!(server.info.protocol.as_deref(), expected);
        assert_eq!(client.alpn_protocol(), expected);
    }
    let mut config = authority.client();
    config.alpn_protocols = vec![b"gopher".to_vec()];
    let mut client = connect(&Arc::new(config), "server.example");
    let mut server = Handshake::new(store.config(), Reading::Beyond);
    server.receive(&outgoing(&mut client)).unwrap_err();
    let refused = incoming(&mut client, &server.take_output()).unwrap_err();
    let alert = rustls::AlertDescription::NoApplicationProtocol;
    assert_eq!(refused, rustls::Error::AlertReceived(alert));
}

#[test]
fn certificates_are_chosen_by_name() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.pairs = vec![
        authority.pair("first", &["first.example.test"]),
        authority.pair("wild", &["*.example.test", "Two.Other"]),
        authority.pair("exact", &["exact.example.test"]),
    ];
    let store = CertStore::load(settings).unwrap();
    let infos = store.certificates();
    assert_eq!(infos[1].names, ["*.example.test", "two.other"]);
    let first_of = |name: &str| {
        let config = Arc::new(authority.client());
        let mut client = connect(&config, name);
        let _ = handshake(store.config(), &mut client);
        client.peer_certificates().map(|chain| chain[0].clone())
    };
    let certificate = |at: usize| {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::CertificateDer::from_pem_file(&infos[at].path).ok()
    };
    for (name, at) in [
        ("first.example.test", 0),
        ("exact.example.test", 2),
        ("EXACT.example.test", 2),
        ("any.example.test", 1),
        ("two.other", 1),
    ] {
        assert_eq!(first_of(name), certificate(at), "{name}");
    }
    // The names below get the first, and the client refuses it for that.
    for name in ["a.b.example.test", "unknown.test", "example.test", "127.0.0.1"] {
        let mut client = connect(&Arc::new(authority.client()), name);
        let mut server = Handshake::new(store.config(), Reading::Beyond);
        server.receive(&outgoing(&mut client)).unwrap();
        let refused = incoming(&mut client, &server.take_output()).unwrap_err();
        let text = format!("{refused:?}");
        assert!(text.contains("first.example.test"), "{name}: {text}");
    }
}

#[test]
fn of_two_certificates_for_a_name_the_client_gets_one_that_it_can_check() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    let (certificate, key) = authority.issue(&["server.example"], &rcgen::PKCS_ED25519, |_| {});
    let certificate = authority.write("ed.pem", certificate);
    settings.pairs.insert(0, karez_tls::Pair { certificate, key: authority.write("ed.key", key) });
    let store = CertStore::load(settings).unwrap();

    let all = ring::default_provider();
    let ecdsa: Vec<_> = all
        .signature_verification_algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme != SignatureScheme::ED25519)
        .copied()
        .collect();
    let ecdsa = WebPkiSupportedAlgorithms {
        mapping: ecdsa.leak(),
        ..all.signature_verification_algorithms
    };
    let ecdsa = CryptoProvider { signature_verification_algorithms: ecdsa, ..all };
    for (provider, length) in [(ring::default_provider(), 32), (ecdsa, 65)] {
        let config = Arc::new(authority.client_with(provider));
        let (_, client) = established(store.config(), &config, "server.example");
        let certificate = &client.peer_certificates().unwrap()[0];
        let parsed = rustls::server::ParsedCertificate::try_from(certificate).unwrap();
        let key = parsed.subject_public_key_info();
        assert!(key.len() >= length && key.len() < length + 32, "{} bytes", key.len());
    }
}

#[test]
fn client_certificates_are_checked() {
    let (authority, other) = (Authority::new(), Authority::new());
    for optional in [false, true] {
        let mut settings = authority.settings();
        settings.client_ca = Some(authority.path("ca.pem"));
        settings.client_optional = optional;
        let store = CertStore::load(settings).unwrap();
        let attempt = |config| {
            let mut client = connect(&Arc::new(config), "server.example");
            let server = handshake(store.config(), &mut client)?;
            Ok::<_, TlsError>(Server::new(server).info.client_certificates.len())
        };
        assert_eq!(attempt(authority.client_with_certificate(&authority)), Ok(1));
        attempt(authority.client_with_certificate(&other)).unwrap_err();
        let without = attempt(authority.client());
        assert_eq!(without.is_ok(), optional);
        assert_eq!(without.unwrap_or(0), 0);
    }
}

#[test]
fn a_missing_client_certificate_is_named_by_its_alert() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    let store = CertStore::load(settings).unwrap();
    let mut client = connect(&Arc::new(authority.client()), "server.example");
    let mut server = Handshake::new(store.config(), Reading::Beyond);
    server.receive(&outgoing(&mut client)).unwrap();
    incoming(&mut client, &server.take_output()).unwrap();
    server.receive(&outgoing(&mut client)).unwrap_err();
    let refused = incoming(&mut client, &server.take_output()).unwrap_err();
    assert_eq!(
        refused,
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired)
    );
}

/// Plays a socket: the client's bytes are queued in it, and the server receives as many as it wants.
fn shake_within_bounds(
    server: &mut Handshake,
    client: &mut ClientConnection,
    behind: &[u8],
    mut size: impl FnMut(usize) -> usize,
) -> (Vec<u8>, usize) {
    let (mut socket, mut receives, mut sealed) = (Vec::new(), 0, false);
    loop {
        socket.extend(outgoing(client));
        if !client.is_handshaking() && !sealed {
            // Data follow at once, in the same segment.
            socket.extend(seal(client, behind));
            sealed = true;
        }
        let most = server.wants().unwrap().get();
        let count = size(most).clamp(1, most).min(socket.len());
        assert!(count > 0, "the server waits for more than there is");
        receives += 1;
        let progress = server.receive(&socket[..count]).unwrap();
        socket.drain(..count);
        incoming(client, &server.take_output()).unwrap();
        if progress == Progress::Done {
            assert_eq!(server.wants(), None);
            if !sealed {
                socket.extend(seal(client, behind));
            }
            return (socket, receives);
        }
    }
}

#[test]
fn no_byte_behind_the_handshake_is_read() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    settings.client_optional = true;
    let (plain, mutual) = (authority.store(), CertStore::load(settings).unwrap());
    for store in [&plain, &mutual] {
        for suite in suites() {
            let config = Arc::new(authority.client_of_suite(suite));
            let mut receives = Vec::new();
            for _resumed in [false, true] {
                let mut client = connect(&config, "server.example");
                let mut server = Handshake::new(store.config(), Reading::UpToTheEnd);
                let (left, count) =
                    shake_within_bounds(&mut server, &mut client, b"GET / HTTP/1.1", |most| most);
                receives.push(count);
                let mut server = Server::new(server);
                assert_eq!(server.receive(&left).unwrap(), (b"GET / HTTP/1.1".to_vec(), false));
                let wire = server.send(b"HTTP/1.1 200 OK");
                assert_eq!(incoming(&mut client, &wire).unwrap(), b"HTTP/1.1 200 OK");
            }
            assert!(receives.iter().all(|count| *count <= 8), "{suite:?}: {receives:?}");
        }
    }
}

#[test]
fn received_bytes_behind_the_handshake_are_handed_over() {
    let authority = Authority::new();
    for suite in suites() {
        let mut client = connect(&Arc::new(authority.client_of_suite(suite)), "server.example");
        let mut server = Handshake::new(authority.store().config(), Reading::Beyond);
        server.receive(&outgoing(&mut client)).unwrap();
        incoming(&mut client, &server.take_output()).unwrap();
        let mut wire = outgoing(&mut client);
        if client.is_handshaking() {
            continue; // TLS 1.2 waits for the server's Finished.
        }
        wire.extend(seal(&mut client, b"early"));
        assert_eq!(server.receive(&wire), Ok(Progress::Done));
        let established = server.finish().unwrap();
        let mut session = established.session;
        let mut opener = karez_tls::Opener::new(established.rx).unwrap();
        let mut unread = established.unread;
        let mut input = &mut unread[..];
        match opener.next(&mut input, &mut session).unwrap() {
            Some(karez_tls::Incoming::Data(data)) => assert_eq!(data, b"early"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_hello_in_many_records_is_understood() {
    let authority = Authority::new();
    let config = authority.store().config();
    for suite in suites() {
        for most in [1, 2, 7, 100] {
            let client = Arc::new(authority.client_of_suite(suite));
            let mut client = connect(&client, "server.example");
            let hello = fragmented(&outgoing(&mut client), most);
            let mut server = Handshake::new(Arc::clone(&config), Reading::UpToTheEnd);
            let mut rest = &hello[..];
            while !rest.is_empty() {
                let count = server.wants().unwrap().get().min(rest.len()).min(1000);
                assert_eq!(server.receive(&rest[..count]), Ok(Progress::Receive));
                rest = &rest[count..];
            }
            incoming(&mut client, &server.take_output()).unwrap();
            let (_, _) = shake_within_bounds(&mut server, &mut client, b"x", |most| most);
            assert_eq!(Server::new(server).info.server_name.as_deref(), Some("server.example"));
        }
    }
}

#[test]
fn a_hello_retry_is_within_bounds() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    let provider =
        CryptoProvider { kx_groups: vec![ring::kx_group::SECP384R1], ..ring::default_provider() };
    settings.provider = Some(Arc::new(provider));
    let store = CertStore::load(settings).unwrap();
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let mut client = connect(&Arc::new(authority.client_of_suite(suite)), "server.example");
    let mut server = Handshake::new(store.config(), Reading::UpToTheEnd);
    let (left, _) = shake_within_bounds(&mut server, &mut client, b"GET /", |most| most);
    let kind = client.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(Server::new(server).receive(&left).unwrap().0, b"GET /");
}

#[test]
fn a_worker_can_do_what_costs_most() {
    let authority = Authority::new();
    let mut client = connect(&Arc::new(authority.client()), "server.example");
    let mut server = Handshake::new(authority.store().config(), Reading::UpToTheEnd);
    let hello = outgoing(&mut client);
    server.push(&hello[..hello.len() - 1]);
    assert!(!server.will_sign(), "a part of a message");
    server.push(&hello[hello.len() - 1..]);
    assert!(server.will_sign());
    let mut server = std::thread::spawn(move || {
        server.advance().unwrap();
        server
    })
    .join()
    .unwrap();
    assert!(!server.will_sign(), "done once");
    incoming(&mut client, &server.take_output()).unwrap();
    assert_eq!(server.receive(&outgoing(&mut client)), Ok(Progress::Done));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        sizes in prop::collection::vec(1_usize..400, 1..40),
        suite in 0..6_usize,
        most in 1_usize..300,
    ) {
        let authority = Authority::new();
        let mut client = connect(&Arc::new(authority.client_of_suite(suites()[suite])), "server.example");
        let mut server = Handshake::new(authority.store().config(), Reading::UpToTheEnd);
        // The first message in records of its own size, all of it in pieces of any size.
        let hello = fragmented(&outgoing(&mut client), most);
        let mut sizes = sizes.into_iter().cycle();
        let mut rest = &hello[..];
        while !rest.is_empty() {
            let most = server.wants().unwrap().get().min(rest.len());
            let count = sizes.next().unwrap().min(most);
            prop_assert_eq!(server.receive(&rest[..count]), Ok(Progress::Receive));
            rest = &rest[count..];
        }
        incoming(&mut client, &server.take_output()).unwrap();
        let (left, _) = shake_within_bounds(&mut server, &mut client, b"data", |_| sizes.next().unwrap());
        prop_assert_eq!(Server::new(server).receive(&left).unwrap().0, b"data");
    }
}
