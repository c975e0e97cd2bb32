//! What a transfer may be told besides its ends: the via, how much at a time, and how it is to
//! treat the page cache and the disk.

use std::fmt;
use std::str::FromStr;

use crate::device::Device;
use crate::via::Via;

/// How a transfer is to go about it. A [`Via`] alone is one, too: `Via::Sendfile.into()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The way to move the bytes. `auto` unless told.
    pub via: Via,
    /// The most bytes that one system call is asked to move; `None` for what suits the via.
    pub chunk: Option<u32>,
    /// The most bytes that one step moves before it lets others have their turn: 1 MiB unless
    /// told. At least one chunk is tried, however small the share.
    pub share: u64,
    /// The size asked for a pipe, in bytes: 1 MiB unless told, which is what `pipe-max-size`
    /// allows a user as Linux comes. Where it is refused, the pipe is as large as it is.
    pub pipe: u32,
    /// What becomes of the pages of the files.
    pub cache: CachePolicy,
    /// What a step does where it would wait for a disk.
    pub cold: Cold,
    /// Where the source file lies. With [`Cold::Tell`] every read of a file on a
    /// [remote](Device::remote) file system is left to the caller's worker, whatever the via, because
    /// no call on such a file is sure to return.
    pub device: Device,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            via: Via::Auto,
            chunk: None,
            share: 1 << 20,
            pipe: 1 << 20,
            cache: CachePolicy::Keep,
            cold: Cold::Wait,
            device: Device::default(),
        }
    }
}

impl From<Via> for Settings {
    fn from(via: Via) -> Self {
        Self { via, ..Self::default() }
    }
}

/// What becomes of the page cache of the files that a transfer reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CachePolicy {
    /// As the kernel thinks fit.
    #[default]
    Keep,
    /// It reads further ahead: `POSIX_FADV_SEQUENTIAL` (posix_fadvise(2), Linux 2.5.60).
    Sequential,
    /// Pages go when they have been moved: `POSIX_FADV_DONTNEED`, after dirty ones were written
    /// out (sync_file_range(2)). A page that a socket still refers to, or that another process has
    /// mapped, stays.
    Drop,
    /// Pages are never kept: `RWF_DONTCACHE` (preadv2(2), Linux 6.14), which only
    /// [`Via::Copy`] can say; [`Via::Auto`] chooses it then. Where the kernel, the file system or
    /// the via has no such thing, it is [`Drop`](Self::Drop).
    Uncached,
    /// The cache is passed by: [`Via::Direct`] instead of `auto` and `copy`; with any other via,
    /// all of which move pages of the cache, it is [`Drop`](Self::Drop).
    Direct,
}

impl CachePolicy {
    /// Every policy.
    pub const ALL: &'static [Self] =
        &[Self::Keep, Self::Sequential, Self::Drop, Self::Uncached, Self::Direct];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Sequential => "sequential",
            Self::Drop => "drop",
            Self::Uncached => "uncached",
            Self::Direct => "direct",
        }
    }
}

impl fmt::Display for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CachePolicy {
    type Err = UnknownCachePolicy;

    fn from_str(name: &str) -> Result<Self, UnknownCachePolicy> {
        Self::ALL.iter().copied().find(|policy| policy.name() == name).ok_or(UnknownCachePolicy)
    }
}

/// No cache policy has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCachePolicy;

impl fmt::Display for UnknownCachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CachePolicy::ALL.iter().map(|policy| policy.name()).collect();
        write!(f, "no cache policy has this name; there are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownCachePolicy {}

/// What a step does where the bytes it is to move are not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cold {
    /// It waits for the disk inside the system call.
    #[default]
    Wait,
    /// It moves what is in memory, by [`Via::Direct`] what somebody has read for it, and where that
    /// is nothing it answers
    /// [`Progress::NeedsWorker`](crate::Progress::NeedsWorker) and leaves the rest to the caller.
    /// By [`Via::Direct`], which reads from the disk always, it answers that for each read. Where
    /// nobody can tell what is in memory (a sandbox), nothing is taken to be, and where warming
    /// does not help it waits after all.
    ///
    /// It is about what is read: a write into a file may wait all the same, where the kernel holds
    /// writers back.
    Tell,
}
