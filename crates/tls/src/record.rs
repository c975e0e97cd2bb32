//! The record layer's arithmetic: RFC 8446 §5, RFC 5246 §6.2, RFC 5288, RFC 7905.
//!
//! Records are sealed and opened in place. Sealers and openers share it.
//!
//! # Limitations
//!
//! AES-GCM and ChaCha20-Poly1305 only: no CBC suites of TLS 1.2, no AES-CCM, as in rustls.

use karez_sys::{TlsCipher, TlsKeys, TlsVersion};
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey,
};
use std::fmt;

use crate::error::TlsError;

/// Content type, version and length.
pub(crate) const HEADER: usize = 5;
/// The most plaintext of a record.
pub(crate) const MOST_PLAIN: usize = 1 << 14;
/// The most that follows a header: RFC 8446 §5.2. AEAD suites of TLS 1.2 need less than it allows.
pub(crate) const MOST_SEALED: usize = MOST_PLAIN + 256;
/// The authentication tag, the same with every cipher.
pub(crate) const TAG: usize = 16;
/// The nonce that AES-GCM records of TLS 1.2 carry.
const EXPLICIT: usize = 8;

/// Content types.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

/// A key, and the number of the next record.
pub(crate) struct Aead {
    version: TlsVersion,
    cipher: TlsCipher,
    key: LessSafeKey,
    nonce: [u8; 12],
    sequence: u64,
}

/// A record that does not open.
#[derive(Debug)]
pub(crate) struct BadRecord;

impl Aead {
    pub(crate) fn new(keys: &TlsKeys) -> Result<Self, TlsError> {
        let algorithm = match keys.cipher() {
            TlsCipher::Aes128Gcm => &AES_128_GCM,
            TlsCipher::Aes256Gcm => &AES_256_GCM,
            TlsCipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, keys.key()).map_err(|_| TlsError::NotReady)?;
        Ok(Self {
            version: keys.version(),
            cipher: keys.cipher(),
            key: LessSafeKey::new(key),
            nonce: keys.nonce(),
            sequence: keys.sequence(),
        })
    }

    pub(crate) fn version(&self) -> TlsVersion {
        self.version
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether records are limited in number by RFC 8446 §5.5.
    pub(crate) fn is_gcm(&self) -> bool {
        self.cipher != TlsCipher::ChaCha20Poly1305
    }

    /// Returns the number of bytes before the ciphertext, header included.
    pub(crate) fn prefix(&self) -> usize {
        HEADER + self.explicit()
    }

    /// Returns the number of bytes behind the plaintext: in TLS 1.3 its content type, and the tag.
    pub(crate) fn suffix(&self) -> usize {
        TAG + usize::from(self.version == TlsVersion::Tls13)
    }

    fn explicit(&self) -> usize {
        if self.version == TlsVersion::Tls12 && self.is_gcm() { EXPLICIT } else { 0 }
    }

    /// Makes a record in place, of the plaintext between [`prefix`](Self::prefix) bytes in front and
    /// [`suffix`](Self::suffix) bytes behind it.
    pub(crate) fn seal(&mut self, kind: u8, record: &mut [u8]) -> Result<(), BadRecord> {
        let payload = record.len().checked_sub(HEADER).ok_or(BadRecord)?;
        let plain = payload.checked_sub(self.explicit() + self.suffix()).ok_or(BadRecord)?;
        let length = u16::try_from(payload).map_err(|_| BadRecord)?.to_be_bytes();
        let nonce = self.counted_nonce();
        let (outer, aad) = match self.version {
            TlsVersion::Tls13 => {
                if let Some(inner) = record.get_mut(HEADER + plain) {
                    *inner = kind;
                }
                (DATA, AadBytes::of_tls13(length))
            }
            TlsVersion::Tls12 => (kind, AadBytes::of_tls12(self.sequence, kind, plain)?),
        };
        record[..HEADER].copy_from_slice(&[outer, 3, 3, length[0], length[1]]);
        if self.explicit() > 0 {
            record[HEADER..self.prefix()].copy_from_slice(&nonce[12 - EXPLICIT..]);
        }
        let tag_at = record.len() - TAG;
        let (sealed, room) = record.split_at_mut(tag_at);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, aad.as_aad(), &mut sealed[self.prefix()..])
            .map_err(|_| BadRecord)?;
        room.copy_from_slice(tag.as_ref());
        self.count()
    }

    /// Opens a record, and returns its content type and where its plaintext is.
    pub(crate) fn open(
        &mut self,
        record: &mut [u8],
    ) -> Result<(u8, std::ops::Range<usize>), BadRecord> {
        let outer = *record.first().ok_or(BadRecord)?;
        let start = self.prefix();
        let end = record.len().checked_sub(TAG).filter(|end| *end >= start).ok_or(BadRecord)?;
        let mut nonce = self.counted_nonce();
        let aad = match self.version {
            TlsVersion::Tls13 => AadBytes::of_tls13([record[3], record[4]]),
            TlsVersion::Tls12 => AadBytes::of_tls12(self.sequence, outer, end - start)?,
        };
        if self.explicit() > 0 {
            nonce[12 - EXPLICIT..].copy_from_slice(&record[HEADER..start]);
        }
        let tag: [u8; TAG] = record[end..].try_into().map_err(|_| BadRecord)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .open_in_place_separate_tag(
                nonce,
                aad.as_aad(),
                Tag::from(tag),
                &mut record[start..end],
                0..,
            )
            .map_err(|_| BadRecord)?;
        self.count()?;
        Ok((outer, start..end))
    }

    /// Returns the nonce of the next record: with AES-GCM in TLS 1.2, too, as rustls counts it.
    fn counted_nonce(&self) -> [u8; 12] {
        let mut nonce = self.nonce;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    fn count(&mut self) -> Result<(), BadRecord> {
        self.sequence = self.sequence.checked_add(1).ok_or(BadRecord)?;
        Ok(())
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.nonce);
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aead")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// The data that are authenticated with a record.
struct AadBytes {
    bytes: [u8; 13],
    length: usize,
}

impl AadBytes {
    fn of_tls13(length: [u8; 2]) -> Self {
        let mut bytes = [0; 13];
        bytes[..HEADER].copy_from_slice(&[DATA, 3, 3, length[0], length[1]]);
        Self { bytes, length: HEADER }
    }

    fn of_tls12(sequence: u64, kind: u8, plain: usize) -> Result<Self, BadRecord> {
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        bytes[8..11].copy_from_slice(&[kind, 3, 3]);
        bytes[11..].copy_from_slice(&u16::try_from(plain).map_err(|_| BadRecord)?.to_be_bytes());
        Ok(Self { bytes, length: 13 })
    }

    fn as_aad(&self) -> Aad<&[u8]> {
        Aad::from(&self.bytes[..self.length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aead(version: TlsVersion, cipher: TlsCipher) -> Aead {
        let key = vec![3; cipher.key_len()];
        Aead::new(&TlsKeys::new(version, cipher, &key, [9; 12], 41).unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            for cipher in [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::ChaCha20Poly1305]
            {
                let (mut seals, mut opens) = (aead(version, cipher), aead(version, cipher));
                for plain in [&b"water"[..], b"", &[7; MOST_PLAIN]] {
                    let mut record = vec![0; seals.prefix()];
                    record.extend(plain);
                    record.resize(record.len() + seals.suffix(), 0);
                    seals.seal(DATA, &mut record).unwrap();

                    let mut changed = record.clone();
                    *changed.last_mut().unwrap() ^= 1;
                    opens.open(&mut changed).unwrap_err();
                    let (outer, range) = opens.open(&mut record).unwrap();
                    let inner = plain.len() + usize::from(version == TlsVersion::Tls13);
                    assert_eq!((outer, range.len()), (DATA, inner));
                    assert_eq!(record[range][..plain.len()], *plain);
                    opens.open(&mut record).unwrap_err();
                }
                assert_eq!((seals.sequence(), opens.sequence()), (44, 44));
            }
        }
    }

    #[test]
    fn a_record_without_room_is_refused() {
        let mut aead = aead(TlsVersion::Tls12, TlsCipher::Aes128Gcm);
        for length in 0..HEADER + EXPLICIT + TAG {
            aead.seal(DATA, &mut vec![0; length]).unwrap_err();
            aead.open(&mut vec![0; length]).unwrap_err();
        }
    }
}
