//! The stage of a send on a completion model: the operation in flight and the state that its result needs,
//! or the buffer for the next one.

use karez_sys::Key;
use karez_transfer::Gather;

use super::pipes::Pipe;

/// The operation in flight, or the buffer for the next one.
pub(crate) enum Stage {
    InFlight(Key, InFlight),
    /// The rest of a send that ended early for another reason than a full socket.
    Unsent(Unsent),
    /// Gathered so far, with no operation in flight for it; and whether it is sent by `MSG_ZEROCOPY`.
    Gathering(Gather, bool),
    /// Of a box in the pool.
    Unused,
}

/// Bytes of a buffer that are to be sent.
pub(crate) struct Unsent {
    pub(super) bytes: Vec<u8>,
    pub(super) from: usize,
    pub(super) more: bool,
    pub(super) zerocopy: bool,
}

/// The operation in flight, and the state that its result needs.
pub(crate) enum InFlight {
    Send {
        from: usize,
        more: bool,
        zerocopy: bool,
    },
    /// A range of a file, gathered behind other bytes.
    Read {
        gather: Gather,
        zerocopy: bool,
    },
    ReadThenSend {
        gather: Gather,
        more: bool,
    },
    Fill {
        pipe: Pipe,
    },
    Drain {
        held: usize,
        pipe: Pipe,
    },
    /// A wait for room in the send buffer.
    Room,
}
