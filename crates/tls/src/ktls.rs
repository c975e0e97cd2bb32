//! Which records the running kernel seals and opens: kernel TLS, tried on a connection of loopback.
//!
//! # Limitations
//!
//! It takes two sockets and a dozen calls for each suite, so it is for the start of a server, not for
//! each connection. A sandbox may refuse later; then the keys are refused and the caller falls back.

use karez_sys::{TlsCipher, TlsDirection, TlsKeys, TlsVersion, enable_ktls, set_tls_keys};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;

/// All versions and ciphers that a connection of this crate can have.
const SUITES: [(TlsVersion, TlsCipher); 6] = [
    (TlsVersion::Tls13, TlsCipher::Aes128Gcm),
    (TlsVersion::Tls13, TlsCipher::Aes256Gcm),
    (TlsVersion::Tls13, TlsCipher::ChaCha20Poly1305),
    (TlsVersion::Tls12, TlsCipher::Aes128Gcm),
    (TlsVersion::Tls12, TlsCipher::Aes256Gcm),
    (TlsVersion::Tls12, TlsCipher::ChaCha20Poly1305),
];

/// The kernel's answer for one version and cipher.
#[derive(Debug)]
#[non_exhaustive]
pub struct SuiteSupport {
    /// The version.
    pub version: TlsVersion,
    /// The cipher.
    pub cipher: TlsCipher,
    /// Whether it seals such records.
    pub tx: io::Result<()>,
    /// Whether it opens such records.
    pub rx: io::Result<()>,
    /// Whether the keys of both directions can be changed (since Linux 6.14): without that, a
    /// connection ends at the peer's first key update.
    pub rekey: bool,
}

/// The kernel's answers.
#[derive(Debug)]
#[non_exhaustive]
pub struct KernelSupport {
    /// One entry for each version and cipher; `Err` where no socket can have kernel TLS at all.
    pub suites: io::Result<Vec<SuiteSupport>>,
}

impl KernelSupport {
    /// Tries every version and cipher.
    #[must_use]
    pub fn probe() -> Self {
        Self {
            suites: SUITES.into_iter().map(|(version, cipher)| probe(version, cipher)).collect(),
        }
    }

    /// Returns whether the kernel takes these keys in this direction.
    #[must_use]
    pub fn takes(&self, direction: TlsDirection, keys: &TlsKeys) -> bool {
        self.suite(keys.version(), keys.cipher()).is_some_and(|suite| match direction {
            TlsDirection::Tx => suite.tx.is_ok(),
            TlsDirection::Rx => suite.rx.is_ok(),
        })
    }

    /// Returns the kernel's answer for one version and cipher.
    #[must_use]
    pub fn suite(&self, version: TlsVersion, cipher: TlsCipher) -> Option<&SuiteSupport> {
        let suites = self.suites.as_ref().ok()?;
        suites.iter().find(|suite| (suite.version, suite.cipher) == (version, cipher))
    }
}

fn probe(version: TlsVersion, cipher: TlsCipher) -> io::Result<SuiteSupport> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    enable_ktls(socket.as_fd())?;
    let key = [0; 32];
    let keys = TlsKeys::new(version, cipher, &key[..cipher.key_len()], [0; 12], 0)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let set = |direction| Ok(set_tls_keys(socket.as_fd(), direction, &keys)?);
    let (tx, rx) = (set(TlsDirection::Tx), set(TlsDirection::Rx));
    let both = tx.is_ok() && rx.is_ok() && version == TlsVersion::Tls13;
    let rekey = both && [TlsDirection::Tx, TlsDirection::Rx].map(set).iter().all(io::Result::is_ok);
    Ok(SuiteSupport { version, cipher, tx, rx, rekey })
}

impl fmt::Display for SuiteSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        };
        let cipher = self.cipher.name();
        write!(f, "{version} {cipher}: send {}, receive {}", Said(&self.tx), Said(&self.rx))?;
        if self.rekey { f.write_str(", key updates") } else { Ok(()) }
    }
}

struct Said<'a>(&'a io::Result<()>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(()) => f.write_str("yes"),
            Err(error) => write!(f, "no ({error})"),
        }
    }
}
