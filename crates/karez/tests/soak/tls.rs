//! A certificate for localhost, and clients that trust it.

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Writes server.pem and server.key, and returns the configurations of clients of HTTP/1.1 and of HTTP/2.
pub fn issue(ground: &Path) -> [Arc<ClientConfig>; 2] {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(ground.join("server.pem"), certificate.pem()).unwrap();
    fs::write(ground.join("server.key"), key.serialize_pem()).unwrap();
    ["http/1.1", "h2"].map(|protocol| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    })
}
