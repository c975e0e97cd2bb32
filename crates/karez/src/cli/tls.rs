//! The arguments of `karez serve` for HTTPS.

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// The arguments for HTTPS.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    #[command(flatten)]
    pub(crate) pairs: PairArgs,

    /// Make a certificate in memory, for development. Its SHA-256 fingerprint is printed; no client
    /// trusts it, and the next start makes another
    #[arg(long)]
    pub(crate) tls_self_signed: bool,

    /// Require client certificates that an authority in this PEM file has issued (mTLS); read again
    /// with the certificates
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Kernel TLS, with which sendfile and the other vias work under TLS: use it for each direction and
    /// cipher that the kernel takes (auto), never (off), or close connections that the kernel does not take
    /// and refuse to start without it (require)
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) ktls: KtlsChoice,

    /// Redirect each request on a plain listener (http:ADDR) to the first HTTPS listener on TCP, by
    /// status 308
    #[arg(long)]
    pub(crate) redirect_https: bool,
}

/// Certificates and their keys.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct PairArgs {
    /// Certificate chain to present, a PEM file that begins with the server's own certificate. Every
    /// --listen is then HTTPS unless it is written http:ADDR. Repeatable, with one --tls-key each. A client
    /// gets the certificate for the name it asks for (SNI), or the first. Files are read again when they
    /// change and on SIGHUP; a pair that cannot be used leaves the old ones in place
    #[arg(long, value_name = "FILE", action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// Private key of the --tls-cert in the same position, a PEM file without a passphrase
    #[arg(long, value_name = "FILE", action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Vec<PathBuf>,
}

/// When kernel TLS is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KtlsChoice {
    Auto,
    #[default]
    Off,
    Require,
}
