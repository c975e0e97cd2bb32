//! The vias (transfer methods): their names, their fallback chains, and a page for each.
//!
//! The pages export no functions; a via is selected by its name in [`Settings`].
//!
//! ```text
//! reflink ── copy-range ─┐
//!              zerocopy ─┴─ sendfile ─┐
//!                              splice ─┤
//!                   mmap, cow, direct ─┴─ copy
//! ```
//!
//! If a via is unsupported, the transfer continues with the next one to its right ([`Via::fallback`])
//! from the same byte. It skips vias that the direction does not have, and those that are known to be
//! unsupported between these ends.
//!
//! [`Settings`]: crate::Settings

use std::fmt;
use std::str::FromStr;

pub mod auto;
pub mod copy;
pub mod copy_range;
pub mod cow;
pub mod direct;
pub mod mmap;
pub(crate) mod offloaded;
pub mod reflink;
pub mod sendfile;
pub mod splice;
pub(crate) mod splice_pipe;
pub mod zerocopy;

/// A via: how bytes are moved (transfer method). [`Direction::vias`](crate::Direction::vias) lists those
/// of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Via {
    /// Chooses a via by size, page-cache residency, ends and known unsupported vias. To a socket
    /// it may raise [SIGPIPE](auto#sigpipe). [More](auto).
    #[default]
    Auto,
    /// A read into a buffer in user space, then a write: two copies by the CPU. Works everywhere.
    /// [More](copy).
    Copy,
    /// `O_DIRECT`, which bypasses the page cache. Linux 2.4.10; file systems that support it.
    /// [More](direct).
    Direct,
    /// `mmap(2)` and a write from the mapping: one copy by the CPU, and page faults.
    /// [More](mmap).
    Mmap,
    /// `sendfile(2)`: the socket refers to the pages of the page cache. Linux 2.2; any file that
    /// can be spliced. To a socket it may raise [SIGPIPE](sendfile#sigpipe). [More](sendfile).
    Sendfile,
    /// `splice(2)` into a pipe and out of it: no copy, and two calls a chunk. Linux 2.6.17. To a
    /// socket it may raise [SIGPIPE](splice#sigpipe). [More](splice).
    Splice,
    /// `send(2)` with `MSG_ZEROCOPY` from a mapping: no copy if the device supports it, and
    /// completions to read. Linux 4.14; TCP. After a fallback it may raise
    /// [SIGPIPE](zerocopy#sigpipe). [More](zerocopy).
    Zerocopy,
    /// A private mapping in which parts are edited; only the edited pages are copied for it.
    /// [More](cow).
    Cow,
    /// `FICLONERANGE`: the files share their extents, nothing moves. Linux 4.5; btrfs, xfs …
    /// [More](reflink).
    Reflink,
    /// `copy_file_range(2)`: the file system copies or shares extents. Linux 4.5.
    /// [More](copy_range).
    CopyRange,
}

impl Via {
    /// Every via, whatever its direction.
    pub const ALL: &'static [Self] = &[
        Self::Auto,
        Self::Reflink,
        Self::CopyRange,
        Self::Sendfile,
        Self::Splice,
        Self::Zerocopy,
        Self::Mmap,
        Self::Cow,
        Self::Direct,
        Self::Copy,
    ];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Copy => "copy",
            Self::Direct => "direct",
            Self::Mmap => "mmap",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::Zerocopy => "zerocopy",
            Self::Cow => "cow",
            Self::Reflink => "reflink",
            Self::CopyRange => "copy-range",
        }
    }

    /// Returns the first kernel version with this via.
    #[must_use]
    pub const fn since(self) -> &'static str {
        match self {
            Self::Auto | Self::Copy => "since always",
            Self::Direct => "since Linux 2.4.10",
            Self::Mmap | Self::Cow => "since Linux 2.0",
            Self::Sendfile => "since Linux 2.2, to a file 2.6.33",
            Self::Splice => "since Linux 2.6.17",
            Self::Zerocopy => "since Linux 4.14",
            Self::Reflink | Self::CopyRange => "since Linux 4.5",
        }
    }

    /// Returns the next via of the fallback chain. Every chain ends at [`Copy`](Self::Copy), which can
    /// edit, too. The chain of `auto` is that of its choice.
    #[must_use]
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::Reflink => Some(Self::CopyRange),
            Self::CopyRange | Self::Zerocopy => Some(Self::Sendfile),
            Self::Sendfile | Self::Splice | Self::Mmap | Self::Cow | Self::Direct | Self::Auto => {
                Some(Self::Copy)
            }
            Self::Copy => None,
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Via {
    type Err = UnknownVia;

    fn from_str(name: &str) -> Result<Self, UnknownVia> {
        Self::ALL.iter().copied().find(|via| via.name() == name).ok_or(UnknownVia)
    }
}

/// The error for a name that no via has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownVia;

impl fmt::Display for UnknownVia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Via::ALL.iter().map(|via| via.name()).collect();
        write!(f, "no via has this name; the vias are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownVia {}
