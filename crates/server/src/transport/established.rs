//! An established TLS connection. User space or the kernel opens its records, and either the outbox's seal
//! or the kernel makes the others.
//!
//! # Limitations
//!
//! The time for a record that has begun counts from its first receive. A client that sends only
//! records without data is closed when the wait for its next request ends.

use std::time::{Duration, Instant};

use karez_reactor::{Io, Outbox, RecordType, SocketOption};
use karez_tls::{Alert, ConnectionInfo, Session, TlsError, TlsVersion};
use karez_transfer::RecordKind;

use super::received::Received;
use super::rx::Rx;
use crate::exchange_record::TlsDescription;
use crate::job::FileJob;
use crate::protocol::Deadline;
use crate::tls::HTTP2;

/// Returns the name of a cipher suite in IANA's registry: rustls writes TLS13_ for TLS_.
fn iana_name(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}

/// An established connection.
pub(crate) struct Sealed {
    session: Session,
    /// `None` only while the kernel's answer is taken.
    rx: Option<Rx>,
    description: TlsDescription,
    http2: bool,
    server_name: Option<Box<str>>,
    /// The deadline of the last wait for the stream.
    waits: Option<Deadline>,
    /// When the record that has begun must be complete.
    record_due: Option<Instant>,
    /// The stream to the client has ended, or must not continue.
    ended: bool,
}

impl Sealed {
    pub(super) fn new(info: &ConnectionInfo, rx: Rx, session: Session) -> Self {
        let version = match info.version {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        };
        let cipher = iana_name(info.suite.as_str().unwrap_or("unknown"));
        let description = TlsDescription { version, cipher };
        let http2 = info.protocol.as_deref() == Some(HTTP2);
        let (waits, record_due, ended) = (None, None, false);
        let server_name = info.server_name.as_deref().map(Box::from);
        Self { session, rx: Some(rx), description, http2, server_name, waits, record_due, ended }
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn description(&self) -> TlsDescription {
        self.description
    }

    pub(super) fn speaks_http2(&self) -> bool {
        self.http2
    }

    /// Opens received records. An error is answered by its alert.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        kind: RecordType,
        io: &mut Io<'_, FileJob>,
        stream: impl FnMut(&[u8], &mut Io<'_, FileJob>),
    ) -> Received {
        let Some(rx) = &mut self.rx else { return Received::Failed };
        match rx.receive(bytes, kind, &mut self.session, io, stream) {
            Ok(true) => {
                self.record_due = None;
                Received::Stream
            }
            Ok(false) => Received::Again,
            Err(error) => {
                self.fail(&error, io.outbox());
                Received::Failed
            }
        }
    }

    /// Returns an option to be set before anything else is received.
    pub(super) fn take_option(&mut self) -> Option<SocketOption> {
        self.rx.as_mut()?.take_option()
    }

    /// Takes the result of that; false if the connection cannot continue.
    pub(super) fn configured(&mut self, result: &std::io::Result<()>) -> bool {
        self.rx = self.rx.take().and_then(|rx| rx.configured(result).ok());
        self.rx.is_some()
    }

    /// Takes an error of a receive. Returns whether a record did not open, which an alert answers.
    pub(super) fn receive_failed(&mut self, error: &std::io::Error, outbox: &mut Outbox) -> bool {
        let Some(alert) = self.rx.as_mut().and_then(|rx| rx.fail(error)) else { return false };
        if !std::mem::replace(&mut self.ended, true) {
            outbox.push_record(RecordKind::ALERT, alert.to_bytes().to_vec());
        }
        true
    }

    /// Takes an error of a send: the kernel may return it there that a record did not open. Returns whether that
    /// is the cause, which the alert answers. If this has been sent, it has another cause.
    pub(super) fn send_failed(&mut self, error: &std::io::Error, outbox: &mut Outbox) -> bool {
        // EINVAL may also be of the file.
        error.kind() != std::io::ErrorKind::InvalidInput
            && !self.ended
            && self.receive_failed(error, outbox)
    }

    /// Returns whether a receive would fail.
    pub(super) fn cannot_receive(&self) -> bool {
        self.rx.as_ref().is_none_or(Rx::is_broken)
    }

    /// Returns whether user space seals.
    pub(super) fn seals(&self) -> bool {
        !self.session.kernel_seals()
    }

    fn fail(&mut self, error: &TlsError, outbox: &mut Outbox) {
        if let Some(alert) = error.alert().filter(|_| !self.ended) {
            outbox.push_record(RecordKind::ALERT, alert.to_bytes().to_vec());
        }
        self.ended = true;
    }

    pub(super) fn wait(&mut self, deadline: Deadline) {
        self.waits = Some(deadline);
        self.record_due = None;
    }

    pub(super) fn wait_again(&mut self, now: Instant, record: Duration) -> Deadline {
        let waits = self.waits.unwrap_or(Deadline { at: now + record, idle: false });
        match self.record_due(now, record) {
            None => waits,
            Some(due) => Deadline { at: waits.at.min(due), idle: false },
        }
    }

    pub(super) fn record_due(&mut self, now: Instant, record: Duration) -> Option<Instant> {
        if self.is_between_records() {
            self.record_due = None;
            return None;
        }
        Some(*self.record_due.get_or_insert(now + record))
    }

    pub(super) fn is_between_records(&self) -> bool {
        self.rx.as_ref().is_none_or(Rx::is_between_records)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.rx.as_ref().is_none_or(Rx::is_closed)
    }

    pub(super) fn should_close(&self) -> bool {
        self.session.should_close()
    }

    pub(super) fn update_keys(&mut self, outbox: &mut Outbox) {
        self.session.update_keys(outbox);
    }

    /// Appends `close_notify`, once, unless an error has ended the stream.
    pub(super) fn end(&mut self, outbox: &mut Outbox) {
        if !std::mem::replace(&mut self.ended, true) {
            let close = Alert::CLOSE_NOTIFY.to_bytes().to_vec();
            outbox.push_record(RecordKind::ALERT, close);
        }
    }
}
