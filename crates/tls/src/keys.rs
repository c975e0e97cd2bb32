//! The keys of an established connection, each direction with a type of its own.
//!
//! # Limitations
//!
//! Keys are overwritten when they are dropped, but ring's expanded form of them in a sealer or opener
//! is not, nor is the nonce inside rustls.

use karez_sys::{TlsCipher, TlsKeys, TlsVersion};
use rustls::ConnectionTrafficSecrets;

use crate::error::TlsError;

/// The keys of records that are sent. They go to a [`Sealer`](crate::Sealer) or to the kernel, and
/// never to both.
#[derive(Debug)]
pub struct TxKeys(TlsKeys);

/// The keys of records that are received.
#[derive(Debug)]
pub struct RxKeys(TlsKeys);

impl TxKeys {
    pub(crate) fn new(
        version: TlsVersion,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, TlsError> {
        extract(version, sequence, secrets).map(Self)
    }

    /// Returns the keys as [`karez_sys::set_tls_keys`] takes them.
    #[must_use]
    pub fn as_kernel(&self) -> &TlsKeys {
        &self.0
    }

    /// Returns the keys by value.
    #[must_use]
    pub fn into_kernel(self) -> TlsKeys {
        self.0
    }

    /// Takes the keys back that the kernel has refused.
    #[must_use]
    pub fn from_kernel(keys: TlsKeys) -> Self {
        Self(keys)
    }
}

impl RxKeys {
    pub(crate) fn new(
        version: TlsVersion,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, TlsError> {
        extract(version, sequence, secrets).map(Self)
    }

    /// Returns the keys as [`karez_sys::set_tls_keys`] takes them.
    #[must_use]
    pub fn as_kernel(&self) -> &TlsKeys {
        &self.0
    }

    /// Returns the keys by value.
    #[must_use]
    pub fn into_kernel(self) -> TlsKeys {
        self.0
    }

    /// Takes the keys back that the kernel has refused.
    #[must_use]
    pub fn from_kernel(keys: TlsKeys) -> Self {
        Self(keys)
    }
}

fn extract(
    version: TlsVersion,
    sequence: u64,
    secrets: ConnectionTrafficSecrets,
) -> Result<TlsKeys, TlsError> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (TlsCipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (TlsCipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (TlsCipher::ChaCha20Poly1305, key, iv)
        }
        // Of a provider with other ciphers, which nothing here can use.
        _ => return Err(TlsError::NotReady),
    };
    let nonce = iv.as_ref().try_into().map_err(|_| TlsError::NotReady)?;
    TlsKeys::new(version, cipher, key.as_ref(), nonce, sequence).ok_or(TlsError::NotReady)
}
