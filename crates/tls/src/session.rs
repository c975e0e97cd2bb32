//! The state of an established connection beside its keys: the key schedule, and the messages that are
//! allowed after the handshake (RFC 8446 §4.6, §6).
//!
//! A client may send three kinds of control records to a server: alerts, key updates, and in TLS 1.2
//! the wish to renegotiate, which is refused. [`Session::control`] handles them, whether the kernel
//! delivered the record or an [`Opener`](crate::Opener) opened it.
//!
//! # Limitations
//!
//! Authentication after the handshake is not offered. Renegotiation closes the connection. TLS 1.2 has
//! no key updates, so a connection that has used up its keys has to be closed
//! ([`Session::should_close`]).

use karez_sys::TlsVersion;
use karez_transfer::Outbox;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::Alert;
use crate::error::TlsError;
use crate::keys::{RxKeys, TxKeys};
use crate::record::{ALERT, HANDSHAKE, MOST_PLAIN};

/// Records under one key after which it is replaced, or the connection closed: a third of the 2^24.5
/// that RFC 8446 §5.5 allows AES-GCM. ChaCha20-Poly1305 has no such bound.
pub(crate) const SOFT_LIMIT: u64 = 1 << 23;

/// A `key_update` that asks for none in return.
pub(crate) const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// Key updates, empty records and warnings that a peer may send without data between them.
const MOST_KEY_UPDATES: u8 = 32;
const MOST_EMPTY: u8 = 32;
const MOST_WARNINGS: u8 = 4;

/// An established connection's state, without its keys.
pub struct Session {
    version: TlsVersion,
    shared: Arc<Shared>,
    /// The beginning of a handshake message whose rest has not been received.
    message: [u8; KEY_UPDATE.len()],
    received: usize,
    key_updates: u8,
    empty: u8,
    warnings: u8,
    /// Records that the kernel has sealed under its key, at most.
    kernel_records: u64,
    /// The bytes of the outbox that are counted in these.
    counted: u64,
}

/// The state that session and sealer share; the sealer belongs to the outbox.
pub(crate) struct Shared {
    /// TLS 1.3 only.
    schedule: Mutex<Option<KernelConnection<ServerConnectionData>>>,
    /// A key update is to be sent: the peer asked for one.
    update_due: AtomicBool,
    /// Records sealed under the key in use.
    sealed: AtomicU64,
    /// The kernel seals.
    kernel: AtomicBool,
    /// The kernel can change keys.
    kernel_rekey: AtomicBool,
}

/// The meaning of a control record.
#[derive(Debug)]
#[non_exhaustive]
pub enum Control {
    /// Nothing to do.
    Ignored,
    /// The peer sends nothing more (`close_notify`); later bytes are to be ignored.
    Closed,
    /// The peer has changed its key: everything that follows needs these keys.
    KeyUpdate(RxKeys),
}

/// A key update that is to be sent by the kernel: first the message, as a record of type
/// [`RecordKind::HANDSHAKE`](karez_transfer::RecordKind::HANDSHAKE) under the keys in use, then the keys are set.
#[derive(Debug)]
pub struct KernelUpdate {
    /// The message.
    pub message: [u8; 5],
    /// The keys of the records that follow it.
    pub keys: TxKeys,
}

impl Shared {
    /// Returns the next keys for sending.
    pub(crate) fn next_tx(&self) -> Result<TxKeys, TlsError> {
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let schedule = schedule.as_mut().ok_or(TlsError::KeysUsedUp)?;
        let (sequence, secrets) = schedule.update_tx_secret().map_err(TlsError::Handshake)?;
        TxKeys::new(TlsVersion::Tls13, sequence, secrets)
    }

    fn next_rx(&self) -> Result<RxKeys, TlsError> {
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let schedule = schedule.as_mut().ok_or(TlsError::KeysUsedUp)?;
        let (sequence, secrets) = schedule.update_rx_secret().map_err(TlsError::Handshake)?;
        RxKeys::new(TlsVersion::Tls13, sequence, secrets)
    }

    /// Returns whether the peer waits for a key update, once.
    pub(crate) fn take_update_due(&self) -> bool {
        self.update_due.load(Ordering::Relaxed) && self.update_due.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_kernel_seals(&self) {
        self.kernel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_kernel_rekey(&self, rekey: bool) {
        self.kernel_rekey.store(rekey, Ordering::Relaxed);
    }

    /// Returns whether the kernel can change keys.
    pub(crate) fn kernel_rekeys(&self) -> bool {
        self.kernel_rekey.load(Ordering::Relaxed)
    }

    fn kernel_seals(&self) -> bool {
        self.kernel.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sealed(&self, records: u64) {
        self.sealed.store(records, Ordering::Relaxed);
    }
}

impl Session {
    pub(crate) fn new(
        version: TlsVersion,
        schedule: Option<KernelConnection<ServerConnectionData>>,
    ) -> Self {
        let schedule = Mutex::new(schedule);
        let (update_due, sealed) = (AtomicBool::new(false), AtomicU64::new(0));
        let (kernel, kernel_rekey) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Shared { schedule, update_due, sealed, kernel, kernel_rekey };
        Self {
            version,
            shared: Arc::new(shared),
            message: [0; KEY_UPDATE.len()],
            received: 0,
            key_updates: 0,
            empty: 0,
            warnings: 0,
            kernel_records: 0,
            counted: 0,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Handles a record of another content type than `application_data`.
    ///
    /// # Errors
    /// The peer ended the connection, or broke the protocol; [`TlsError::alert`] is to be sent then.
    pub fn control(&mut self, kind: u8, content: &[u8]) -> Result<Control, TlsError> {
        match (kind, content) {
            (ALERT, &[level, description]) => self.alert(level, Alert(description)),
            (ALERT, _) => {
                Err(TlsError::protocol(Alert::DECODE_ERROR, "an alert of a wrong length"))
            }
            (HANDSHAKE, []) => Err(TlsError::unexpected("an empty handshake record")),
            (HANDSHAKE, _) => self.handshake(content),
            _ => Err(TlsError::unexpected("a record of an unknown type")),
        }
    }

    fn alert(&mut self, level: u8, alert: Alert) -> Result<Control, TlsError> {
        if alert == Alert::CLOSE_NOTIFY {
            return Ok(Control::Closed);
        }
        // TLS 1.3 has one more alert without consequences, and gives the level no meaning.
        let warns = match self.version {
            TlsVersion::Tls12 => level == 1,
            TlsVersion::Tls13 => alert == Alert::USER_CANCELED,
        };
        if !warns {
            return Err(TlsError::Peer(alert));
        }
        self.warnings += 1;
        if self.warnings > MOST_WARNINGS {
            return Err(TlsError::TooMuch("warnings"));
        }
        Ok(Control::Ignored)
    }

    /// Takes the bytes of a `key_update`, which may be fragmented.
    fn handshake(&mut self, content: &[u8]) -> Result<Control, TlsError> {
        if self.version == TlsVersion::Tls12 {
            return Err(TlsError::protocol(Alert::NO_RENEGOTIATION, "renegotiation"));
        }
        for &byte in content {
            let expected = KEY_UPDATE.get(self.received);
            let fits = match self.received {
                // RFC 8446 §5.1: nothing may follow in the record before the key changes.
                5.. => return Err(TlsError::unexpected("a message in the record of a key update")),
                4 => byte <= 1,
                _ => expected == Some(&byte),
            };
            if !fits {
                return Err(match self.received {
                    0 => TlsError::unexpected("a handshake message behind the handshake"),
                    4 => TlsError::protocol(Alert::ILLEGAL_PARAMETER, "an unknown key update"),
                    _ => TlsError::protocol(Alert::DECODE_ERROR, "a key update of a wrong length"),
                });
            }
            self.message[self.received] = byte;
            self.received += 1;
        }
        if self.received < KEY_UPDATE.len() {
            return Ok(Control::Ignored);
        }
        self.received = 0;
        self.key_updates += 1;
        if self.key_updates > MOST_KEY_UPDATES {
            return Err(TlsError::TooMuch("key updates"));
        }
        if self.message[4] == 1 {
            self.shared.update_due.store(true, Ordering::Relaxed);
        }
        self.shared.next_rx().map(Control::KeyUpdate)
    }

    /// Counts received bytes of the stream, without which only a few control records are allowed. An
    /// [`Opener`](crate::Opener) calls it; where the kernel opens records, the task does.
    ///
    /// # Errors
    /// Too many empty records in a row, or data inside a message.
    pub fn received_data(&mut self, bytes: usize) -> Result<(), TlsError> {
        if self.received > 0 {
            return Err(TlsError::unexpected("data inside a handshake message"));
        }
        if bytes > 0 {
            (self.key_updates, self.empty, self.warnings) = (0, 0, 0);
            return Ok(());
        }
        self.empty += 1;
        if self.empty > MOST_EMPTY {
            return Err(TlsError::TooMuch("empty records"));
        }
        Ok(())
    }

    /// Returns whether the kernel seals: a [`KernelTx`](crate::KernelTx) has taken effect.
    #[must_use]
    pub fn kernel_seals(&self) -> bool {
        self.shared.kernel_seals()
    }

    /// Counts all plaintext of an outbox as sealed by the kernel.
    pub(crate) fn count_sent(&mut self, outbox: &Outbox) {
        let moved = outbox.moved();
        if moved != self.counted {
            self.sent_by_kernel(moved - self.counted);
            self.counted = moved;
        }
    }

    /// Counts plaintext that the kernel has sealed since the last call: one response, for example.
    pub fn sent_by_kernel(&mut self, bytes: u64) {
        // Each send may end with a short record; head and body may be two sends.
        self.kernel_records = self.kernel_records.saturating_add(bytes / MOST_PLAIN as u64 + 2);
    }

    /// Returns whether the kernel has to send a key update before more data: the peer has asked for one,
    /// or the key has been in use for long. A kernel that cannot change keys
    /// ([`SuiteSupport::rekey`](crate::SuiteSupport::rekey)) must not send one: the connection is to be
    /// closed by `close_notify` then.
    #[must_use]
    pub fn kernel_update_due(&self) -> bool {
        let due = self.shared.update_due.load(Ordering::Relaxed);
        self.version == TlsVersion::Tls13 && (due || self.kernel_records >= SOFT_LIMIT)
    }

    /// Returns the key update that the kernel has to send, if one is
    /// [due](Self::kernel_update_due), and counts it as sent.
    ///
    /// # Errors
    /// The key schedule fails.
    pub fn kernel_update(&mut self) -> Result<Option<KernelUpdate>, TlsError> {
        if !self.kernel_update_due() {
            return Ok(None);
        }
        self.shared.take_update_due();
        self.kernel_records = 0;
        let keys = self.shared.next_tx()?;
        Ok(Some(KernelUpdate { message: KEY_UPDATE, keys }))
    }

    /// Returns whether the connection should be closed after the exchange under way, because it has no
    /// other key than the one that has been in use for long, or the kernel cannot change to the next.
    #[must_use]
    pub fn should_close(&self) -> bool {
        if self.kernel_seals() && self.kernel_update_due() {
            return !self.shared.kernel_rekeys();
        }
        let sealed = self.shared.sealed.load(Ordering::Relaxed).max(self.kernel_records);
        self.version == TlsVersion::Tls12 && sealed >= SOFT_LIMIT
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(version: TlsVersion) -> Session {
        Session::new(version, None)
    }

    fn alert_of(result: Result<Control, TlsError>) -> Option<Alert> {
        result.unwrap_err().alert()
    }

    #[test]
    fn close_notify_closes_and_other_alerts_are_errors() {
        let mut session = session(TlsVersion::Tls13);
        assert!(matches!(session.control(ALERT, &[1, 0]), Ok(Control::Closed)));
        assert!(matches!(session.control(ALERT, &[1, 90]), Ok(Control::Ignored)));
        let failed = session.control(ALERT, &[1, 42]).unwrap_err();
        assert_eq!((failed.alert(), failed), (None, TlsError::Peer(Alert(42))));
        for malformed in [&[][..], &[1], &[1, 0, 0]] {
            assert_eq!(alert_of(session.control(ALERT, malformed)), Some(Alert::DECODE_ERROR));
        }
    }

    #[test]
    fn warnings_are_limited() {
        let mut session = session(TlsVersion::Tls12);
        for _ in 0..MOST_WARNINGS {
            assert!(matches!(session.control(ALERT, &[1, 41]), Ok(Control::Ignored)));
        }
        session.received_data(1).unwrap();
        for _ in 0..MOST_WARNINGS {
            session.control(ALERT, &[1, 41]).unwrap();
        }
        assert_eq!(session.control(ALERT, &[1, 41]).unwrap_err(), TlsError::TooMuch("warnings"));
    }

    #[test]
    fn renegotiation_is_refused_by_its_alert() {
        let mut session = session(TlsVersion::Tls12);
        let refused = session.control(HANDSHAKE, &[1, 0, 0, 40, 3, 3]);
        assert_eq!(alert_of(refused), Some(Alert::NO_RENEGOTIATION));
    }

    #[test]
    fn messages_behind_the_handshake_are_refused_by_the_right_alert() {
        let cases: [(&[u8], Alert); 6] = [
            (&[11, 0, 0, 0], Alert::UNEXPECTED_MESSAGE),
            (&[1, 0, 0, 1, 0], Alert::UNEXPECTED_MESSAGE),
            (&[24, 0, 0, 2, 0, 0], Alert::DECODE_ERROR),
            (&[24, 0, 0, 1, 2], Alert::ILLEGAL_PARAMETER),
            (&[24, 0, 0, 1, 0, 24], Alert::UNEXPECTED_MESSAGE),
            (&[], Alert::UNEXPECTED_MESSAGE),
        ];
        for (content, alert) in cases {
            let mut session = session(TlsVersion::Tls13);
            assert_eq!(alert_of(session.control(HANDSHAKE, content)), Some(alert), "{content:?}");
        }
    }

    #[test]
    fn data_inside_a_message_and_many_empty_records_are_refused() {
        let mut session = session(TlsVersion::Tls13);
        assert!(matches!(session.control(HANDSHAKE, &[24, 0]), Ok(Control::Ignored)));
        assert_eq!(session.received_data(5).unwrap_err().alert(), Some(Alert::UNEXPECTED_MESSAGE));

        let mut session = self::session(TlsVersion::Tls13);
        for _ in 0..MOST_EMPTY {
            session.received_data(0).unwrap();
        }
        session.received_data(0).unwrap_err();
    }

    #[test]
    fn tls12_closes_where_tls13_updates_its_keys() {
        let mut session = session(TlsVersion::Tls12);
        session.sent_by_kernel(1 << 30);
        assert!(!session.should_close());
        session.sent_by_kernel(SOFT_LIMIT * MOST_PLAIN as u64);
        assert!(session.should_close());
        assert!(session.kernel_update().unwrap().is_none());
    }
}
