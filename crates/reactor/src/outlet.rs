//! The sending side of a socket on a completion model.

use karez_sys::Handle;
use rustix::net::{Shutdown, shutdown};
use std::sync::Arc;

use crate::send_limit;

/// A socket, and whether sends that hold a thread are limited.
#[derive(Clone)]
pub(crate) struct Outlet {
    socket: Handle,
    limited: bool,
}

impl Outlet {
    pub(crate) fn new(socket: Handle) -> Self {
        Self { socket, limited: false }
    }

    /// The socket, to be held by an operation.
    pub(crate) fn handle(&self) -> Handle {
        Arc::clone(&self.socket)
    }

    /// Sees that an operation which sends by a blocking call, in a thread, is over in a moment.
    pub(crate) fn limit(&mut self) {
        if !self.limited {
            // Refused, the operation lasts until the peer reads or the connection ends.
            let _refused = send_limit::limit((*self.socket).as_fd());
            self.limited = true;
        }
    }

    /// Sends a FIN behind what was sent.
    pub(crate) fn finish(&self) {
        // A peer that is gone already needs no FIN.
        let _gone = shutdown((*self.socket).as_fd(), Shutdown::Write);
    }
}
