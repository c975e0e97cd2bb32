//! Certificates from files: errors name the problem, and a reload that fails changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod common;

use common::*;
use karez_tls::{CertStore, Pair, Settings};
use std::fs;
use std::sync::Arc;

fn settings(pair: Pair) -> Settings {
    let mut settings = Settings::default();
    settings.pairs = vec![pair];
    settings
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let authority = Authority::new();
    let good = authority.pair("good", &["a.example"]);
    let other = authority.pair("other", &["b.example"]);
    let dated = |file: &str, from: i32, to: i32| {
        let issued = authority.issue(&["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256, |it| {
            it.not_before = rcgen::date_time_ymd(from, 1, 1);
            it.not_after = rcgen::date_time_ymd(to, 12, 31);
        });
        let certificate = authority.write(&format!("{file}.pem"), issued.0);
        Pair { certificate, key: authority.write(&format!("{file}.key"), issued.1) }
    };
    let text = fs::read_to_string(&good.certificate).unwrap();
    let (begin, body) = text.split_once('\n').unwrap();
    let of = |certificate, key| Pair { certificate, key };
    let chain = fs::read_to_string(&other.certificate).unwrap() + &text;
    let cases = [
        (of(authority.path("none.pem"), good.key.clone()), "none.pem: No such file or directory (os error 2)"),
        (of(good.certificate.clone(), authority.path("none.key")), "none.key: No such file or directory (os error 2)"),
        (of(authority.write("empty.pem", ""), good.key.clone()), "empty.pem: no certificate"),
        (of(good.key.clone(), good.key.clone()), "good.key: no certificate"),
        (of(good.certificate.clone(), good.certificate.clone()), "good.pem: no private key"),
        (of(good.certificate.clone(), authority.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")), "locked.key: the private key is under a passphrase"),
        (of(good.certificate.clone(), authority.write("odd.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), "odd.key: private key not usable: "),
        (of(good.certificate.clone(), other.key.clone()), "other.key: not the key of the certificate in "),
        (of(authority.write("chain.pem", chain), good.key.clone()), "good.key: the key of certificate 2 in "),
        (of(authority.write("cut.pem", &text[..text.len() / 2]), good.key.clone()), "cut.pem: not PEM: a section without its END line"),
        (of(authority.write("junk.pem", format!("{begin}\n!!!{body}")), good.key.clone()), "junk.pem: not PEM: malformed base64"),
        (of(authority.write("der.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), good.key.clone()), "der.pem: certificate not usable: "),
        (of(authority.write("long.pem", vec![b' '; 2 << 20]), good.key.clone()), "long.pem: longer than 1 MiB"),
        (dated("old", 2001, 2002), "old.pem: the certificate expired on 2002-12-31"),
        (dated("early", 2400, 2401), "early.pem: the certificate is not valid before 2400-01-01"),
    ];
    CertStore::load(settings(good.clone())).unwrap();
    for (pair, expected) in cases {
        let error = CertStore::load(settings(pair)).unwrap_err();
        let text = error.to_string();
        assert!(error.path().starts_with(authority.folder.path()), "{text}");
        let name = text.strip_prefix(&format!("{}/", authority.folder.path().display())).unwrap();
        assert!(name.starts_with(expected), "{text}");
        assert_eq!(error.raw_os_error().is_some(), expected.contains("os error"));
    }
    let none = CertStore::load(Settings::default()).unwrap_err();
    assert_eq!(none.to_string(), "no certificate");
    let mut without = settings(good);
    without.client_ca = Some(authority.write("no-ca.pem", ""));
    assert!(
        CertStore::load(without).unwrap_err().to_string().ends_with("no-ca.pem: no certificate")
    );
}

#[test]
fn a_key_in_the_file_of_its_certificate_is_found() {
    let authority = Authority::new();
    let pair = authority.pair("server", &["server.example"]);
    let both =
        fs::read_to_string(&pair.certificate).unwrap() + &fs::read_to_string(&pair.key).unwrap();
    let file = authority.write("both.pem", both);
    let store = CertStore::load(settings(Pair { certificate: file.clone(), key: file })).unwrap();
    assert_eq!(store.certificates()[0].names, ["server.example"]);
}

#[test]
fn a_reload_takes_the_new_certificate_and_keeps_the_old_one_on_an_error() {
    let authority = Authority::new();
    let pair = authority.pair("server", &["server.example"]);
    let mut with_ca = settings(pair.clone());
    with_ca.client_ca = Some(authority.path("ca.pem"));
    with_ca.client_optional = true;
    for settings in [settings(pair.clone()), with_ca] {
        authority.pair("server", &["server.example"]);
        let store = CertStore::load(settings).unwrap();
        let served = || {
            // Each time another client: one that resumes does not see the certificate.
            let config = Arc::new(authority.client());
            let (_, client) = established(store.config(), &config, "server.example");
            client.peer_certificates().unwrap()[0].clone()
        };
        let first = served();
        // A handshake that has begun keeps its configuration.
        let mut client = connect(&Arc::new(authority.client()), "server.example");
        let mut begun = karez_tls::Handshake::new(store.config(), karez_tls::Reading::Beyond);

        let key = fs::read(&pair.key).unwrap();
        authority.pair("server", &["server.example", "new.example"]);
        let new_key = fs::read(&pair.key).unwrap();
        fs::write(&pair.key, &key).unwrap();
        let error = store.reload().unwrap_err();
        assert!(error.to_string().contains("server.key: not the key of the certificate in"));
        assert_eq!(served(), first);
        assert_eq!(store.certificates()[0].names, ["server.example"]);

        fs::write(&pair.key, new_key).unwrap();
        store.reload().unwrap();
        let second = served();
        assert_ne!(second, first);
        assert_eq!(store.certificates()[0].names, ["server.example", "new.example"]);
        begun.receive(&outgoing(&mut client)).unwrap();
        incoming(&mut client, &begun.take_output()).unwrap();
        assert_eq!(client.peer_certificates().unwrap()[0], first);

        fs::remove_file(&pair.certificate).unwrap();
        store.reload().unwrap_err();
        assert_eq!(served(), second);
    }
}

#[test]
fn the_files_to_watch_are_named() {
    let authority = Authority::new();
    let pair = authority.pair("server", &["server.example"]);
    let mut settings = settings(pair.clone());
    settings.client_ca = Some(authority.path("ca.pem"));
    let store = CertStore::load(settings).unwrap();
    let ca = authority.path("ca.pem");
    assert_eq!(store.paths().collect::<Vec<_>>(), [&*pair.certificate, &*pair.key, &*ca]);
}

#[test]
fn secrets_are_in_no_debug_output() {
    let authority = Authority::new();
    let (server, _) =
        established(authority.store().config(), &Arc::new(authority.client()), "server.example");
    let text = format!("{:?} {:?} {:?}", server.session, server.opener, authority.store());
    assert!(text.len() < 600 && !text.contains("PRIVATE"), "{text}");
}

#[cfg(feature = "self-signed")]
#[test]
fn a_self_signed_certificate_is_served_and_has_its_fingerprint() {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (store, fingerprint) = CertStore::self_signed(&names, Settings::default()).unwrap();
    assert_eq!(store.certificates()[0].names, ["localhost"]);
    store.reload().unwrap();
    let mut config = Authority::new().client();
    config.dangerous().set_certificate_verifier(Arc::new(trusting::Trusting));
    let (_, client) = established(store.config(), &Arc::new(config), "localhost");
    let certificate = &client.peer_certificates().unwrap()[0];

    let authority = Authority::new();
    let file = authority.write("der", certificate);
    match std::process::Command::new("openssl")
        .args(["x509", "-inform", "der", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(file)
        .output()
    {
        Ok(output) => {
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.trim().split_once('=').unwrap().1, fingerprint);
        }
        Err(error) => {
            assert_eq!(fingerprint.len(), 95);
            println!("skipped: openssl: {error}");
        }
    }
    for wrong in ["\u{0}", "", "a b", "坎儿井"] {
        let error = CertStore::self_signed(&[wrong.to_owned()], Settings::default()).unwrap_err();
        assert!(error.to_string().contains("not a DNS name"), "{error}");
    }
}
