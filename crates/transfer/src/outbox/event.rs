//! The events that an outbox reports to its task, and the names in them.

/// A position in the outgoing bytes, chosen by the task: see
/// [`Outbox::push_mark`](crate::Outbox::push_mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// Identifies the stream to which units belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// An event for the task of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxEvent {
    /// All bytes before this mark have been passed to the kernel.
    Sent(Mark),
    /// The units of a tag have an event.
    Unit(Tag, UnitEvent),
}

/// An event of the units of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitEvent {
    /// The pages of a unit are not in memory: the units of its tag that had not been started have been
    /// removed. They may be pushed again after [`Warm`](Self::Warm).
    Cold {
        /// The bytes of files in the removed units.
        returned: u64,
    },
    /// The pages have been read.
    Warm,
    /// The file has become shorter than a unit's slice, which was completed by zeros. The units of its
    /// tag that had not been started have been removed.
    Short {
        /// The bytes of files in the removed units.
        returned: u64,
    },
    /// The file has been [written](crate::FileToSocket::verified) while it was sent. The units of its tag that
    /// had not been started have been removed; the task must not end the stream regularly.
    Changed {
        /// The bytes of files in the removed units.
        returned: u64,
    },
}
