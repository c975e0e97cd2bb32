//! The index of an archive: the attributes of each entry and the offset of its head, in the order of the archive.

use std::sync::Arc;

use blake2::{Blake2b128, Digest as _};
use karez_http::EntityTag;
use karez_transfer::Device;
use rustix::fs::FileType;

use super::super::identity::{FileEtag, Identity};
use super::super::root::Root;
use super::error::ArchiveError;
use super::header::{self, END, Member, MemberKind, padded};
use super::memory::Memory;

/// An archive that can be sent.
pub(crate) struct Archive {
    entries: Vec<Entry>,
    /// Names and targets of links, end to end.
    names: Vec<u8>,
    /// Without the blocks at the end.
    size: u64,
    etag: Option<EntityTag>,
    /// The directory in front of all names.
    base: Vec<u8>,
    /// The name of the archived directory; empty for the root.
    name: Vec<u8>,
    /// Where the files are opened.
    pub(super) root: Arc<Root>,
    pub(super) device: Device,
    memory: Memory,
}

/// An entry of the index.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) identity: Identity,
    /// The offset of its head.
    pub(super) offset: u64,
    /// The index of its directory, or [`NONE`].
    parent: u32,
    /// Where its name begins.
    name: u32,
    name_length: u16,
    link_length: u16,
}

/// The parent of an entry without one.
pub(super) const NONE: u32 = u32::MAX;

impl Archive {
    /// Returns its length, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size + END
    }

    /// Returns its tag; `None` if the attributes of a file do not distinguish its versions.
    pub(crate) fn etag(&self) -> Option<&EntityTag> {
        self.etag.as_ref()
    }

    /// Returns the name of the directory; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the entry that has the byte at an offset, and the offset of the next; `None` behind the last.
    pub(super) fn at(&self, offset: u64) -> Option<(&Entry, u64)> {
        if offset >= self.size {
            return None;
        }
        let behind = self.entries.partition_point(|entry| entry.offset <= offset);
        let entry = self.entries.get(behind.checked_sub(1)?)?;
        let next = self.entries.get(behind).map_or(self.size, |next| next.offset);
        Some((entry, next))
    }

    /// Returns the head of an entry.
    pub(super) fn head(&self, entry: &Entry) -> Vec<u8> {
        let kind = entry.kind();
        let mut name = self.relative(entry);
        if kind == MemberKind::Directory {
            name.push(b'/');
        }
        header::encode(&Member {
            name: &name,
            link: self.link(entry),
            kind,
            mode: entry.identity.mode(),
            size: entry.content_length(),
            modified: entry.identity.modified().seconds,
        })
    }

    /// Returns the path of an entry from the root.
    pub(super) fn path(&self, entry: &Entry) -> Vec<u8> {
        [&self.base[..], &self.relative(entry)].concat()
    }

    /// Returns the path of an entry in the archive.
    fn relative(&self, entry: &Entry) -> Vec<u8> {
        let up = |entry: &&Entry| self.entries.get(entry.parent as usize);
        let mut line: Vec<_> = std::iter::successors(Some(entry), up).collect();
        line.reverse();
        let names: Vec<_> = line.into_iter().map(|entry| self.name_of(entry)).collect();
        names.join(&b'/')
    }

    fn name_of(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        &self.names[start..start + usize::from(entry.name_length)]
    }

    fn link(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize + usize::from(entry.name_length);
        &self.names[start..start + usize::from(entry.link_length)]
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    pub(super) fn kind(&self) -> MemberKind {
        match FileType::from_raw_mode(self.identity.mode().into()) {
            FileType::Directory => MemberKind::Directory,
            FileType::Symlink => MemberKind::Link,
            _ => MemberKind::File,
        }
    }

    /// Returns the length of its content, in bytes.
    pub(super) fn content_length(&self) -> u64 {
        if self.kind() == MemberKind::File { self.identity.size() } else { 0 }
    }
}

/// Makes an index, entry by entry in the order of the archive.
pub(super) struct IndexBuilder {
    archive: Archive,
    form: FileEtag,
    digest: Blake2b128,
    /// A file has no tag of its own.
    untagged: bool,
}

/// An entry that is added.
pub(super) struct NewEntry<'a> {
    pub(super) parent: u32,
    /// Its path in the archive, with its name at the end.
    pub(super) relative: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) identity: &'a Identity,
    /// See [`racy_mtime`](super::super::racy_mtime).
    pub(super) racy: bool,
}

impl IndexBuilder {
    /// `path`: of the directory from the root. `substituted`: distinguishes the substitutions in files.
    pub(super) fn new(
        (root, device): (Arc<Root>, Device),
        path: &[u8],
        (form, substituted): (FileEtag, &str),
        memory: Memory,
    ) -> Self {
        let start = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
        let archive = Archive {
            entries: Vec::new(),
            names: Vec::new(),
            size: 0,
            etag: None,
            base: path[..start].to_vec(),
            name: path[start..].to_vec(),
            root,
            device,
            memory,
        };
        let mut digest = Blake2b128::new();
        digest.update(VERSION);
        digest.update(substituted);
        Self { archive, form, digest, untagged: false }
    }

    /// Takes memory for an entry, before it is added.
    ///
    /// # Errors
    /// [`ArchiveError::Full`].
    pub(super) fn take_memory(&mut self, bytes: usize) -> Result<(), ArchiveError> {
        self.archive.memory.take(bytes)
    }

    /// Adds an entry. Returns its index.
    ///
    /// # Errors
    /// [`ArchiveError::Full`] if it does not fit into the numbers of the index.
    pub(super) fn push(&mut self, new: &NewEntry<'_>) -> Result<u32, ArchiveError> {
        let archive = &mut self.archive;
        let start = memchr::memrchr(b'/', new.relative).map_or(0, |slash| slash + 1);
        let name = &new.relative[start..];
        let full = |_| ArchiveError::Full;
        let number = u32::try_from(archive.entries.len()).map_err(full)?;
        let entry = Entry {
            identity: new.identity.clone(),
            offset: archive.size,
            parent: new.parent,
            name: u32::try_from(archive.names.len()).map_err(full)?,
            name_length: u16::try_from(name.len()).map_err(full)?,
            link_length: u16::try_from(new.link.len()).map_err(full)?,
        };
        let slash = usize::from(entry.kind() == MemberKind::Directory);
        let head = header::length(new.relative.len() + slash, new.link.len());
        let content = entry.content_length();
        let size = (content < MOST_BYTES).then(|| head + padded(content));
        let size = size.and_then(|length| archive.size.checked_add(length));
        archive.size = size.filter(|size| *size < MOST_BYTES).ok_or(ArchiveError::Full)?;
        archive.names.extend_from_slice(name);
        archive.names.extend_from_slice(new.link);
        archive.entries.push(entry);
        self.add_to_digest(new);
        Ok(number)
    }

    fn add_to_digest(&mut self, new: &NewEntry<'_>) {
        let (identity, digest) = (new.identity, &mut self.digest);
        for text in [new.relative, new.link] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(identity.mode().to_le_bytes());
        digest.update(identity.modified().seconds.to_le_bytes());
        if FileType::from_raw_mode(identity.mode().into()) == FileType::RegularFile {
            match identity.etag(self.form, None) {
                Some(tag) if !new.racy => digest.update(tag.as_bytes()),
                _ => self.untagged = true,
            }
        }
    }

    pub(super) fn finish(self) -> Archive {
        let Self { mut archive, digest, untagged, .. } = self;
        archive.entries.shrink_to_fit();
        archive.names.shrink_to_fit();
        archive.memory.shrink(archive.entries.len() * size_of::<Entry>() + archive.names.len());
        let digest = digest.finalize();
        let half = |from: usize| {
            digest[from..from + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        archive.etag = (!untagged).then(|| EntityTag::digest([half(0), half(8)], "tar"));
        archive
    }
}

/// Changes with the bytes that are made of the same attributes.
const VERSION: &[u8] = b"karez tar 1\0";
/// An offset fits into a signed number.
const MOST_BYTES: u64 = 1 << 62;
