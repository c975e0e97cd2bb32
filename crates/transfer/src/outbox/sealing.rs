//! The seal of an outbox, and the record that has not been sent.

use std::io;

use crate::scratch;
use crate::seal::{RecordKind, Seal};

/// The longest plaintext of a record that is sent together with the one before it, in bytes.
const SHORT: usize = 64;

/// The plaintext that is sent in short records when a connection begins, in bytes. With the records of the
/// handshake that is the first flight of a new connection (RFC 6928): in a longer record the first byte
/// would have to wait for the second one.
const START: u64 = 10 << 10;

pub(super) struct Sealing {
    pub(super) seal: Box<dyn Seal>,
    pub(super) record: Vec<u8>,
    /// The bytes of the record that have been sent.
    pub(super) sent: usize,
    /// The bytes of plaintext in the record.
    pub(super) plain: u64,
    /// The bytes of plaintext that have been sealed.
    total: u64,
}

impl Sealing {
    pub(super) fn new(seal: Box<dyn Seal>) -> Self {
        Self { seal, record: Vec::new(), sent: 0, plain: 0, total: 0 }
    }

    /// Returns whether a record has not been sent completely.
    pub(super) fn has_record(&self) -> bool {
        !self.record.is_empty()
    }

    /// Returns the most plaintext of the next record.
    pub(super) fn max_plain(&self) -> usize {
        self.seal.max_plain(self.total < START).max(1)
    }

    /// Keeps a record that has been made.
    pub(super) fn set_record(&mut self, record: Vec<u8>, plain: u64) {
        (self.record, self.sent, self.plain) = (record, 0, plain);
        self.total += plain;
    }

    /// Makes another record behind the one that has been made, if it is short.
    pub(super) fn seal_behind(&mut self, kind: RecordKind, plain: &[u8]) -> io::Result<bool> {
        if plain.len() > SHORT.min(self.seal.max_plain(false)) {
            return Ok(false);
        }
        let (start, room) = (self.record.len(), self.seal.room());
        self.record.resize(start + room.prefix, 0);
        self.record.extend_from_slice(plain);
        self.record.resize(self.record.len() + room.tag, 0);
        self.seal.seal(kind, &mut self.record[start..])?;
        self.plain += plain.len() as u64;
        Ok(true)
    }

    /// Drops the record. Its buffer goes back to the pool, so an idle connection holds none.
    pub(super) fn clear(&mut self) {
        (self.sent, self.plain) = (0, 0);
        scratch::give_back(std::mem::take(&mut self.record));
    }

    /// Moves the unsent bytes out of a buffer that is much longer, for a socket that takes no more.
    pub(super) fn shrink(&mut self) {
        let unsent = &self.record[self.sent..];
        if self.record.capacity() > 2 * unsent.len() {
            let unsent = unsent.to_vec();
            scratch::give_back(std::mem::replace(&mut self.record, unsent));
            self.sent = 0;
        }
    }
}
