//! The arguments of `karez serve` for certificates from an ACME server.

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use karez_acme::{ChallengeKind, DirectoryUrl, DnsName, LETS_ENCRYPT};
use std::path::PathBuf;

/// The arguments for ACME.
#[derive(Args, Debug)]
#[command(next_help_heading = "ACME")]
pub(crate) struct AcmeArgs {
    /// Obtain a certificate for this DNS name from an ACME server (RFC 8555), and renew it when the server
    /// suggests (RFC 9773), else when a third of its lifetime is left. Repeatable, or several names with commas; each name has its own
    /// certificate. Every --listen is then HTTPS unless it is written http:ADDR. Until the first
    /// certificate is there, TLS handshakes are refused (unrecognized_name); plain listeners serve. An
    /// error is printed and the attempt repeated; SIGHUP repeats it at once. The server has to be
    /// reachable under the name at port 443 (tls-alpn-01) or 80 (http-01). By this flag you agree to the
    /// terms of service of the ACME server
    #[arg(long, value_name = "NAME", requires = "state", value_delimiter = ',', action = ArgAction::Append, conflicts_with = "tls_self_signed")]
    pub(crate) acme: Vec<DnsName>,

    /// Mail address for the account with the ACME server: mailto:NAME@HOST or NAME@HOST
    #[arg(long, value_name = "MAILTO", requires = "acme", value_parser = contact)]
    pub(crate) acme_contact: Option<String>,

    /// URL of the ACME server's directory; the default is Let's Encrypt
    #[arg(long, value_name = "URL", requires = "acme", default_value = LETS_ENCRYPT, value_hint = ValueHint::Url)]
    pub(crate) acme_directory: DirectoryUrl,

    /// Trust the authorities in this PEM file, instead of those of the system, for the connection to
    /// the ACME server
    #[arg(long, value_name = "FILE", requires = "acme", value_hint = ValueHint::FilePath)]
    pub(crate) acme_ca: Option<PathBuf>,

    /// How the ACME server checks a name [default: tls-alpn-01 if there is an HTTPS listener, and if
    /// that fails http-01 if there is a plain one]
    #[arg(long, value_name = "NAME", requires = "acme", value_enum)]
    pub(crate) acme_challenge: Option<Challenge>,

    /// Directory for the account and the certificates with their keys, readable by the owner only;
    /// made if it does not exist
    #[arg(long, value_name = "DIR", requires = "acme", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,
}

/// A challenge of ACME.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Challenge {
    /// A TLS handshake on port 443 (RFC 8737)
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
    /// An HTTP request on port 80, answered by any listener before all redirects (RFC 8555)
    #[value(name = "http-01")]
    Http01,
}

impl From<Challenge> for ChallengeKind {
    fn from(challenge: Challenge) -> Self {
        match challenge {
            Challenge::TlsAlpn01 => Self::TlsAlpn01,
            Challenge::Http01 => Self::Http01,
        }
    }
}

fn contact(text: &str) -> Result<String, &'static str> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let valid = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '<' | '>' | '"');
    match address.split_once('@') {
        Some((name, host))
            if !name.is_empty() && !host.is_empty() && address.chars().all(valid) =>
        {
            Ok(format!("mailto:{address}"))
        }
        _ => Err("not a mail address: mailto:NAME@HOST or NAME@HOST"),
    }
}
