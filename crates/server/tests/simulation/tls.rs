//! TLS of the server and its clients.

use karez_server::{TlsOptions, alpn_protocols};
use karez_tls::{CertStore, Pair, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "server.example";

/// The certificates of a server, and clients that trust them.
pub(crate) struct Tls {
    options: TlsOptions,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Tls {
    /// Makes certificates. Their signatures are of Ed25519, which all have the same length: so records have the same
    /// lengths in each run, though not the same bytes.
    pub(crate) fn new(folder: &Path) -> Self {
        let key = || KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, key()).unwrap();
        let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        let own = key();
        let certificate = parameters.signed_by(&own, &issuer).unwrap();
        let pair = Pair { certificate: folder.join("leaf.pem"), key: folder.join("leaf.key") };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, own.serialize_pem()).unwrap();
        let mut settings = Settings::default();
        (settings.pairs, settings.protocols) = (vec![pair], alpn_protocols(true));
        let mut options = TlsOptions::new(Arc::new(CertStore::load(settings).unwrap()));
        options.secure = vec![false, true];
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let client = |protocol: &[u8]| {
            let mut config =
                ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        };
        Self { options, http1: client(b"http/1.1"), http2: client(b"h2") }
    }

    /// Returns options with which the second listener speaks TLS.
    pub(crate) fn options(&self) -> TlsOptions {
        self.options.clone()
    }

    pub(crate) fn connect(&self, http2: bool) -> ClientConnection {
        let config = if http2 { &self.http2 } else { &self.http1 };
        ClientConnection::new(Arc::clone(config), NAME.try_into().unwrap()).unwrap()
    }
}
