//! The listing of a directory, in steps of a bounded amount of work: getdents64(2) fills one small buffer,
//! its names are sorted as a run, and a heap merges the runs while rows are rendered (an external merge
//! sort in memory). No step sorts, holds or writes the whole page, so an event loop can run the steps one
//! by one. The memory of all listings is bounded; one that gets none ends before its page begins.
//!
//! Only entries that a request could get are listed: files and directories, and links to them that stay
//! beneath the root; no dot files unless they are served, and no entries that vanish meanwhile. An error
//! after which it is unknown whether an entry exists (EIO, EUCLEAN, ENOMEM …) ends the page before its
//! end, so that a mirror does not delete files by an incomplete list.
//!
//! # Limitations
//!
//! The first row waits for the last name, and an entry takes three bytes and its name until all are sent, or twenty
//! more if the order depends on attributes. Each entry costs one statx(2), a link three system calls. A directory that changes while it is read may
//! show an entry twice or not at all, as with readdir(3). A link to a file beneath a remote mount is
//! followed, and hangs as long as that file system does.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

use karez_transfer::Device;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, RawDir, Statx};
use rustix::io::Errno;

use super::lookup_error::{failure, is_unavailable};
use super::paths::{has_hidden_segment, join};
use super::root::{LookupMode, OpenMode, Root, file_type, stat_at, stat_fd, stat_known_at};
use super::syscall_counts::{self, Syscall};

mod html;
mod json;
mod memory;
mod merge;
mod note;
mod run;
#[cfg(test)]
mod tests;
mod text;
mod view;

pub(crate) use memory::{DEFAULT_LIMIT, ListingMemory, MemoryRefusal};
pub(crate) use note::ListingNotes;
pub(crate) use view::{ListingFormat, ListingView, Sort};

use merge::Merge;
use run::{Batch, DirEntry, EntryKind, EntryMetadata};

/// The progress of a listing.
pub(crate) struct Listing {
    root: Arc<Root>,
    /// The device of the directory.
    pub(super) device: Device,
    /// The entries on which a remote file system is mounted, if the directory is local.
    pub(super) remote: Vec<Vec<u8>>,
    dir: OwnedFd,
    /// The path of the directory from the root.
    path: Vec<u8>,
    hidden: bool,
    /// Whether the page has a link to the archive.
    pub(super) archives: bool,
    view: ListingView,
    notes: Arc<ListingNotes>,
    entries: Merge,
    phase: ListingPhase,
    rows: u64,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListingStep {
    /// Nothing to send yet: step again, after a turn of the event loop.
    Working,
    /// All names are read, so the response can begin: step again for its page.
    Ready,
    /// It gets no memory for more names. This is the last step.
    Refused(MemoryRefusal),
    /// The next piece of the page, never empty.
    Chunk(Vec<u8>),
    /// The page is complete.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListingPhase {
    Gather,
    Head,
    Rows,
    Done,
}

impl Listing {
    /// Starts a listing. `dir` is open for reading, and nothing of it has been read.
    pub(super) fn new(
        root: Arc<Root>,
        dir: OwnedFd,
        path: Vec<u8>,
        hidden: bool,
        view: ListingView,
        notes: Arc<ListingNotes>,
        memory: &ListingMemory,
    ) -> Self {
        let (entries, phase) = (Merge::new(view.order, memory.begin()), ListingPhase::Gather);
        let (device, remote) = (Device::default(), Vec::new());
        let archives = false;
        #[rustfmt::skip]
        let listing =
            Self { root, device, remote, dir, path, hidden, archives, view, notes, entries, phase, rows: 0 };
        listing
    }

    /// Returns the device that its steps wait for.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Returns the media type of the page.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.view.format {
            ListingFormat::Html => "text/html; charset=utf-8",
            ListingFormat::Json => "application/json",
            ListingFormat::Text => "text/plain; charset=utf-8",
        }
    }

    /// Does a bounded amount of work. After an error the page cannot be completed.
    pub(crate) fn step(&mut self) -> io::Result<ListingStep> {
        match self.phase {
            ListingPhase::Gather => self.gather(),
            ListingPhase::Head | ListingPhase::Rows => self.render(),
            ListingPhase::Done => Ok(ListingStep::Done),
        }
    }

    /// Reads one buffer of names.
    fn gather(&mut self) -> io::Result<ListingStep> {
        let (mut batch, more) = self.read_batch()?;
        if let Err(refusal) = self.entries.push(&mut batch) {
            self.end();
            return Ok(ListingStep::Refused(refusal));
        }
        if more {
            return Ok(ListingStep::Working);
        }
        self.phase = ListingPhase::Head;
        Ok(ListingStep::Ready)
    }

    /// Reads one buffer of names. Returns whether there may be more, too.
    fn read_batch(&self) -> io::Result<(Batch, bool)> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER];
        let mut names = RawDir::new(self.dir.as_fd(), &mut buffer);
        let mut batch = Batch::default();
        syscall_counts::count(Syscall::Getdents64);
        let more = loop {
            match names.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if let Some(found) = self.admit(name, entry.file_type())? {
                        batch.push(found);
                    }
                }
                Some(Err(Errno::INTR)) => break true,
                // The directory has been removed: it has no names left.
                None | Some(Err(Errno::NOENT)) => break false,
                Some(Err(errno)) => return Err(failure("getdents64", &self.path, errno)),
            }
            if names.is_buffer_empty() {
                break true;
            }
        };
        Ok((batch, more))
    }

    /// Frees the memory of the entries.
    fn end(&mut self) {
        self.phase = ListingPhase::Done;
        self.entries.clear();
    }

    /// Returns the entry for a run, if it is to be listed.
    fn admit<'a>(&self, name: &'a [u8], claimed: FileType) -> io::Result<Option<DirEntry<'a>>> {
        if matches!(name, b"." | b"..") || !self.is_served(name) || !self.view.admits(name) {
            return Ok(None);
        }
        let kind = match claimed {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            // Some file systems do not return the type; a link has that of its target.
            FileType::Unknown | FileType::Symlink => return self.inspect(name, true),
            _ => return Ok(None),
        };
        if self.view.order.sort == Sort::Name {
            return Ok(Some(DirEntry { name, kind, metadata: None }));
        }
        self.inspect(name, false)
    }

    /// Returns the entry as it is now; with `follow`, a link counts as its target.
    fn inspect<'a>(&self, name: &'a [u8], follow: bool) -> io::Result<Option<DirEntry<'a>>> {
        let meta = match self.stat(name) {
            Ok(meta) if follow && file_type(&meta) == FileType::Symlink => self.follow(name),
            result => result,
        };
        match meta {
            Ok(meta) => Ok(describe(name, &meta)),
            Err(errno) if is_unavailable(errno) => Ok(None),
            // Whether the entry exists is unknown, and a page without it would say that it does not.
            Err(errno) => Err(failure("list", &join(&self.path, name), errno)),
        }
    }

    /// Returns whether a request for this entry is answered at all.
    fn is_served(&self, name: &[u8]) -> bool {
        self.hidden || !name.starts_with(b".") || !has_hidden_segment(&join(&self.path, name))
    }

    /// Returns the attributes of an entry. For a remote mount, those that the kernel remembers are enough:
    /// it may hang, and the listing of the directory above must not.
    fn stat(&self, name: &[u8]) -> Result<Statx, Errno> {
        if self.remote.iter().any(|mount| mount == name) {
            return stat_known_at(self.dir.as_fd(), name);
        }
        stat_at(self.dir.as_fd(), name)
    }

    /// Returns the attributes of a link's target. The link is followed from the root and not from the
    /// directory: `../x` may stay beneath the root.
    fn follow(&self, name: &[u8]) -> Result<Statx, Errno> {
        let path = join(&self.path, name);
        // If it leads to such a mount itself, the attributes that the kernel remembers are enough.
        if !self.remote.is_empty()
            && let Ok(fd) = self.root.open(&path, OpenMode::Path, LookupMode::CachedOnly)
        {
            return stat_known_at(fd.as_fd(), b"");
        }
        self.root.look(&path).and_then(|fd| stat_fd(fd.as_fd()))
    }

    /// Returns the first of these files that the directory has, as HTML.
    fn note(&self, names: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        note::read(&self.root, &self.path, names)
    }

    fn render(&mut self) -> io::Result<ListingStep> {
        let mut out = Vec::with_capacity(PIECE);
        if self.phase == ListingPhase::Head {
            self.phase = ListingPhase::Rows;
            match self.view.format {
                ListingFormat::Html => {
                    let above = self.note(&self.notes.header)?;
                    html::head(&mut out, &self.path, &self.view, &above, self.archives);
                }
                ListingFormat::Json => json::head(&mut out),
                ListingFormat::Text => {}
            }
        }
        for _ in 0..ROWS {
            if out.len() >= PIECE {
                break;
            }
            if !self.row(&mut out)? {
                self.end();
                match self.view.format {
                    ListingFormat::Html => {
                        html::foot(&mut out, &self.note(&self.notes.footer)?);
                    }
                    ListingFormat::Json => json::foot(&mut out),
                    ListingFormat::Text => {}
                }
                break;
            }
        }
        Ok(if out.is_empty() { ListingStep::Working } else { ListingStep::Chunk(out) })
    }

    /// Takes the entry that comes first, and renders it. Returns whether there was one.
    fn row(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(entry) = self.entries.first() else {
            return Ok(false);
        };
        let entry = match entry.metadata {
            Some(_) => Some(entry),
            None => self.inspect(entry.name, false)?,
        };
        if let Some(DirEntry { name, kind, metadata: Some(metadata) }) = entry {
            match self.view.format {
                ListingFormat::Html => html::row(out, name, kind, metadata),
                ListingFormat::Json => json::row(out, name, kind, metadata, self.rows == 0)?,
                ListingFormat::Text => text::row(out, name, kind, metadata),
            }
            self.rows += 1;
        }
        self.entries.advance();
        Ok(true)
    }
}

fn describe<'a>(name: &'a [u8], meta: &Statx) -> Option<DirEntry<'a>> {
    let (kind, size) = match file_type(meta) {
        FileType::RegularFile => (EntryKind::File, meta.stx_size),
        FileType::Directory => (EntryKind::Directory, 0),
        _ => return None,
    };
    let modified = &meta.stx_mtime;
    let metadata = EntryMetadata { size, seconds: modified.tv_sec, nanoseconds: modified.tv_nsec };
    Some(DirEntry { name, kind, metadata: Some(metadata) })
}

/// Rows in a chunk of the page.
const ROWS: usize = 128;
/// The bytes of a chunk, which ends with the row that reaches them.
const PIECE: usize = ROWS * 192;
/// The kernel needs at least 24 bytes for a name, so no buffer holds more than 128 of them; the
/// longest name, of 255 bytes, needs 280.
const BUFFER: usize = 128 * 24;
