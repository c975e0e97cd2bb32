//! The page of a directory, in steps of a bounded amount of work: getdents64(2) fills one small
//! buffer, its names are sorted as a *run*, and the runs are merged by a heap while rows are
//! rendered. No step sorts, holds or writes the whole page, so a loop may run them one by one.
//!
//! Only what a request could get is listed: files and directories, links to them that stay beneath
//! the root; neither dot files, unless they are served, nor what vanishes meanwhile. An error that
//! leaves open whether an entry exists (EIO, EUCLEAN, ENOMEM …) ends the page before its end, so that
//! a mirror does not delete by an incomplete list.
//!
//! What it does badly: the first row waits for the last name, at about 32 bytes an entry and its
//! name. One statx(2) an entry, three system calls for a link. A directory that changes while it
//! is read may show an entry twice or not at all, as readdir(3) may. A link to what lies below a
//! remote mount is followed there, and where that hangs, the listing does.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

use karez_transfer::Device;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, RawDir, Statx};
use rustix::io::Errno;

use super::join;
use super::resolve::failure;
use super::root::{Effort, Purpose, Root, file_type, stat_at, stat_fd, stat_known_at};
use super::search::has_hidden_segment;
use super::tally::{self, Call};

mod html;
mod json;
mod run;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use view::{Format, Sort, View};

use run::{Batch, Entry, Facts, Kind, Run};

/// A listing on its way.
pub(crate) struct Listing {
    root: Arc<Root>,
    /// Which answers for it.
    pub(super) device: Device,
    /// Its entries on which a remote file system is mounted, if it is not of one itself.
    pub(super) remote: Vec<Vec<u8>>,
    dir: OwnedFd,
    /// Of the directory, from the root.
    path: Vec<u8>,
    hidden: bool,
    view: View,
    runs: BinaryHeap<Run>,
    phase: Phase,
    rows: u64,
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListingStep {
    /// Nothing to send yet: step again, after others had their turn.
    Working,
    /// The next piece of the page, never empty.
    Chunk(Vec<u8>),
    /// The page is complete.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Gather,
    Head,
    Rows,
    Done,
}

impl Listing {
    /// `dir` is open for reading and nothing of it has been read.
    pub(super) fn new(
        root: Arc<Root>,
        dir: OwnedFd,
        path: Vec<u8>,
        hidden: bool,
        view: View,
    ) -> Self {
        let (runs, phase) = (BinaryHeap::new(), Phase::Gather);
        let (device, remote) = (Device::default(), Vec::new());
        Self { root, device, remote, dir, path, hidden, view, runs, phase, rows: 0 }
    }

    /// The device that its steps wait for.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The media type of the page.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.view.format {
            Format::Html => "text/html; charset=utf-8",
            Format::Json => "application/json",
        }
    }

    /// Does a bounded piece of work. After an error the page cannot be completed.
    pub(crate) fn step(&mut self) -> io::Result<ListingStep> {
        match self.phase {
            Phase::Gather => {
                if !self.gather()? {
                    self.phase = Phase::Head;
                }
                Ok(ListingStep::Working)
            }
            Phase::Head | Phase::Rows => self.render(),
            Phase::Done => Ok(ListingStep::Done),
        }
    }

    /// Reads one buffer of names. Returns whether there may be more.
    fn gather(&mut self) -> io::Result<bool> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER];
        let mut names = RawDir::new(self.dir.as_fd(), &mut buffer);
        let mut batch = Batch::default();
        tally::count(Call::Getdents64);
        let more = loop {
            match names.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if let Some(found) = self.admit(name, entry.file_type())? {
                        batch.push(found);
                    }
                }
                Some(Err(Errno::INTR)) => break true,
                // Removed while it was being read: it has no names left.
                None | Some(Err(Errno::NOENT)) => break false,
                Some(Err(errno)) => return Err(failure("getdents64", &self.path, errno)),
            }
            if names.is_buffer_empty() {
                break true;
            }
        };
        self.runs.extend(batch.sorted(self.view));
        Ok(more)
    }

    /// The entry as it goes into a run, if it is to be listed.
    fn admit<'a>(&self, name: &'a [u8], claimed: FileType) -> io::Result<Option<Entry<'a>>> {
        if matches!(name, b"." | b"..") || !self.is_served(name) {
            return Ok(None);
        }
        let kind = match claimed {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            // Not every file system fills the type in; a link's is its target's.
            FileType::Unknown | FileType::Symlink => return self.inspect(name, true),
            _ => return Ok(None),
        };
        if self.view.sort == Sort::Name {
            return Ok(Some(Entry { name, kind, facts: None }));
        }
        self.inspect(name, false)
    }

    /// The entry as it is now. A link counts as its target if `follow`.
    fn inspect<'a>(&self, name: &'a [u8], follow: bool) -> io::Result<Option<Entry<'a>>> {
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

    /// What an entry is. Of a remote mount what the kernel remembers will do: it may hang, and that
    /// must not hang the listing of the directory that it lies in.
    fn stat(&self, name: &[u8]) -> Result<Statx, Errno> {
        if self.remote.iter().any(|mount| mount == name) {
            return stat_known_at(self.dir.as_fd(), name);
        }
        stat_at(self.dir.as_fd(), name)
    }

    /// What a link leads to, from the root and not from here: `../x` may well stay beneath it.
    fn follow(&self, name: &[u8]) -> Result<Statx, Errno> {
        let path = join(&self.path, name);
        // Where it leads to such a mount itself, the kernel knows enough.
        if !self.remote.is_empty()
            && let Ok(fd) = self.root.open(&path, Purpose::Look, Effort::Cached)
        {
            return stat_known_at(fd.as_fd(), b"");
        }
        self.root.look(&path).and_then(|fd| stat_fd(fd.as_fd()))
    }

    fn render(&mut self) -> io::Result<ListingStep> {
        let mut out = Vec::with_capacity(ROWS * 192);
        if self.phase == Phase::Head {
            self.phase = Phase::Rows;
            match self.view.format {
                Format::Html => html::head(&mut out, &self.path, self.view),
                Format::Json => json::head(&mut out),
            }
        }
        for _ in 0..ROWS {
            if !self.row(&mut out)? {
                self.phase = Phase::Done;
                match self.view.format {
                    Format::Html => html::foot(&mut out),
                    Format::Json => json::foot(&mut out),
                }
                break;
            }
        }
        Ok(if out.is_empty() { ListingStep::Working } else { ListingStep::Chunk(out) })
    }

    /// Takes the least entry from the runs and renders it. Returns whether there was one.
    fn row(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(run) = self.runs.peek() else {
            return Ok(false);
        };
        let entry = run.first();
        let entry = match entry.facts {
            Some(_) => Some(entry),
            None => self.inspect(entry.name, false)?,
        };
        if let Some(Entry { name, kind, facts: Some(facts) }) = entry {
            match self.view.format {
                Format::Html => html::row(out, name, kind, facts),
                Format::Json => json::row(out, name, kind, facts, self.rows == 0)?,
            }
            self.rows += 1;
        }
        if let Some(mut run) = self.runs.peek_mut()
            && !run.advance()
        {
            PeekMut::pop(run);
        }
        Ok(true)
    }
}

/// Returns whether this error is a definite answer: a request for the entry gets a 404 or a 403. The
/// entry has been removed, a link dangles (through a missing name, a file or a name that is too long
/// for the file system), loops or leaves the root, or a directory on its way may not be searched.
fn is_unavailable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::ACCESS
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
    )
}

fn describe<'a>(name: &'a [u8], meta: &Statx) -> Option<Entry<'a>> {
    let (kind, size) = match file_type(meta) {
        FileType::RegularFile => (Kind::File, meta.stx_size),
        FileType::Directory => (Kind::Directory, 0),
        _ => return None,
    };
    let modified = &meta.stx_mtime;
    let facts = Facts { size, seconds: modified.tv_sec, nanoseconds: modified.tv_nsec };
    Some(Entry { name, kind, facts: Some(facts) })
}

/// Rows in a piece of the page.
const ROWS: usize = 128;
/// The kernel needs at least 24 bytes for a name, so no buffer holds more than 128 of them; the
/// longest name, of 255 bytes, needs 280.
const BUFFER: usize = 128 * 24;
