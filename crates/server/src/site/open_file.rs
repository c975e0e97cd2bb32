//! An open regular file with everything a response head says of it, worked out once: media type,
//! content coding, `ETag`, `Last-Modified`, as header lines ready to be copied.
//!
//! The lines stand in one block, ordered so that each kind of answer takes one slice of it:
//! all of it (200, 206 with one range), without the type (multipart), validators alone (304); and
//! each of them without the date while that is not yet a strong validator (RFC 9110 §8.8.2.2).
//!
//! # Limitations
//! The size is that of the opening. A file that shrinks later is found out by the transfer, one
//! that grows is served up to the old size. Where a file system keeps no change time of its own (FAT,
//! read-only images such as squashfs), a content that takes the place of another under the same
//! time, size and inode number shares its tag.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Statx, StatxTimestamp};
use std::ffi::{CStr, CString};
use std::sync::Arc;

use karez_http::condition::is_over;
use karez_http::date;
use karez_http::encoding::Coding;
use karez_http::{Dates, EntityTag, Timestamp, Validators};
use karez_transfer::{Device, Edit};

use super::clock::Clock;
use super::closing::Closer;
use super::media;

/// How files are told from their other versions, in `ETag` and by dates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileEtag {
    /// By modification time, size, change time and inode: no two contents on this host share a tag,
    /// even where modification times are set. A date counts if the inode has not changed since.
    #[default]
    Local,
    /// By modification time and size alone, on which replicas of a tree agree; so do two contents
    /// that are given the same time and have the same size.
    Shared,
}

/// A file that can be sent.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: Arc<OwnedFd>,
    device: Device,
    /// Of a remote file.
    closer: Option<Closer>,
    identity: Identity,
    coding: Option<Coding>,
    edits: Option<Arc<[Edit]>>,
    etag: Option<EntityTag>,
    date: Option<ModificationDate>,
    dates: Dates,
    /// See [`Validators`].
    changed: u64,
    racy: bool,
    absolute: Option<CString>,
    lines: Box<[u8]>,
    type_end: usize,
    coding_end: usize,
    date_start: usize,
}

/// Where a file was found, and how it is to be described.
pub(super) struct Description<'a> {
    /// It ends with the suffix of `coding`, if there is one.
    pub(super) path: &'a [u8],
    pub(super) coding: Option<Coding>,
    /// What is replaced in it, and the tag that makes another entity of it.
    pub(super) stamped: Option<(Arc<[Edit]>, &'a str)>,
    pub(super) etag: FileEtag,
    /// Its absolute path, unless that is too long.
    pub(super) absolute: Option<CString>,
    /// No date before this second tells anything of it.
    pub(super) since: u64,
}

impl OpenFile {
    pub(crate) fn size(&self) -> u64 {
        self.identity.size
    }

    /// What conditions are compared with in this second.
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

    /// `Content-Type`, `Content-Encoding` if there is one, `ETag` and `Last-Modified` if they can be
    /// told in this second: each a line with its CRLF.
    pub(crate) fn lines(&self, now: u64) -> &[u8] {
        &self.lines[..self.end(now)]
    }

    /// The same without `Content-Type`: the head of a multipart answer has its own.
    pub(crate) fn lines_without_type(&self, now: u64) -> &[u8] {
        &self.lines[self.type_end..self.end(now)]
    }

    /// `ETag` and `Last-Modified` alone.
    pub(crate) fn validator_lines(&self, now: u64) -> &[u8] {
        &self.lines[self.coding_end..self.end(now)]
    }

    /// The media type, for the parts of a multipart body.
    pub(crate) fn content_type(&self) -> &str {
        let line = std::str::from_utf8(&self.lines[..self.type_end]).unwrap_or_default();
        line.trim_end()
            .strip_prefix(CONTENT_TYPE)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or_default()
    }

    /// What is replaced in it as it leaves.
    pub(crate) fn edits(&self) -> Option<&Arc<[Edit]>> {
        self.edits.as_ref()
    }

    /// `clock` was read before `meta` was.
    pub(super) fn new(
        fd: OwnedFd,
        meta: &Statx,
        description: Description<'_>,
        clock: &Clock,
    ) -> Self {
        let Description { path, coding, stamped, etag: form, absolute, since } = description;
        let identity = Identity::of(meta);
        let racy = clock.finds_racy(meta);
        let suffix = coding.map(Coding::suffix);
        let (edits, tag) = stamped.unzip();
        let etag = if racy { None } else { identity.etag(form, tag.or(suffix)) };
        // What is replaced depends on this run of the server, which no date tells.
        let date = if edits.is_none() { ModificationDate::of(&identity, clock) } else { None };
        let changed = match form {
            _ if racy => u64::MAX,
            FileEtag::Local => identity.last_second(form).max(since),
            FileEtag::Shared => identity.last_second(form),
        };

        // The type is that of what comes out of the coding: of `a.css` for `a.css.br`.
        let name = suffix.and_then(|s| path.strip_suffix(s.as_bytes())).unwrap_or(path);
        let mut lines = Vec::with_capacity(224);
        line(&mut lines, CONTENT_TYPE, media::content_type(name).as_bytes());
        let type_end = lines.len();
        if let Some(coding) = coding.or_else(|| media::own_coding(name)) {
            line(&mut lines, "Content-Encoding", coding.token().as_bytes());
        }
        let coding_end = lines.len();
        if let Some(etag) = &etag {
            line(&mut lines, "ETag", etag.as_bytes());
        }
        let date_start = lines.len();
        if let Some(date) = &date {
            line(&mut lines, "Last-Modified", &date::format(date.shown));
        }
        Self {
            fd: Arc::new(fd),
            device: Device::default(),
            closer: None,
            identity,
            coding,
            edits,
            etag,
            date,
            dates: match form {
                FileEtag::Local => Dates::Exact,
                FileEtag::Shared => Dates::NotLater,
            },
            changed,
            racy,
            absolute,
            lines: lines.into_boxed_slice(),
            type_end,
            coding_end,
            date_start,
        }
    }

    /// Says where it lies; a remote file is closed on a thread of its own.
    pub(super) fn lies_on(&mut self, device: Device, closer: impl FnOnce() -> Closer) {
        self.device = device;
        self.closer = device.remote.then(closer);
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Whether its stamps could not yet tell it from its next version when it was opened.
    pub(super) fn is_racy(&self) -> bool {
        self.racy
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The path by which root and name are confirmed at once.
    pub(super) fn absolute(&self) -> Option<&CStr> {
        self.absolute.as_deref()
    }

    /// Where the lines end. A date that another version may still get is left out, as a client that
    /// keeps it would take one version for the other.
    fn end(&self, now: u64) -> usize {
        let told = self.date.as_ref().is_some_and(|date| date.is_told(now));
        if told { self.lines.len() } else { self.date_start }
    }
}

/// The date of `Last-Modified`, in seconds since 1970.
#[derive(Debug)]
struct ModificationDate {
    modified: u64,
    /// Never later than the moment of opening (RFC 9110 §8.8.2.1).
    shown: u64,
}

impl ModificationDate {
    /// None for 0 and 1, which reproducible builds and package stores set, and before.
    fn of(identity: &Identity, clock: &Clock) -> Option<Self> {
        let modified = u64::try_from(identity.modified.seconds).ok()?;
        let date = Self { modified, shown: modified.min(clock.seconds()) };
        is_credible(identity.modified).then_some(date)
    }

    /// One in the future is told as another, which matches nothing.
    fn is_told(&self, now: u64) -> bool {
        self.shown < self.modified || is_over(self.modified, now)
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

/// What must be unchanged for a name to mean the same file with the same content.
#[derive(Debug, PartialEq, Eq)]
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

    /// Whether this was modified before `other` was.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.modified < other.modified
    }

    /// The entity tag, unless it would stand on nothing but the size.
    fn etag(&self, form: FileEtag, suffix: Option<&str>) -> Option<EntityTag> {
        let Self { size, modified, changed, .. } = *self;
        let tag = match form {
            FileEtag::Local if !is_credible(modified) && !is_credible(changed) => return None,
            FileEtag::Shared if !is_credible(modified) => return None,
            FileEtag::Local => EntityTag::local(size, modified, changed, self.mixed(), suffix),
            FileEtag::Shared => EntityTag::shared(size, modified, suffix),
        };
        Some(tag)
    }

    /// The second of the last change that the form heeds.
    fn last_second(&self, form: FileEtag) -> u64 {
        let heeded = match form {
            FileEtag::Local => self.modified.max(self.changed),
            FileEtag::Shared => self.modified,
        };
        u64::try_from(heeded.seconds).unwrap_or(0)
    }

    /// A number for device and inode that shows neither: the same in every run, and one-to-one
    /// for the inodes of a device, as each step can be undone.
    fn mixed(&self) -> u64 {
        let (major, minor) = self.device;
        mix(mix(u64::from(major) << 32 | u64::from(minor)) ^ self.inode)
    }
}

/// The finalizer of SplitMix64: every bit of the number moves half of the result's.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Whether a time tells anything: 0 and 1 are set where times are not to matter.
fn is_credible(time: Timestamp) -> bool {
    !matches!(time.seconds, 0 | 1)
}

fn timestamp(stamp: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

const CONTENT_TYPE: &str = "Content-Type";
