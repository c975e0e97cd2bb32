//! The transport of a connection, between socket and protocol: plain bytes, or TLS whose
//! records user space or the kernel makes and opens.
//!
//! A [`Transport`] makes no call and knows no protocol. The connection passes it received bytes; it passes
//! the bytes of the stream on, and appends its own records (handshake, alerts) to the outbox, whose seal
//! makes records of everything behind the handshake.
//!
//! # Limitations
//!
//! The step of a handshake that signs runs on the event loop, in a turn for at most eight connections with an ECDSA key
//! (0.1 to 0.2 ms of CPU each), or for one with an RSA key (0.7 to 1 ms with 2048 bits).

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use karez_reactor::{Io, Outbox, Peer, RecordType, SocketOption};

use crate::context::ServerContext;
use crate::exchange_record::TlsDescription;
use crate::job::FileJob;
use crate::protocol::Deadline;

#[cfg(feature = "tls")]
mod established;
#[cfg(feature = "tls")]
mod handshake;
mod received;
#[cfg(feature = "tls")]
mod rx;

pub(crate) use received::Received;

#[cfg(feature = "tls")]
use established::Sealed;
#[cfg(feature = "tls")]
use handshake::Handshaking;
#[cfg(feature = "tls")]
use karez_tls::{Progress, TlsError};

/// How the bytes of a connection are carried.
pub(crate) enum Transport {
    /// As they are.
    Plain,
    /// TLS that has no keys yet.
    #[cfg(feature = "tls")]
    Handshake(Box<Handshaking>),
    /// TLS that has keys.
    #[cfg(feature = "tls")]
    Sealed(Box<Sealed>),
}

impl Transport {
    /// Returns the transport of a connection that a listener has accepted.
    pub(crate) fn new(context: &ServerContext, peer: Peer, now: Instant) -> Self {
        #[cfg(feature = "tls")]
        if let Some(tls) = context.tls.as_ref().filter(|tls| tls.is_secure(peer.listener)) {
            let is_tcp = peer.address.is_some();
            return Self::Handshake(Box::new(Handshaking::new(tls, is_tcp, now)));
        }
        let _ = (context, peer, now);
        Self::Plain
    }

    /// Returns the time by which the handshake must be complete; `None` if there is none.
    pub(crate) fn handshake_deadline(&self) -> Option<Deadline> {
        match self {
            #[cfg(feature = "tls")]
            Self::Handshake(handshake) => Some(handshake.deadline()),
            _ => None,
        }
    }

    /// Returns how many bytes the next receive may take at most, if there is a limit.
    pub(crate) fn receive_limit(&self) -> Option<NonZeroUsize> {
        match self {
            #[cfg(feature = "tls")]
            Self::Handshake(handshake) => handshake.receive_limit(),
            _ => None,
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Takes received bytes. Those of the stream go to `stream`, in pieces.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        kind: RecordType,
        io: &mut Io<'_, FileJob>,
        mut stream: impl FnMut(&[u8], &mut Io<'_, FileJob>),
    ) -> Received {
        match self {
            Self::Plain => {
                let _ = kind;
                stream(bytes, io);
                Received::Stream
            }
            #[cfg(feature = "tls")]
            Self::Handshake(handshake) => {
                handshake.push(bytes);
                if handshake.will_sign() && !io.start_costly(handshake.signing_time()) {
                    return Received::Postponed;
                }
                match handshake.advance(io.outbox()) {
                    Ok(Progress::Receive) => Received::Handshake,
                    Ok(Progress::Done) => self.establish(io.outbox()),
                    Err(TlsError::PlainHttp) => {
                        if let Self::Handshake(handshake) = std::mem::replace(self, Self::Plain) {
                            stream(&handshake.into_received(), io);
                        }
                        Received::PlainHttp
                    }
                    Err(_) => Received::Failed,
                }
            }
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.receive(bytes, kind, io, stream),
        }
    }

    /// Ends a handshake that is complete.
    #[cfg(feature = "tls")]
    fn establish(&mut self, outbox: &mut Outbox) -> Received {
        let Self::Handshake(handshake) = std::mem::replace(self, Self::Plain) else {
            return Received::Failed;
        };
        let Ok((sealed, unread)) = handshake.finish(outbox) else { return Received::Failed };
        *self = Self::Sealed(Box::new(sealed));
        Received::Established { unread }
    }

    /// Returns an option to be set before anything else is received.
    pub(crate) fn take_option(&mut self) -> Option<SocketOption> {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.take_option(),
            _ => None,
        }
    }

    /// Takes the result of that; false if the connection cannot continue.
    pub(crate) fn configured(&mut self, result: &std::io::Result<()>) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.configured(result),
            _ => {
                let _ = result;
                true
            }
        }
    }

    /// Takes an error of a receive. Returns whether a record did not open, which an alert answers.
    pub(crate) fn receive_failed(&mut self, error: &std::io::Error, outbox: &mut Outbox) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.receive_failed(error, outbox),
            _ => {
                let _ = (error, outbox);
                false
            }
        }
    }

    /// Takes an error of a send. Returns whether its cause is a record that did not open, which an alert answers.
    pub(crate) fn send_failed(&mut self, error: &std::io::Error, outbox: &mut Outbox) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.send_failed(error, outbox),
            _ => {
                let _ = (error, outbox);
                false
            }
        }
    }

    /// Returns whether a receive would fail, although the connection can be ended regularly.
    pub(crate) fn cannot_receive(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.cannot_receive(),
            _ => false,
        }
    }

    /// Returns whether user space seals, so that every via runs as `copy`.
    pub(crate) fn seals(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.seals(),
            _ => false,
        }
    }

    /// Returns whether the client has chosen HTTP/2 in the handshake (ALPN, RFC 7301).
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.speaks_http2(),
            _ => false,
        }
    }

    /// Notes the deadline of a wait for the stream.
    pub(crate) fn wait(&mut self, deadline: Deadline) {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.wait(deadline),
            _ => {
                let _ = deadline;
            }
        }
    }

    /// Returns the deadline for a wait that continues after bytes that were no stream. A record that has
    /// begun must be complete within `record`.
    pub(crate) fn wait_again(&mut self, now: Instant, record: Duration) -> Deadline {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.wait_again(now, record),
            _ => Deadline { at: now + record, idle: false },
        }
    }

    /// Returns when the record that has begun must be complete, which has `record` from now if it is new.
    pub(crate) fn record_due(&mut self, now: Instant, record: Duration) -> Option<Instant> {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.record_due(now, record),
            _ => {
                let _ = (now, record);
                None
            }
        }
    }

    /// Returns whether the client has said that it sends nothing more.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.is_ended(),
            _ => false,
        }
    }

    /// Returns whether no record has begun to arrive.
    pub(crate) fn is_between_records(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.is_between_records(),
            _ => true,
        }
    }

    /// Returns whether the connection is to be closed after the exchange: its keys are used up.
    pub(crate) fn should_close(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.should_close(),
            _ => false,
        }
    }

    /// Prepares for bytes that are appended to the outbox: a key update may be due first.
    pub(crate) fn before_append(&mut self, outbox: &mut Outbox) {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.update_keys(outbox),
            _ => {
                let _ = outbox;
            }
        }
    }

    /// Appends the regular end of the stream (`close_notify`), without which a client takes the end for
    /// an attack.
    pub(crate) fn end(&mut self, outbox: &mut Outbox) {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.end(outbox),
            _ => {
                let _ = outbox;
            }
        }
    }

    /// Returns the host that the client named in its handshake.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => sealed.server_name(),
            _ => None,
        }
    }

    /// Returns the version and cipher, once they are negotiated.
    pub(crate) fn describe(&self) -> Option<TlsDescription> {
        match self {
            #[cfg(feature = "tls")]
            Self::Sealed(sealed) => Some(sealed.description()),
            _ => None,
        }
    }
}
