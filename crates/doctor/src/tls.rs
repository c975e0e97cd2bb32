//! Kernel TLS: the cipher suites whose records the kernel seals and opens
//! (Documentation/networking/tls.rst, Linux 4.13).
//!
//! # Limitations
//!
//! Loading the module `tls` for the test needs privileges that a container rarely has.

use karez_tls::{KernelSupport, SuiteSupport, TlsCipher, TlsVersion};
use rustix::io::Errno;
use std::io;

use crate::finding::{Finding, Section, describe};

pub(crate) fn section() -> Section {
    Section { title: "kernel TLS", findings: findings() }
}

fn findings() -> Vec<Finding> {
    match KernelSupport::probe().suites {
        Ok(suites) => suites.iter().flat_map(suite).collect(),
        Err(error) => vec![Finding::refused("kernel TLS", reason(&error))],
    }
}

fn suite(suite: &SuiteSupport) -> [Finding; 3] {
    let version = match suite.version {
        TlsVersion::Tls12 => "TLS 1.2",
        TlsVersion::Tls13 => "TLS 1.3",
    };
    let cipher = suite.cipher.name();
    let direction = |what: &str, result: &io::Result<()>, since: &str| {
        let name = format!("{version} {cipher}, {what}");
        match result {
            Ok(()) => Finding::available(&name, since),
            Err(error) => Finding::refused(&name, format!("{}, {since}", reason(error))),
        }
    };
    let since = match (suite.cipher, suite.version) {
        (TlsCipher::ChaCha20Poly1305, _) => ["since Linux 5.11"; 2],
        (TlsCipher::Aes128Gcm, TlsVersion::Tls12) => ["since Linux 4.13", "since Linux 4.17"],
        _ => ["since Linux 5.1"; 2],
    };
    let updates = format!("{version} {cipher}, key updates");
    let updates = match (suite.version, suite.rekey) {
        (TlsVersion::Tls12, _) => Finding::fact(&updates, "TLS 1.2 has none"),
        (_, true) => Finding::available(&updates, "since Linux 6.14"),
        (_, false) => Finding::refused(&updates, "since Linux 6.14"),
    };
    [direction("send", &suite.tx, since[0]), direction("receive", &suite.rx, since[1]), updates]
}

fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(errno) => describe(errno),
        None => error.to_string(),
    }
}
