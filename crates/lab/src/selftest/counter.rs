//! The counters that a self-test checks.

/// What a figure of a report rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// System calls, switches and faults by process.
    Calls,
    /// Bytes copied from the page cache into memory of a process.
    FileToUser,
    /// Bytes into and out of pipes.
    Pipe,
    /// Bytes that leave in memory of the kernel's: copied.
    Kernel,
    /// Bytes that leave in pages of a file: not copied.
    PageCache,
    /// Bytes that leave in the packet's own memory.
    Linear,
    /// Bytes the receiver copied.
    Receiver,
    /// Bytes a disk moved.
    Disk,
    /// What the error queue says of `MSG_ZEROCOPY`.
    Notifications,
    /// The mutation probe.
    Mutation,
    /// What transfers say of their own system calls.
    Own,
}

impl Counter {
    /// Every counter.
    pub const ALL: &'static [Self] = &[
        Self::Calls,
        Self::FileToUser,
        Self::Pipe,
        Self::Kernel,
        Self::PageCache,
        Self::Linear,
        Self::Receiver,
        Self::Disk,
        Self::Notifications,
        Self::Mutation,
        Self::Own,
    ];

    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::FileToUser => "file-to-user",
            Self::Pipe => "pipe",
            Self::Kernel => "kernel",
            Self::PageCache => "page-cache",
            Self::Linear => "linear",
            Self::Receiver => "receiver",
            Self::Disk => "disk",
            Self::Notifications => "notifications",
            Self::Mutation => "mutation",
            Self::Own => "own",
        }
    }
}
