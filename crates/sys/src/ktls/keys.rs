//! The keys of one direction of a TLS connection, in the layouts of the kernel (linux/tls.h).
//!
//! # Limitations
//!
//! A key that is moved may remain in memory where it was: only the last place is overwritten.

use std::fmt;
use std::hint::black_box;

/// The longest `tls12_crypto_info_*`, in bytes: a head of 4, 12 of nonce, 32 of key, 8 of number.
const MOST_INFO: usize = 56;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher of TLS records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsCipher {
    /// AES-GCM with a key of 128 bits.
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
}

/// The keys of one direction of a TLS connection, overwritten when they are dropped.
///
/// Two records that are sealed under the same key and number reveal both plaintexts and allow
/// forgeries. So a clone is for the case that the kernel refuses the keys, and for nothing else.
#[derive(Clone)]
pub struct TlsKeys {
    version: TlsVersion,
    cipher: TlsCipher,
    key: [u8; 32],
    nonce: [u8; 12],
    sequence: u64,
}

impl TlsCipher {
    /// Returns the length of its key, in bytes.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// `TLS_CIPHER_*` of linux/tls.h.
    fn number(self) -> u16 {
        match self {
            Self::Aes128Gcm => 51,
            Self::Aes256Gcm => 52,
            Self::ChaCha20Poly1305 => 54,
        }
    }
}

impl TlsKeys {
    /// Returns keys for the records from number `sequence` on. `nonce` is XORed with the number of a
    /// record (RFC 8446 §5.3); with AES-GCM in TLS 1.2, its first 4 bytes are the salt, and the other 8
    /// are where the explicit nonces of the sender begin. `None` if the key has another length than
    /// the cipher's.
    #[must_use]
    pub fn new(
        version: TlsVersion,
        cipher: TlsCipher,
        key: &[u8],
        nonce: [u8; 12],
        sequence: u64,
    ) -> Option<Self> {
        let mut keys = Self { version, cipher, key: [0; 32], nonce, sequence };
        keys.key.get_mut(..cipher.key_len()).filter(|room| room.len() == key.len())?;
        keys.key[..key.len()].copy_from_slice(key);
        Some(keys)
    }

    /// Returns the version of TLS.
    #[must_use]
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// Returns the cipher.
    #[must_use]
    pub fn cipher(&self) -> TlsCipher {
        self.cipher
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key[..self.cipher.key_len()]
    }

    /// Returns the nonce of record number 0.
    #[must_use]
    pub fn nonce(&self) -> [u8; 12] {
        self.nonce
    }

    /// Returns the number of the next record.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the first 4 bytes of the nonce and the 8 that follow, as the kernel takes them.
    ///
    /// With AES-GCM in TLS 1.2 the kernel counts the explicit nonce up from the value given, while user
    /// space XORs it with the number of the record. The value returned is beyond everything that the
    /// numbers so far can have made of it: no nonce is used twice.
    pub(super) fn kernel_nonce(&self) -> ([u8; 4], [u8; 8]) {
        let [a, b, c, d, explicit @ ..] = self.nonce;
        let counts =
            self.version == TlsVersion::Tls12 && self.cipher != TlsCipher::ChaCha20Poly1305;
        let explicit = match self.sequence {
            used @ 1.. if counts => {
                let mask = u64::MAX.checked_shr((used - 1).leading_zeros()).unwrap_or(0);
                (u64::from_be_bytes(explicit) | mask).wrapping_add(1).to_be_bytes()
            }
            _ => explicit,
        };
        ([a, b, c, d], explicit)
    }

    /// `struct tls12_crypto_info_*`, all of whose members are bytes but the two of its head.
    pub(super) fn info(&self) -> Info {
        let mut info = Info { bytes: [0; MOST_INFO], length: 0 };
        let version: u16 = match self.version {
            TlsVersion::Tls12 => 0x0303,
            TlsVersion::Tls13 => 0x0304,
        };
        let (salt, explicit) = self.kernel_nonce();
        info.push(&version.to_ne_bytes());
        info.push(&self.cipher.number().to_ne_bytes());
        match self.cipher {
            TlsCipher::ChaCha20Poly1305 => {
                info.push(&self.nonce);
                info.push(self.key());
            }
            TlsCipher::Aes128Gcm | TlsCipher::Aes256Gcm => {
                info.push(&explicit);
                info.push(self.key());
                info.push(&salt);
            }
        }
        info.push(&self.sequence.to_be_bytes());
        info
    }
}

impl Drop for TlsKeys {
    fn drop(&mut self) {
        wipe(&mut self.key);
        wipe(&mut self.nonce);
    }
}

impl fmt::Debug for TlsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsKeys")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Keys as setsockopt(2) takes them.
pub(super) struct Info {
    bytes: [u8; MOST_INFO],
    length: usize,
}

impl Info {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

impl Drop for Info {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// Overwrites secrets; `black_box` keeps the compiler from finding that nothing reads the zeros.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    black_box(secret);
}
