//! Has the kernel seal the records of an outbox from a place in the stream on (`TLS_TX`).
//!
//! The first [`KernelTx`] follows the last bytes of the handshake; each further one a key update. Where the
//! kernel refuses the first, a [`Sealer`] takes its place under the same keys.
//!
//! # Limitations
//!
//! A kernel before 6.14 cannot change keys (`EBUSY`), so a second one ends the connection there:
//! [`Session::update_keys`](crate::Session::update_keys) appends none.

use karez_sys::{TlsDirection, start_ktls};
use karez_transfer::{Switch, Switched};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::keys::TxKeys;
use crate::sealer::Sealer;
use crate::session::{Session, Shared};

/// A place in the stream from which on the kernel seals.
pub struct KernelTx {
    keys: TxKeys,
    shared: Arc<Shared>,
    refusal: Refusal,
}

/// The consequence of a kernel that refuses the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// User space seals.
    Seal,
    /// The connection ends.
    Fail,
}

impl KernelTx {
    /// Returns the switch of a connection, to be appended to its outbox behind the last bytes of the
    /// handshake ([`Outbox::push_switch`](karez_transfer::Outbox::push_switch)). If the kernel refuses
    /// the keys, user space seals, unless that is an error (`required`). `rekey`: the kernel can change
    /// keys ([`SuiteSupport::rekey`](crate::SuiteSupport::rekey)).
    #[must_use]
    pub fn new(keys: TxKeys, session: &Session, rekey: bool, required: bool) -> Self {
        let shared = Arc::clone(session.shared());
        shared.set_kernel_rekey(rekey);
        Self { keys, shared, refusal: if required { Refusal::Fail } else { Refusal::Seal } }
    }

    /// Returns the switch behind a key update.
    pub(crate) fn update(keys: TxKeys, shared: Arc<Shared>) -> Self {
        Self { keys, shared, refusal: Refusal::Fail }
    }
}

impl Switch for KernelTx {
    fn switch(self: Box<Self>, socket: BorrowedFd<'_>) -> io::Result<Switched> {
        let Self { keys, shared, refusal } = *self;
        match start_ktls(socket, TlsDirection::Tx, keys.as_kernel()) {
            Ok(()) => {
                shared.set_kernel_seals();
                Ok(Switched::Socket)
            }
            Err(_) if refusal == Refusal::Seal => {
                let sealer = Sealer::of(keys, shared).map_err(io::Error::other)?;
                Ok(Switched::Seal(Box::new(sealer)))
            }
            Err(errno) => {
                let error = io::Error::from(errno);
                Err(io::Error::new(error.kind(), format!("kernel TLS, TLS_TX: {error}")))
            }
        }
    }
}

impl fmt::Debug for KernelTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelTx").field("keys", &self.keys).finish_non_exhaustive()
    }
}
