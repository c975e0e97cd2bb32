//! `karez health`: requests a URL, for health checks of containers.
//!
//! # Limitations
//!
//! The body is not read. Redirects are not followed, and no proxy of the environment is used.

use std::io;

use crate::cli::CheckHealthArgs;

/// Succeeds if the status of the response is 2xx.
///
/// # Errors
/// The URL and the reason.
pub(crate) fn run(args: &CheckHealthArgs) -> io::Result<()> {
    let failed = |reason: String| io::Error::other(format!("{}: {reason}", args.url));
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(args.timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent("karez-health");
    #[cfg(feature = "tls")]
    let config = match args.url.to_ascii_lowercase().starts_with("https:") {
        true => config.tls_config(secure::config(args)?),
        false => config,
    };
    let agent = config.build().new_agent();
    let response = agent.get(&args.url).call().map_err(|error| failed(error.to_string()))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(failed(format!("status {status}"))),
    }
}

#[cfg(feature = "tls")]
mod secure {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

    use crate::cli::CheckHealthArgs;

    /// Returns the TLS of the request.
    pub(super) fn config(args: &CheckHealthArgs) -> io::Result<TlsConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if args.insecure {
            return Ok(config.disable_verification(true).build());
        }
        let roots = match &args.tls_ca {
            Some(path) => roots_of(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?,
            None => roots_of_the_system(),
        };
        Ok(config.root_certs(RootCerts::from(roots)).build())
    }

    fn roots_of(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let mut roots = Vec::new();
        for item in parse_pem(&std::fs::read(path)?) {
            match item {
                Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(invalid(format!("not PEM: {error}"))),
            }
        }
        if roots.is_empty() {
            return Err(invalid("no certificate".to_owned()));
        }
        Ok(roots)
    }

    /// Without any, no certificate is trusted, and the handshake says so.
    fn roots_of_the_system() -> Vec<Certificate<'static>> {
        let found = rustls_native_certs::load_native_certs();
        found.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect()
    }
}
