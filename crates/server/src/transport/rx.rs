//! The receiving side of an established TLS connection: user space opens the records, or the kernel does
//! (`TLS_RX`, Linux 4.17), which then delivers plaintext and, by themselves, control records.
//!
//! # Limitations
//!
//! Before Linux 6.14 the kernel cannot change its keys, so a client that updates its own has sent its last
//! readable record: the stream ends there. Of a record that arrives in pieces the kernel says nothing, so
//! its time is that of the wait.

use std::io;

use karez_reactor::{Io, RecordType, SocketOption};
use karez_tls::{Alert, Control, Incoming, Opener, RxKeys, Session, TlsError};

use crate::job::FileJob;

/// The receiving side.
pub(super) enum Rx {
    /// User space opens the records.
    User(Box<Opener>),
    /// The kernel gets these keys before anything else is received.
    Switching { keys: RxKeys, kernel: KernelRx, requested: bool },
    /// The kernel opens the records.
    Kernel(KernelRx),
}

/// The state of a receiving side of the kernel.
#[derive(Clone, Copy)]
pub(super) struct KernelRx {
    /// The kernel can change its keys.
    pub(super) rekeys: bool,
    /// A kernel that refuses the keys ends the connection.
    pub(super) required: bool,
    /// It has had keys before these.
    pub(super) begun: bool,
    /// The client sends nothing more.
    ended: bool,
    /// A record cannot be opened, so nothing more can be received.
    broken: bool,
}

impl KernelRx {
    pub(super) fn new(rekeys: bool, required: bool) -> Self {
        Self { rekeys, required, begun: false, ended: false, broken: false }
    }

    /// Takes what the kernel has received. Returns whether the stream, or its end, has arrived; and new
    /// keys.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        kind: RecordType,
        session: &mut Session,
        stream: impl FnOnce(&[u8]),
    ) -> Result<(bool, Option<RxKeys>), TlsError> {
        if self.ended {
            return Ok((false, None));
        }
        let RecordType::Control(kind) = kind else {
            session.received_data(bytes.len())?;
            stream(bytes);
            return Ok((true, None));
        };
        match session.control(kind, bytes)? {
            Control::Closed => self.ended = true,
            Control::KeyUpdate(keys) if self.rekeys => return Ok((false, Some(keys))),
            Control::KeyUpdate(_) => (self.ended, self.broken) = (true, true),
            _ => return Ok((false, None)),
        }
        Ok((true, None))
    }
}

impl Rx {
    /// Takes received bytes: those of the stream go to `stream`. Returns whether any, or the end, have
    /// arrived.
    pub(super) fn receive(
        &mut self,
        mut bytes: &mut [u8],
        kind: RecordType,
        session: &mut Session,
        io: &mut Io<'_, FileJob>,
        mut stream: impl FnMut(&[u8], &mut Io<'_, FileJob>),
    ) -> Result<bool, TlsError> {
        match self {
            Self::Switching { .. } => Ok(false),
            Self::Kernel(kernel) => {
                let (arrived, keys) =
                    kernel.receive(bytes, kind, session, |bytes| stream(bytes, io))?;
                if let Some(keys) = keys {
                    let kernel = KernelRx { begun: true, ..*kernel };
                    *self = Self::Switching { keys, kernel, requested: false };
                }
                Ok(arrived)
            }
            Self::User(opener) => {
                let mut arrived = false;
                while let Some(incoming) = opener.next(&mut bytes, session)? {
                    arrived = true;
                    match incoming {
                        Incoming::Data(data) => stream(data, io),
                        _ => break,
                    }
                }
                Ok(arrived)
            }
        }
    }

    /// Returns the option to be set before anything else is received, once.
    pub(super) fn take_option(&mut self) -> Option<SocketOption> {
        match self {
            Self::Switching { keys, requested, .. } if !*requested => {
                *requested = true;
                // A clone, because user space uses the keys if the kernel refuses them.
                Some(SocketOption::TlsRx(keys.as_kernel().clone()))
            }
            _ => None,
        }
    }

    /// Takes the result of the option.
    ///
    /// # Errors
    /// The connection cannot continue.
    pub(super) fn configured(self, result: &io::Result<()>) -> Result<Self, TlsError> {
        let Self::Switching { keys, mut kernel, .. } = self else { return Ok(self) };
        match result {
            Ok(()) => Ok(Self::Kernel(kernel)),
            Err(_) if kernel.begun => {
                (kernel.ended, kernel.broken) = (true, true);
                Ok(Self::Kernel(kernel))
            }
            Err(_) if kernel.required => Err(TlsError::NotReady),
            Err(_) => Opener::new(keys).map(|opener| Self::User(Box::new(opener))),
        }
    }

    /// Takes an error of the socket. Returns the alert for the client if a record did not open.
    pub(super) fn fail(&mut self, error: &io::Error) -> Option<Alert> {
        let Self::Kernel(kernel) = self else { return None };
        let alert = match rustix::io::Errno::from_io_error(error)? {
            rustix::io::Errno::BADMSG => Alert::BAD_RECORD_MAC,
            rustix::io::Errno::MSGSIZE => Alert::RECORD_OVERFLOW,
            rustix::io::Errno::INVAL => Alert::PROTOCOL_VERSION,
            _ => return None,
        };
        (kernel.ended, kernel.broken) = (true, true);
        Some(alert)
    }

    /// Returns whether no record has begun that is not complete.
    pub(super) fn is_between_records(&self) -> bool {
        match self {
            Self::User(opener) => opener.is_between_records(),
            Self::Switching { .. } | Self::Kernel(_) => true,
        }
    }

    /// Returns whether the client sends nothing more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::User(opener) => opener.is_closed(),
            Self::Switching { .. } => false,
            Self::Kernel(kernel) => kernel.ended,
        }
    }

    /// Returns whether a receive would fail.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Kernel(kernel) if kernel.broken)
    }
}
