//! The vias: their names, and one file for each.

use std::fmt;
use std::str::FromStr;

pub(crate) mod copy;
pub(crate) mod direct;
pub(crate) mod mmap;
pub(crate) mod sendfile;
pub(crate) mod splice;

/// A way to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// `pread` into a buffer in user space, then `send`: two copies by the CPU. Works everywhere.
    Copy,
    /// `sendfile(2)`: the socket refers to the pages of the page cache. Linux 2.2; any file that
    /// can be mapped or spliced.
    Sendfile,
    /// `splice(2)` into a pipe and out of it: no copy, and two calls a chunk. Linux 2.6.17.
    Splice,
    /// `O_DIRECT` reads past the page cache, then `send`. Linux 2.4.10; file systems that take it.
    Direct,
    /// `mmap(2)` and `send` from the mapping: one copy by the CPU, and page faults.
    Mmap,
}

impl Via {
    /// Every via, in the order in which help and tests show them.
    pub const ALL: &'static [Self] =
        &[Self::Sendfile, Self::Splice, Self::Mmap, Self::Direct, Self::Copy];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::Mmap => "mmap",
            Self::Direct => "direct",
        }
    }

    /// The next rung down the ladder, where the kernel refuses this one.
    #[must_use]
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::Sendfile | Self::Splice | Self::Mmap | Self::Direct => Some(Self::Copy),
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

/// No via has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVia;

impl fmt::Display for UnknownVia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Via::ALL.iter().map(|via| via.name()).collect();
        write!(f, "no via has this name; there are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownVia {}
