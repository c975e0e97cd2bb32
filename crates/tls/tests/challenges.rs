//! Checks by an ACME server: TLS-ALPN-01 beside ordinary handshakes, and pairs that may be missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use karez_tls::{ACME_PROTOCOL, Alert, CertStore, Challenges, Handshake, Pair, Reading, Settings};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::sync::Arc;

/// A client that offers these protocols.
fn client(authority: &Authority, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = authority.client();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// Shakes hands with a server that may be checked. Returns the alert of a refusal.
fn shake(
    config: Arc<ServerConfig>,
    challenges: &Challenges,
    client: &mut ClientConnection,
) -> Result<Handshake, Option<u8>> {
    let mut handshake = Handshake::new(config, Reading::Beyond).answering(challenges.config());
    for _ in 0..2 {
        let failed = handshake.receive(&outgoing(client)).is_err();
        let output = handshake.take_output();
        if failed {
            return Err(plain_alert(&output));
        }
        incoming(client, &output).unwrap();
    }
    Ok(handshake)
}

fn presented(client: &ClientConnection) -> CertificateDer<'static> {
    client.peer_certificates().unwrap()[0].clone()
}

#[test]
fn only_a_check_gets_the_certificate_of_the_challenge() {
    let authority = Authority::new();
    // Clients need a certificate, but not the ACME server.
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    settings.protocols = vec![b"http/1.1".to_vec()];
    let store = CertStore::load(settings).unwrap();
    let challenges = Challenges::new(Arc::new(ring::default_provider()));
    let (pem, key) = authority.issue(&["server.example"], &rcgen::PKCS_ECDSA_P256_SHA256, |_| {});
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let check = client(&authority, &[ACME_PROTOCOL]);
    assert!(challenges.config().is_none());

    let answer = challenges.answer_tls_alpn("Server.Example", certificate.clone(), key).unwrap();
    let mut checker = connect(&check, "server.example");
    let handshake = shake(store.config(), &challenges, &mut checker).unwrap();
    let info = handshake.finish().unwrap().info;
    assert_eq!(info.protocol.as_deref(), Some(ACME_PROTOCOL));
    assert_eq!(presented(&checker), certificate);

    // Another name, and ordinary clients: one of them offers the protocol beside others.
    let mut other = connect(&check, "other.example");
    let refused = shake(store.config(), &challenges, &mut other).err();
    assert_eq!(refused, Some(Some(Alert::UNRECOGNIZED_NAME.0)));
    let http: &[u8] = b"http/1.1";
    for protocols in [&[][..], &[http], &[ACME_PROTOCOL, http]] {
        let config = client(&authority, protocols);
        let mut client = connect(&config, "server.example");
        let mut handshake =
            Handshake::new(store.config(), Reading::Beyond).answering(challenges.config());
        handshake.receive(&outgoing(&mut client)).unwrap();
        incoming(&mut client, &handshake.take_output()).unwrap();
        assert_ne!(presented(&client), certificate, "{protocols:?}");
        assert!(handshake.receive(&outgoing(&mut client)).is_err(), "a certificate is required");
    }

    drop(answer);
    assert!(challenges.config().is_none());
    let mut late = connect(&check, "server.example");
    assert!(shake(store.config(), &challenges, &mut late).is_err(), "there is no such protocol");
}

#[test]
fn tokens_are_answered_until_the_answer_is_dropped() {
    let challenges = Challenges::new(Arc::new(ring::default_provider()));
    let first = challenges.answer_http("first", "first.thumbprint");
    let second = challenges.answer_http("second", "second.thumbprint");
    assert_eq!(challenges.key_authorization("first").as_deref(), Some("first.thumbprint"));
    drop(first);
    assert_eq!(challenges.key_authorization("first"), None);
    assert_eq!(challenges.key_authorization("second").as_deref(), Some("second.thumbprint"));
    assert!(!format!("{challenges:?} {second:?}").contains("thumbprint"));
}

#[test]
fn optional_pairs_may_be_missing_and_stay_when_they_break() {
    let authority = Authority::new();
    let file = authority.path("both.pem");
    let pair = Pair { certificate: file.clone(), key: file.clone() };
    let mut settings = Settings::default();
    settings.optional_pairs = vec![pair];
    let store = CertStore::load(settings).unwrap();
    let challenges = Challenges::new(Arc::new(ring::default_provider()));
    let serve = || {
        let mut client = connect(&Arc::new(authority.client()), "server.example");
        shake(store.config(), &challenges, &mut client).map(|_| presented(&client))
    };
    assert_eq!(serve().err(), Some(Some(Alert::UNRECOGNIZED_NAME.0)));
    assert!(store.certificates().is_empty() && store.paths().next().is_none());

    let issued = authority.pair("server", &["server.example"]);
    let both = [issued.certificate, issued.key].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&file, both.concat()).unwrap();
    store.reload().unwrap();
    let obtained = serve().unwrap();
    assert_eq!(store.certificates()[0].names, ["server.example"]);

    fs::write(&file, "broken").unwrap();
    store.reload().unwrap();
    assert_eq!(serve().unwrap(), obtained);
    // Twice: what stayed is kept again.
    fs::remove_file(&file).unwrap();
    store.reload().unwrap();
    assert_eq!(serve().unwrap(), obtained);
}
