//! The settings of a transfer: the via, the amounts per call and per step, the page cache and the disk.

use std::fmt;
use std::str::FromStr;

use crate::device::Device;
use crate::via::Via;

/// Configures a transfer. A [`Via`] converts to settings with all other values at their defaults.
///
/// ```
/// use karez_transfer::{CachePolicy, OnMiss, Settings, Via};
///
/// let settings = Settings::from(Via::Sendfile)
///     .max_per_step(256 << 10)
///     .cache(CachePolicy::Drop)
///     .on_miss(OnMiss::Report);
/// assert_eq!((settings.via, settings.chunk), (Via::Sendfile, None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The via; default `auto`.
    pub via: Via,
    /// The most bytes that one system call asks for; default `None`, which means a limit that suits the
    /// via.
    pub chunk: Option<u32>,
    /// The most bytes that one step moves before other connections run; default 1 MiB. Every step tries
    /// at least one chunk, even with a lower limit.
    pub max_per_step: u64,
    /// The capacity to request for a pipe, in bytes; default 1 MiB, the default limit of Linux for a user
    /// (`pipe-max-size`). If the kernel refuses it, the pipe keeps its default capacity.
    pub pipe_size: u32,
    /// What happens to the pages of the files; default [`CachePolicy::Keep`].
    pub cache: CachePolicy,
    /// What a step does if the bytes are not in memory; default [`OnMiss::Block`].
    pub on_miss: OnMiss,
    /// The device of the source file. With [`OnMiss::Report`] every read of a file on a
    /// [remote](Device::remote) file system is left to the caller's worker, whatever the via, because
    /// any call on such a file may block.
    pub device: Device,
}

impl Settings {
    /// Sets the via.
    #[must_use]
    pub fn via(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// Sets the most bytes that one system call asks for.
    #[must_use]
    pub fn chunk(self, chunk: impl Into<Option<u32>>) -> Self {
        Self { chunk: chunk.into(), ..self }
    }

    /// Sets the most bytes that one step moves.
    #[must_use]
    pub fn max_per_step(self, max_per_step: u64) -> Self {
        Self { max_per_step, ..self }
    }

    /// Sets the capacity to request for a pipe, in bytes.
    #[must_use]
    pub fn pipe_size(self, pipe_size: u32) -> Self {
        Self { pipe_size, ..self }
    }

    /// Sets what happens to the pages of the files.
    #[must_use]
    pub fn cache(self, cache: CachePolicy) -> Self {
        Self { cache, ..self }
    }

    /// Sets what a step does if the bytes are not in memory.
    #[must_use]
    pub fn on_miss(self, on_miss: OnMiss) -> Self {
        Self { on_miss, ..self }
    }

    /// Sets the device of the source file.
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            via: Via::Auto,
            chunk: None,
            max_per_step: 1 << 20,
            pipe_size: 1 << 20,
            cache: CachePolicy::Keep,
            on_miss: OnMiss::Block,
            device: Device::default(),
        }
    }
}

impl From<Via> for Settings {
    fn from(via: Via) -> Self {
        Self { via, ..Self::default() }
    }
}

/// What happens to the page cache of the files that a transfer reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CachePolicy {
    /// The kernel decides.
    #[default]
    Keep,
    /// The kernel reads further ahead: `POSIX_FADV_SEQUENTIAL` (posix_fadvise(2), Linux 2.5.60).
    Sequential,
    /// Pages are dropped after they have been moved: `POSIX_FADV_DONTNEED`, after dirty ones were
    /// written to disk (sync_file_range(2)). A page to which a socket still refers, or that another
    /// process has mapped, stays.
    Drop,
    /// Pages are never kept: `RWF_DONTCACHE` (preadv2(2), Linux 6.14), which only
    /// [`Via::Copy`] supports; [`Via::Auto`] chooses it then. If the kernel, the file system or
    /// the via does not support it, this is [`Drop`](Self::Drop).
    Uncached,
    /// The cache is bypassed: [`Via::Direct`] instead of `auto` and `copy`; with any other via,
    /// all of which move pages of the cache, this is [`Drop`](Self::Drop).
    Direct,
}

impl CachePolicy {
    /// Every policy.
    pub const ALL: &'static [Self] =
        &[Self::Keep, Self::Sequential, Self::Drop, Self::Uncached, Self::Direct];

    /// Returns the name used on command lines and in reports.
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

/// The error for a name that no cache policy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownCachePolicy;

impl fmt::Display for UnknownCachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CachePolicy::ALL.iter().map(|policy| policy.name()).collect();
        write!(f, "no cache policy has this name; the policies are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownCachePolicy {}

/// What a step does on a page-cache miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnMiss {
    /// It blocks inside the system call until the disk has answered.
    #[default]
    Block,
    /// It moves the bytes that are in memory, and if there are none, it returns
    /// [`Progress::NeedsWorker`](crate::Progress::NeedsWorker), so that the caller runs a
    /// [page-in](crate::PageIn). With [`Via::Direct`], which always reads from the disk, it returns
    /// that for each read. If the page cache cannot be queried (in a sandbox), nothing counts as
    /// resident, and if page-ins do not help, the step blocks after all.
    ///
    /// Only reads are affected: a write into a file may still block while the kernel throttles
    /// writers.
    Report,
}
