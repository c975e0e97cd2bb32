//! An open regular file with everything a response head says of it, worked out once: media type,
//! content coding, `Last-Modified`, `ETag`, as header lines ready to be copied.
//!
//! The lines stand in one block, ordered so that each kind of answer takes one slice of it:
//! all of it (200, 206 with one range), without the type (multipart), validators alone (304).
//!
//! What it does badly: the size is that of the opening. A file that shrinks later is found out
//! by the transfer, one that grows is served up to the old size.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Statx, StatxTimestamp, makedev};
use std::sync::Arc;

use karez_http::date;
use karez_http::encoding::Coding;
use karez_http::etag::EntityTag;
use karez_transfer::{Device, Edit};

use super::clock::Clock;
use super::media;

/// A file that can be sent.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: OwnedFd,
    identity: Identity,
    coding: Option<Coding>,
    edits: Option<Arc<[Edit]>>,
    etag: EntityTag,
    last_modified: u64,
    young: bool,
    lines: Box<[u8]>,
    type_end: usize,
    coding_end: usize,
}

impl OpenFile {
    pub(crate) fn size(&self) -> u64 {
        self.identity.size
    }

    pub(crate) fn etag(&self) -> &EntityTag {
        &self.etag
    }

    /// Seconds since 1970, never later than the moment of opening (RFC 9110 §8.8.2.1).
    pub(crate) fn last_modified(&self) -> u64 {
        self.last_modified
    }

    pub(crate) fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// `Content-Type`, `Content-Encoding` if there is one, `Last-Modified`, `ETag`: each a line
    /// with its CRLF.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The same without `Content-Type`: the head of a multipart answer has its own.
    pub(crate) fn lines_without_type(&self) -> &[u8] {
        &self.lines[self.type_end..]
    }

    /// `Last-Modified` and `ETag` alone.
    pub(crate) fn validator_lines(&self) -> &[u8] {
        &self.lines[self.coding_end..]
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

    /// `path` ends with the suffix of `coding`, if there is one. If it is `stamped`, the tag of the
    /// stamps makes another entity of it.
    pub(super) fn new(
        fd: OwnedFd,
        meta: &Statx,
        path: &[u8],
        coding: Option<Coding>,
        stamped: Option<(Arc<[Edit]>, &str)>,
        clock: &Clock,
    ) -> Self {
        let identity = Identity::of(meta);
        let young = clock.finds_young(meta);
        let suffix = coding.map(Coding::suffix);
        let Stamp { seconds, nanoseconds } = identity.modified;
        let (edits, tag) = stamped.unzip();
        let etag = EntityTag::new(identity.size, seconds, nanoseconds, young, tag.or(suffix));
        let last_modified = u64::try_from(seconds).unwrap_or(0).min(clock.seconds());

        // The type is that of what comes out of the coding: of `a.css` for `a.css.br`.
        let name = suffix.and_then(|s| path.strip_suffix(s.as_bytes())).unwrap_or(path);
        let mut lines = Vec::with_capacity(192);
        line(&mut lines, CONTENT_TYPE, media::content_type(name).as_bytes());
        let type_end = lines.len();
        if let Some(coding) = coding.or_else(|| media::own_coding(name)) {
            line(&mut lines, "Content-Encoding", coding.token().as_bytes());
        }
        let coding_end = lines.len();
        line(&mut lines, "Last-Modified", &date::format(last_modified));
        line(&mut lines, "ETag", etag.as_str().as_bytes());
        let lines = lines.into_boxed_slice();
        Self {
            fd,
            identity,
            coding,
            edits,
            etag,
            last_modified,
            young,
            lines,
            type_end,
            coding_end,
        }
    }

    /// Where it lies.
    pub(crate) fn device(&self) -> Device {
        let (major, minor) = self.identity.device;
        Device { number: makedev(major, minor) }
    }

    /// Whether its stamps could not yet tell it from its next version when it was opened.
    pub(super) fn is_young(&self) -> bool {
        self.young
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
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
    modified: Stamp,
    changed: Stamp,
}

impl Identity {
    pub(super) fn of(meta: &Statx) -> Self {
        Self {
            device: (meta.stx_dev_major, meta.stx_dev_minor),
            inode: meta.stx_ino,
            mode: meta.stx_mode,
            size: meta.stx_size,
            modified: Stamp::of(&meta.stx_mtime),
            changed: Stamp::of(&meta.stx_ctime),
        }
    }

    /// Whether this was modified before `other` was.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.modified < other.modified
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    fn of(stamp: &StatxTimestamp) -> Self {
        Self { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec }
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

const CONTENT_TYPE: &str = "Content-Type";
