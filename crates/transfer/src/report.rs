//! What a transfer did: the via that ran, its system calls, its bytes, its fallbacks.

use rustix::io::Errno;

use crate::via::Via;

/// The account of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The via that was asked for.
    pub asked: Via,
    /// The via that moves the bytes now, or moved the last of them.
    pub ran: Via,
    /// Bytes handed to the kernel so far.
    pub bytes: u64,
    /// System calls so far, by name.
    pub calls: Calls,
    /// The refusal that led a rung down, if there was one.
    pub fallback: Option<Fallback>,
}

/// One step down the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The via that was refused.
    pub from: Via,
    /// With which error.
    pub errno: Errno,
    /// After how many bytes.
    pub after: u64,
}

/// System calls by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// `pread64(2)`
    pub pread: u64,
    /// `sendto(2)` without an address, which is `send(2)`
    pub send: u64,
    /// `sendfile(2)`
    pub sendfile: u64,
    /// `splice(2)`, into the pipe and out of it
    pub splice: u64,
    /// `mmap(2)`
    pub mmap: u64,
    /// `open(2)` with `O_DIRECT`
    pub open: u64,
    /// `statx(2)`, for the alignment
    pub statx: u64,
    /// `fstat(2)`, for the size
    pub fstat: u64,
}
