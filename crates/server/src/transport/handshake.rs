//! A handshake on a connection: received bytes in, records to the outbox, at the end the keys.
//!
//! # Limitations
//!
//! The time for all of it is limited, and not the time between two of its bytes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_reactor::Outbox;
use karez_tls::{
    ACME_PROTOCOL, Alert, Established, Handshake, KernelTx, Opener, Progress, Reading, Sealer,
    TlsDirection, TlsError,
};

use super::established::Sealed;
use super::rx::{KernelRx, Rx};
use crate::metrics::{HandshakeAttempt, HandshakeKind};
use crate::protocol::Deadline;
use crate::tls::{KernelTls, TlsOptions};

/// The time for a handshake, from the first event of the connection to the last byte.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The most bytes of a receive that must not read beyond the handshake: as much as most clients send at
/// once, for a completion model holds so much memory for each client that sends nothing.
const PIECE: NonZeroUsize = NonZeroUsize::new(2 << 10).unwrap();

/// A handshake in progress.
pub(crate) struct Handshaking {
    machine: Handshake,
    until: Instant,
    /// A byte has been received.
    begun: bool,
    /// The cost of the step that signs.
    signing_time: Duration,
    attempt: HandshakeAttempt,
    /// The kernel is to take over behind it.
    kernel: Option<Arc<KernelTls>>,
}

impl Handshaking {
    /// Returns a handshake that waits for its first byte. Only TCP has kernel TLS.
    pub(super) fn new(tls: &TlsOptions, is_tcp: bool, now: Instant) -> Self {
        let kernel = tls.kernel.clone().filter(|_| is_tcp);
        // Where user space opens the records, bytes behind the handshake may be received with it.
        let reading = if kernel.is_some() { Reading::UpToTheEnd } else { Reading::Beyond };
        let checks = tls.challenges.as_ref().and_then(|challenges| challenges.config());
        let machine = Handshake::new(tls.store.config(), reading).answering(checks);
        let signing_time = tls.store.signing_time();
        let attempt = HandshakeAttempt::default();
        Self { machine, until: now + HANDSHAKE, begun: false, attempt, signing_time, kernel }
    }

    /// Returns how many bytes the next receive may take at most: the kernel has to open those that
    /// follow the handshake.
    pub(super) fn receive_limit(&self) -> Option<NonZeroUsize> {
        self.kernel.as_ref()?;
        Some(self.machine.wants().map_or(PIECE, |most| most.min(PIECE)))
    }

    /// Returns the time by which it must be complete. Before its first byte the connection may be
    /// closed to make room for another.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline { at: self.until, idle: !self.begun }
    }

    /// Keeps received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.begun = true;
        self.attempt.begin();
        self.machine.push(bytes);
    }

    /// Returns whether the next step signs, which only so many connections do in a turn of the event loop.
    pub(super) fn will_sign(&self) -> bool {
        self.machine.will_sign()
    }

    /// Returns how much CPU time that takes.
    pub(super) fn signing_time(&self) -> Duration {
        self.signing_time
    }

    /// Processes the bytes that were kept, and appends the answer to the outbox: an alert, if the handshake
    /// fails.
    ///
    /// # Errors
    /// The handshake fails, or the client sends HTTP without TLS ([`TlsError::PlainHttp`]).
    pub(super) fn advance(&mut self, outbox: &mut Outbox) -> Result<Progress, TlsError> {
        let progress = self.machine.advance();
        outbox.push_raw(self.machine.take_output());
        progress
    }

    /// Ends a complete handshake: its records are followed by sealed ones. Returns the connection, and
    /// the sealed bytes that were received behind the handshake.
    ///
    /// # Errors
    /// A key that does not fit its cipher. The handshake was a check by an ACME server, which carries no
    /// data: its client has shown no certificate, for example.
    pub(super) fn finish(mut self, outbox: &mut Outbox) -> Result<(Sealed, Vec<u8>), TlsError> {
        let Established { info, tx, rx, session, unread, .. } = self.machine.finish()?;
        let kernel = self.kernel.as_deref();
        match kernel.filter(|kernel| kernel.takes(TlsDirection::Tx, tx.as_kernel())) {
            Some(kernel) => {
                let rekeys = kernel.rekeys(tx.as_kernel());
                let switch = KernelTx::new(tx, &session, rekeys, kernel.required);
                outbox.push_switch(Box::new(switch));
            }
            None => outbox.push_seal(Box::new(Sealer::new(tx, &session)?)),
        }
        let rx = match kernel.filter(|kernel| kernel.takes(TlsDirection::Rx, rx.as_kernel())) {
            Some(kernel) => {
                let state = KernelRx::new(kernel.rekeys(rx.as_kernel()), kernel.required);
                Rx::Switching { keys: rx, kernel: state, requested: false }
            }
            None => Rx::User(Box::new(Opener::new(rx)?)),
        };
        let resumed = info.resumed;
        self.attempt.done(if resumed { HandshakeKind::Resumed } else { HandshakeKind::Full });
        let mut sealed = Sealed::new(&info, rx, session);
        if info.protocol.as_deref() == Some(ACME_PROTOCOL) {
            sealed.end(outbox);
            return Err(TlsError::Peer(Alert::CLOSE_NOTIFY));
        }
        Ok((sealed, unread))
    }

    /// Returns the bytes that are not TLS.
    pub(super) fn into_received(self) -> Vec<u8> {
        self.machine.into_received()
    }
}
