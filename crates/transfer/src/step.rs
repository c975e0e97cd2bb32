//! The contract of a step: what one bounded piece of work can come to.

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes left; there may be more to go.
    Moved(u64),
    /// The receiving side takes nothing now: step again when it is writable.
    ///
    /// On a blocking socket it means that `SO_SNDTIMEO` ran out (socket(7)).
    NeedsWritable,
    /// All bytes have been handed to the kernel.
    Done,
    /// The file ended before the range did. What went out cannot be completed.
    Truncated {
        /// How many of the promised bytes do not exist.
        missing: u64,
    },
}
