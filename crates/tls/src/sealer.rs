//! Sealing in user space: [`Sealer`] makes the records of an outbox.
//!
//! Plaintext is sealed where it lies. The first records of a connection are short, so that the
//! peer can open them before a whole 16 KiB have arrived. A key update, which the peer asked for or the
//! number of records demands, is put in front of a record, without a part of the task.
//!
//! # Limitations
//!
//! TLS 1.2 cannot change keys, so a sealer refuses at a bound that no connection reaches in practice
//! (2^32 records); [`Session::should_close`](crate::Session::should_close) says so long before.

use karez_sys::TlsVersion;
use karez_transfer::{RecordKind, Seal, SealError, SealRoom};
use std::fmt;
use std::sync::Arc;

use crate::error::TlsError;
use crate::keys::TxKeys;
use crate::record::{Aead, HANDSHAKE, HEADER, MOST_PLAIN, TAG};
use crate::session::{KEY_UPDATE, SOFT_LIMIT, Session, Shared};

/// The most that one of the first records has on the wire, in bytes: three segments, so it reaches the
/// peer in the first flight of a new connection (RFC 6928).
const IDLE_RECORD: usize = 4 << 10;

/// A key update as TLS 1.3 sends it.
const UPDATE_RECORD: usize = HEADER + KEY_UPDATE.len() + 1 + TAG;

/// Records under one key of TLS 1.2, and of TLS 1.3 where the key schedule has failed.
const HARD_LIMIT: u64 = 1 << 32;

/// Makes the records that a connection sends.
pub struct Sealer {
    aead: Aead,
    shared: Arc<Shared>,
    /// A key update goes before the next record. It changes at the end of [`Seal::seal`] only, for the
    /// room is asked for well before.
    update_first: bool,
}

impl Sealer {
    /// Returns a sealer for a connection, to be appended to its outbox behind the last bytes of the
    /// handshake ([`Outbox::push_seal`](karez_transfer::Outbox::push_seal)).
    ///
    /// # Errors
    /// The key does not fit its cipher.
    pub fn new(keys: TxKeys, session: &Session) -> Result<Self, TlsError> {
        Self::of(keys, Arc::clone(session.shared()))
    }

    pub(crate) fn of(keys: TxKeys, shared: Arc<Shared>) -> Result<Self, TlsError> {
        let aead = Aead::new(&keys.into_kernel())?;
        Ok(Self { aead, shared, update_first: false })
    }

    /// Seals a key update in a record of its own, and changes the key behind it.
    fn seal_update(&mut self, record: &mut [u8]) -> Result<(), SealError> {
        let content =
            record.get_mut(HEADER..HEADER + KEY_UPDATE.len()).ok_or_else(SealError::new)?;
        content.copy_from_slice(&KEY_UPDATE);
        self.aead.seal(HANDSHAKE, record).map_err(|_| SealError::new())?;
        self.change_key()
    }

    fn change_key(&mut self) -> Result<(), SealError> {
        let keys = self.shared.next_tx().map_err(|_| SealError::new())?;
        self.aead = Aead::new(keys.as_kernel()).map_err(|_| SealError::new())?;
        Ok(())
    }

    fn is_key_update(&self, kind: RecordKind, record: &[u8]) -> bool {
        kind == RecordKind::HANDSHAKE
            && self.aead.version() == TlsVersion::Tls13
            && record.get(HEADER..record.len() - self.aead.suffix()) == Some(&KEY_UPDATE)
    }
}

impl Seal for Sealer {
    fn room(&self) -> SealRoom {
        let update = if self.update_first { UPDATE_RECORD } else { 0 };
        SealRoom { prefix: update + self.aead.prefix(), tag: self.aead.suffix() }
    }

    fn max_plain(&self, idle: bool) -> usize {
        if idle { IDLE_RECORD - self.aead.prefix() - self.aead.suffix() } else { MOST_PLAIN }
    }

    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
        let mut record = record;
        if record.len() < self.room().prefix + self.room().tag {
            return Err(SealError::new());
        }
        if self.update_first {
            let (update, rest) = record.split_at_mut(UPDATE_RECORD);
            self.seal_update(update)?;
            record = rest;
        }
        if self.aead.sequence() >= HARD_LIMIT && self.aead.is_gcm() {
            return Err(SealError::new());
        }
        let changes = self.is_key_update(kind, record);
        self.aead.seal(kind.0, record).map_err(|_| SealError::new())?;
        if changes {
            self.change_key()?;
        }
        self.shared.set_sealed(self.aead.sequence());
        let worn = self.aead.is_gcm() && self.aead.sequence() >= SOFT_LIMIT;
        self.update_first =
            self.aead.version() == TlsVersion::Tls13 && (worn || self.shared.take_update_due());
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("aead", &self.aead).finish_non_exhaustive()
    }
}
