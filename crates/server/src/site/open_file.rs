//! An open regular file with the fields of a response head that describe it, determined once: media
//! type, content coding, `ETag` and `Last-Modified`, encoded in a [`Prepared`] block.
//!
//! `Last-Modified` is left out of a response while it is no strong validator (RFC 9110 §8.8.2.2).
//!
//! # Limitations
//!
//! The size is that at the time of opening. The transfer detects a file that shrinks later; one that
//! grows is served up to the old size. If a file system keeps no change time of its own (FAT, read-only
//! images such as squashfs), a content that replaces another with the same time, size and inode number
//! has the same tag.

use std::borrow::Cow;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use karez_http::condition::is_over;
use karez_http::{Coding, Dates, EntityTag, Prepared, PreparedPart, PreparedStart, Validators};
use karez_transfer::{CachePolicy, Device, Edit, Residency, Version};

use super::closer::Closer;
use super::content::{Content, VersionKey};
use super::identity::{FileEtag, Identity, is_credible};
use super::mime;
use super::racy_mtime::FileClock;
use crate::rules::field::{HiddenFields, RuleFields};

/// A file that can be sent.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: Arc<OwnedFd>,
    device: Device,
    /// Shared by its transfers.
    residency: Arc<Residency>,
    /// Of a remote file.
    closer: Option<Closer>,
    cache_policy: CachePolicy,
    identity: Identity,
    /// `None` if nothing can write it.
    version: Option<Version>,
    coding: Option<Coding>,
    edits: Option<Arc<[Edit]>>,
    etag: Option<EntityTag>,
    awaited_hash: Option<VersionKey>,
    date: Option<ModificationDate>,
    dates: Dates,
    /// See [`Validators`].
    changed: u64,
    racy: bool,
    absolute: Option<CString>,
    hidden: HiddenFields,
    prepared: Arc<Prepared>,
}

/// The path of a file, and options of its description.
pub(super) struct Description<'a> {
    /// It ends with the suffix of `coding`, if there is one.
    pub(super) path: &'a [u8],
    pub(super) coding: Option<Coding>,
    /// The type of the decoded content.
    pub(super) content_type: Cow<'a, str>,
    /// The fields that rules give it.
    pub(super) rule_fields: RuleFields,
    /// Edits of its content, and the suffix that they add to the entity tag.
    pub(super) substituted: Option<(Arc<[Edit]>, &'a str)>,
    pub(super) etag: FileEtag,
    /// The hash of its content.
    pub(super) content: Content,
    /// What happens to its pages when they have been sent.
    pub(super) cache_policy: CachePolicy,
    /// Its absolute path, unless that is too long.
    pub(super) absolute: Option<CString>,
    /// Dates before this second are no validators of it: another file had its path then.
    pub(super) since: u64,
}

impl OpenFile {
    pub(crate) fn size(&self) -> u64 {
        self.identity.size()
    }

    /// Returns the validators for conditional requests in this second.
    pub(crate) fn validators(&self, now: u64) -> Validators<'_> {
        Validators {
            etag: self.etag.as_ref(),
            modified: self.date.as_ref().map(|date| date.modified),
            changed: self.changed,
            dates: self.dates,
            now,
        }
    }

    pub(crate) fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// Returns the fields of response heads that describe the file.
    pub(crate) fn prepared(&self) -> &Arc<Prepared> {
        &self.prepared
    }

    /// Returns the fields of the server that rules have removed or replaced for this file.
    pub(crate) fn hidden(&self) -> HiddenFields {
        self.hidden
    }

    /// Returns the part of the prepared fields that a response in this second has. A date that another
    /// version may still get is left out: a client that keeps it would take one version for the other.
    pub(crate) fn part(&self, from: PreparedStart, now: u64) -> PreparedPart {
        let last_modified = self.date.as_ref().is_some_and(|date| date.is_sent(now));
        PreparedPart { from, last_modified }
    }

    /// Returns the edits that are made as it is sent.
    pub(crate) fn edits(&self) -> Option<&Arc<[Edit]>> {
        self.edits.as_ref()
    }

    /// Describes an opened file. `clock` was read before `meta` was.
    pub(super) fn new(
        fd: OwnedFd,
        meta: &Statx,
        description: Description<'_>,
        clock: &FileClock,
    ) -> Self {
        let Description {
            path,
            coding,
            content_type,
            rule_fields,
            substituted,
            etag: form,
            content,
            cache_policy,
            absolute,
            since,
        } = description;
        let identity = Identity::of(meta);
        let racy = clock.is_racy(meta);
        let suffix = coding.map(Coding::suffix);
        let (edits, tag) = substituted.unzip();
        let etag = match content {
            _ if racy => None,
            Content::Known(hash) => Some(EntityTag::content(&hash, tag.or(suffix))),
            _ => identity.etag(form, tag.or(suffix)),
        };
        let awaited_hash = match content {
            Content::Awaited(version) if !racy => Some(version),
            _ => None,
        };
        // The edits depend on the options of this run, which no date reflects.
        let date = if edits.is_none() { ModificationDate::of(&identity, clock) } else { None };
        let changed = match form {
            _ if racy => u64::MAX,
            FileEtag::Local | FileEtag::Content { .. } => identity.last_second(form).max(since),
            FileEtag::Shared => identity.last_second(form),
        };

        let prepared = Prepared::with_fields(
            &content_type,
            coding.or_else(|| mime::own_coding(path)),
            rule_fields.pairs(),
            etag.as_ref(),
            date.as_ref().map(|date| date.shown),
        );
        Self {
            fd: Arc::new(fd),
            device: Device::default(),
            residency: Arc::new(Residency::new(identity.size())),
            closer: None,
            cache_policy,
            identity,
            version: Some(Version::from(meta)),
            coding,
            edits,
            etag,
            awaited_hash,
            date,
            dates: match form {
                FileEtag::Local | FileEtag::Content { .. } => Dates::Exact,
                FileEtag::Shared => Dates::NotLater,
            },
            changed,
            racy,
            absolute,
            hidden: rule_fields.hidden,
            prepared: Arc::new(prepared),
        }
    }

    /// Sets the device; a remote file is closed on a thread of that device.
    pub(super) fn lies_on(&mut self, device: Device, closer: impl FnOnce() -> Closer) {
        self.device = device;
        self.closer = device.remote.then(closer);
    }

    /// Declares that nothing can write the file.
    pub(super) fn set_private(&mut self) {
        self.version = None;
    }

    /// Returns the version that the file must still have when its last byte is sent.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Returns what happens to its pages when they have been sent.
    pub(crate) fn cache_policy(&self) -> CachePolicy {
        self.cache_policy
    }

    /// Returns the memory of the parts that are in the page cache.
    pub(crate) fn residency(&self) -> &Arc<Residency> {
        &self.residency
    }

    /// Returns whether it was written a moment ago.
    pub(crate) fn is_recent(&self, now: u64) -> bool {
        self.date.as_ref().is_some_and(|date| date.is_recent(now))
    }

    /// Returns whether its time stamps could not distinguish it from its next version when it was opened.
    pub(super) fn is_racy(&self) -> bool {
        self.racy
    }

    /// Returns the version whose hash would be its tag, if that is not known yet.
    pub(super) fn awaited_hash(&self) -> Option<VersionKey> {
        self.awaited_hash
    }

    /// Returns the second of its last change, or of that of its path: see [`Validators`].
    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the path whose statx(2) validates root and name at once.
    pub(super) fn absolute(&self) -> Option<&CStr> {
        self.absolute.as_deref()
    }
}

/// For so many seconds a file that was written is likely to be written again.
const RECENT: u64 = 10;

/// The date of `Last-Modified`, in seconds since 1970.
#[derive(Debug)]
struct ModificationDate {
    modified: u64,
    /// Never later than the moment of opening (RFC 9110 §8.8.2.1).
    shown: u64,
}

impl ModificationDate {
    /// Returns `None` for 0 and 1, which reproducible builds and package stores set, and before.
    fn of(identity: &Identity, clock: &FileClock) -> Option<Self> {
        let modified = u64::try_from(identity.modified().seconds).ok()?;
        let date = Self { modified, shown: modified.min(clock.seconds()) };
        is_credible(identity.modified()).then_some(date)
    }

    /// Returns whether the date is sent in this second. A date in the future is sent as another date,
    /// which matches nothing.
    fn is_sent(&self, now: u64) -> bool {
        self.shown < self.modified || is_over(self.modified, now)
    }

    /// Returns whether it is less than [`RECENT`] seconds old, or in the future, which shows no age.
    fn is_recent(&self, now: u64) -> bool {
        now.saturating_sub(self.modified) < RECENT
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(closer) = &self.closer {
            // Without a thread it is closed here.
            let _closed_here = closer.send(Arc::clone(&self.fd));
        }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_recent_for_ten_seconds_and_in_the_future() {
        let date = ModificationDate { modified: 100, shown: 100 };
        let recent = [50, 100, 109, 110, 1_000_000].map(|now| date.is_recent(now));
        assert_eq!(recent, [true, true, true, false, false]);
    }
}
