//! Certificates from an ACME server (RFC 8555), such as Let's Encrypt, that are renewed before they expire.
//!
//! [`Acme::open`] prepares the state directory. Its [pairs](Acme::pairs) are the
//! [optional pairs](karez_tls::Settings::optional_pairs) of a [`CertStore`](karez_tls::CertStore), and its
//! [challenges](Acme::challenges) have to be answered by the server. [`Acme::run`] then obtains and renews
//! certificates on a thread of its own, one for each name.
//!
//! The state directory has `acme/CA/account.json`, the account and its key, and for each name
//! `acme/CA/certificates/NAME/pair.pem`, the chain and its key, and `renewal.json`, the server's renewal
//! information (RFC 9773). `CA` is made of the URL of the directory, so
//! certificates of a test server are never used with another.
//!
//! # Limitations
//!
//! DNS names only: neither addresses nor wildcards, which need the challenge DNS-01. No external account
//! binding, no revocation. A call may block for a minute, so [`Acme::run`] must have its own thread.

mod account;
mod directory_url;
mod error;
mod http_client;
mod name;
mod order;
mod renewal;
mod renewal_info;
mod schedule;
mod state;

pub use directory_url::{DirectoryUrl, InvalidUrl, LETS_ENCRYPT};
pub use error::AcmeError;
pub use name::{DnsName, InvalidName};
pub use order::ChallengeKind;
pub use renewal::{Acme, Options};
