//! A certificate and its key, from files in PEM (RFC 7468).
//!
//! # Limitations
//!
//! Keys under a passphrase are refused. The file's bytes and the decoded key are overwritten once the
//! key is in use; ring's own form of it, which is on the heap, is neither overwritten nor kept out of a
//! core dump by `MADV_DONTDUMP`, because rustls shows nothing of it: a process that must not dump keys
//! sets `PR_SET_DUMPABLE` to 0 (prctl(2)).

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::{Zeroize as _, Zeroizing};

use crate::config_error::{ConfigError, Problem};
use crate::der::CertificateFields;
use crate::validity::validity;

/// The most bytes of a file with certificates or a key.
const MOST_BYTES: u64 = 1 << 20;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The server's certificate, followed by those of its chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM: PKCS#8, PKCS#1 or SEC1. May be the same file.
    pub key: PathBuf,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// Its file; empty for one that was made for development.
    pub path: PathBuf,
    /// The DNS names in it, in lower case, also with a wildcard in front.
    pub names: Vec<String>,
    /// When it begins to be valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Its serial number, as it is encoded (RFC 5280 §4.1.2.2): big endian, with a zero in front where the
    /// first bit is set.
    pub serial: Vec<u8>,
    /// The identifier of the key that has signed it (RFC 5280 §4.2.1.1), if it names one.
    pub authority_key: Option<Vec<u8>>,
}

impl Pair {
    /// Reads and checks both, as [`CertStore::load`](crate::CertStore::load) does.
    ///
    /// # Errors
    /// The file that cannot be used, and why. A certificate that is not valid now is an error.
    #[cfg(feature = "ring")]
    pub fn inspect(&self) -> Result<CertificateInfo, ConfigError> {
        let (_, info) = self.load(&rustls::crypto::ring::default_provider(), SystemTime::now())?;
        Ok(info)
    }

    /// Reads, parses and checks both.
    pub(crate) fn load(
        &self,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<(CertifiedKey, CertificateInfo), ConfigError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        check(chain, key, self, provider, now)
    }
}

/// Checks that a certificate is valid and belongs to a key.
pub(crate) fn check(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pair: &Pair,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<(CertifiedKey, CertificateInfo), ConfigError> {
    let wrong = |problem| ConfigError::new(&pair.certificate, problem);
    let Some(first) = chain.first() else { return Err(wrong(Problem::NoCertificate)) };
    let parsed = webpki::EndEntityCert::try_from(first)
        .map_err(|error| wrong(Problem::BadCertificate(error.to_string())))?;
    let (valid, fields) = validity(first)
        .zip(CertificateFields::of(first))
        .ok_or_else(|| wrong(Problem::BadCertificate("no dates of validity".to_owned())))?;
    let info = CertificateInfo {
        path: pair.certificate.clone(),
        names: parsed.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        not_before: *valid.start(),
        not_after: *valid.end(),
        serial: fields.serial.to_vec(),
        authority_key: fields.authority_key.map(<[u8]>::to_vec),
    };
    if now < info.not_before {
        return Err(wrong(Problem::NotYetValid(info.not_before)));
    }
    if now > info.not_after {
        return Err(wrong(Problem::Expired(info.not_after)));
    }
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| ConfigError::new(&pair.key, Problem::BadKey(error.to_string())))?;
    let certified = CertifiedKey::new(chain, key);
    if matches!(
        certified.keys_match(),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
    ) {
        let certificate = pair.certificate.clone();
        let problem = match matching(&certified) {
            Some(position) => Problem::ChainOrder { certificate, position },
            None => Problem::KeyMismatch { certificate },
        };
        return Err(ConfigError::new(&pair.key, problem));
    }
    Ok((certified, info))
}

/// Returns which certificate of the chain the key belongs to, counted from 1.
fn matching(certified: &CertifiedKey) -> Option<usize> {
    let chain = certified.cert.iter().skip(1);
    let position = chain.map(|certificate| {
        CertifiedKey::new(vec![certificate.clone()], certified.key.clone()).keys_match().is_ok()
    });
    Some(position.into_iter().position(|matches| matches)? + 2)
}

/// Reads all certificates of a file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = read(path)?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        chain.push(certificate.map_err(|error| ConfigError::new(path, bad_pem(&error)))?);
    }
    if chain.is_empty() {
        return Err(ConfigError::new(path, Problem::NoCertificate));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let pem = read(path)?;
    let encrypted = |text: &[u8]| text.windows(9).any(|word| word == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound if encrypted(&pem) => Problem::EncryptedKey,
            pem::Error::NoItemsFound => Problem::NoKey,
            error => bad_pem(&error),
        };
        ConfigError::new(path, problem)
    })
}

/// Returns the problem of PEM, without the line itself: it may be a part of a key.
fn bad_pem(error: &pem::Error) -> Problem {
    Problem::BadPem(match error {
        pem::Error::MissingSectionEnd { .. } => "a section without its END line",
        pem::Error::IllegalSectionStart { .. } => "a malformed BEGIN line",
        pem::Error::Base64Decode(_) => "malformed base64",
        _ => "malformed",
    })
}

/// Reads a file, in memory that is overwritten at the end: it may have a key in it.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let wrong = |error| ConfigError::new(path, Problem::Io(error));
    let file = File::open(path).map_err(wrong)?;
    let length = file.metadata().map_err(wrong)?.len();
    // Room for all of it at once, so that no part is left behind in memory that has been given back.
    let room = usize::try_from(length.min(MOST_BYTES)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(vec![0; room]);
    let mut filled = 0;
    let mut file = file.take(MOST_BYTES + 1);
    loop {
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; filled * 2]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(wrong(error)),
        }
    }
    if filled as u64 > MOST_BYTES {
        return Err(ConfigError::new(path, Problem::TooLong));
    }
    bytes[filled..].zeroize();
    bytes.truncate(filled);
    Ok(bytes)
}
