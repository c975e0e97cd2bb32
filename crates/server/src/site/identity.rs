//! The attributes of a file that identify its version, and the entity tags by them.

use rustix::fs::{Statx, StatxTimestamp};

use karez_http::{EntityTag, Timestamp};

use super::content::VersionKey;

/// How versions of a file are distinguished, in `ETag` and by dates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileEtag {
    /// By modification time, size, change time and inode: no two contents on this host share a tag,
    /// even where modification times are set. A date counts if the inode has not changed since.
    #[default]
    Local,
    /// By modification time and size alone, on which replicas of a tree agree; so do two contents
    /// that are given the same time and have the same size.
    Shared,
    /// By a hash of the content ([`ContentTags`](super::ContentTags)): replicas agree, and equal tags are equal
    /// bytes. A file of more bytes has no tag, nor has any until its hash is known. Dates are as those of `Local`.
    Content {
        /// In bytes.
        max_size: u64,
    },
}

/// The attributes that identify a version of a file.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct Identity {
    device: (u32, u32),
    inode: u64,
    mode: u16,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl Identity {
    pub(super) fn of(meta: &Statx) -> Self {
        Self {
            device: (meta.stx_dev_major, meta.stx_dev_minor),
            inode: meta.stx_ino,
            mode: meta.stx_mode,
            size: meta.stx_size,
            modified: timestamp(&meta.stx_mtime),
            changed: timestamp(&meta.stx_ctime),
        }
    }

    /// Returns type and permissions.
    pub(super) fn mode(&self) -> u16 {
        self.mode
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn modified(&self) -> Timestamp {
        self.modified
    }

    /// Returns whether both are of the same inode.
    pub(super) fn is_same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Returns whether both are on the same device.
    pub(super) fn is_same_device(&self, other: &Self) -> bool {
        self.device == other.device
    }

    /// Returns whether this was modified before `other` was.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.modified < other.modified
    }

    /// Returns the key by which the hash of the content is kept.
    pub(super) fn version(&self) -> VersionKey {
        let (major, minor) = self.device;
        let times = [self.modified, self.changed];
        let times = times.map(|time| [time.seconds.cast_unsigned(), time.nanoseconds.into()]);
        let numbers = [u64::from(major) << 32 | u64::from(minor), self.inode, self.size];
        VersionKey::of(numbers.into_iter().chain(times.into_iter().flatten()))
    }

    /// Returns the entity tag by its attributes, unless only the size would distinguish versions.
    pub(super) fn etag(&self, form: FileEtag, suffix: Option<&str>) -> Option<EntityTag> {
        let Self { size, modified, changed, .. } = *self;
        let tag = match form {
            FileEtag::Local if !is_credible(modified) && !is_credible(changed) => return None,
            FileEtag::Shared if !is_credible(modified) => return None,
            FileEtag::Local => EntityTag::local(size, modified, changed, self.mixed(), suffix),
            FileEtag::Shared => EntityTag::shared(size, modified, suffix),
            FileEtag::Content { .. } => return None,
        };
        Some(tag)
    }

    /// Returns the second of the last change that this form of tag reflects.
    pub(super) fn last_second(&self, form: FileEtag) -> u64 {
        let time = match form {
            FileEtag::Local | FileEtag::Content { .. } => self.modified.max(self.changed),
            FileEtag::Shared => self.modified,
        };
        u64::try_from(time.seconds).unwrap_or(0)
    }

    /// Returns a number for device and inode that reveals neither. It is the same in every run, and
    /// one-to-one for the inodes of a device, since each step is invertible.
    fn mixed(&self) -> u64 {
        let (major, minor) = self.device;
        mix(mix(u64::from(major) << 32 | u64::from(minor)) ^ self.inode)
    }
}

/// The finalizer of SplitMix64: every input bit affects half of the output bits.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Returns whether a time is real: tools that erase times set 0 or 1.
pub(super) fn is_credible(time: Timestamp) -> bool {
    !matches!(time.seconds, 0 | 1)
}

fn timestamp(stamp: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec }
}
