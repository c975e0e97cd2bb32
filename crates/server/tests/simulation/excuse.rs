//! What excuses that a response is an error, or ends early.

/// An excuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    None,
    /// The connection may end between two responses: it has made room for another. `late`: its socket is closed with its
    /// last operation, so bytes may arrive in it meanwhile.
    Eviction {
        late: bool,
    },
    /// A deadline, a read error, a stop, or the client itself may have ended anything.
    All,
}

impl Excuse {
    /// Returns whether a response may be an error, or end early.
    pub(crate) fn is_all(self) -> bool {
        self == Self::All
    }
}
