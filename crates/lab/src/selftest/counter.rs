//! The counters that a self-test checks.

/// A counter that reports rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// System calls, switches and faults by process.
    Calls,
    /// Bytes copied from the page cache into user memory.
    FileToUser,
    /// Bytes written to and read from pipes.
    Pipe,
    /// Bytes sent from kernel memory: copied.
    Kernel,
    /// Bytes sent in pages of a file: not copied.
    PageCache,
    /// Bytes sent from the linear part of a packet.
    Linear,
    /// Bytes copied by the receiver.
    Receiver,
    /// Bytes of disk I/O.
    Disk,
    /// Notifications of the error queue for `MSG_ZEROCOPY`.
    Notifications,
    /// The mutation probe.
    Mutation,
    /// The transfers' own counts of system calls.
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

    /// Returns the name used in reports.
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
