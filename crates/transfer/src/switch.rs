//! A change of how a socket sends, at a place in the outgoing stream, as kernel TLS needs it: bytes in
//! front leave under the old keys, bytes behind under the new ones.
//!
//! [`Outbox::push_switch`](crate::Outbox::push_switch) appends one. It is made when every byte in front
//! of it has been passed to the kernel, by the thread that sends. Behind it either the socket makes the
//! records ([`Switched::Socket`]), so that files pass by every via again, or a [`Seal`] does.
//!
//! # Limitations
//!
//! Under a socket that makes records nothing is sent with `MSG_MORE` (send(2)) unless more memory
//! follows: such a record would stay open, and unsent, until the next bytes have been read from a disk. So
//! a head in front of a large file is a record of its own. Records of another kind than data are sent by
//! sendmsg(2) with a control message (`TLS_SET_RECORD_TYPE`).

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::seal::Seal;

/// Changes how a socket sends.
pub trait Switch: Send {
    /// Makes the change, by calls that do not block. All bytes in front of it have been passed to the
    /// kernel.
    ///
    /// # Errors
    /// The connection cannot continue.
    fn switch(self: Box<Self>, socket: BorrowedFd<'_>) -> io::Result<Switched>;
}

/// The maker of the records behind a [`Switch`].
#[non_exhaustive]
pub enum Switched {
    /// The socket, as with kernel TLS.
    Socket,
    /// A seal.
    Seal(Box<dyn Seal>),
}

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "Socket",
            Self::Seal(_) => "Seal",
        })
    }
}
