//! Copies a regular file: its extents of data, its attributes, and last its name.

use karez_transfer::{FileToFile, Progress, Settings, Via};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, ftruncate, openat, seek, statat,
};
use rustix::io::{self, Errno, pread};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError};

use crate::atomic_file::{Commit, NewMode};
use crate::attribute_failures::AttributeFailures;
use crate::attributes::{self, PERMISSIONS};
use crate::context::Context;
use crate::error::Error;
use crate::extents::{extents, is_small_and_full};
use crate::hard_links::identity;
use crate::name::Name;
use crate::options::Options;
use crate::pseudo_file::is_pseudo_file;
use crate::same_file;
use crate::sink::Sink;
use crate::summary::Summary;
use crate::sync::sync;

/// The end of a file that does not report its size.
pub(crate) const FAR: u64 = i64::MAX as u64;

/// Copies a regular file. `is_new`: this copy made the directory of `to`, so that it was empty, and a
/// file that another process makes in it is not replaced.
pub(crate) fn copy(
    from: Name<'_>,
    to: Name<'_>,
    is_new: bool,
    context: &Context<'_>,
    summary: &mut Summary,
) -> Result<(), Error> {
    context.check_stop()?;
    let source = open(from, context.options.enters_directories())?;
    let stat = fstat(&source).map_err(from.failed("fstat"))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(from.invalid("is no longer a regular file"));
    }
    let old = if is_new { None } else { existing(to)? };
    match &old {
        Some(_) if context.options.keep_existing => {
            summary.skipped += 1;
            return Ok(());
        }
        Some(old) => may_replace((&stat, from), (old, to))?,
        None => {}
    }
    context.observer.file_found(size(&stat));
    let keep_existing = context.options.keep_existing || is_new;
    let file = File { source: Arc::new(source), stat, from, to, keep_existing, context };
    // A file with several names is copied under a lock, so that the other names find the copy.
    if context.options.archive && stat.st_nlink > 1 {
        let mut links = context.hard_links.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.old_in_place(old.as_ref());
        let linked = match written {
            Some(old) => links.is_copy(&stat, old).then_some(Commit::Committed),
            None => links.link(&stat, to, keep_existing)?,
        };
        if let Some(commit) = linked {
            context.observer.advanced(size(&stat));
            let commit = commit.permitted(context.options, to)?;
            commit.count(&mut summary.hard_links, &mut summary.skipped);
            return Ok(());
        }
        if let Some(copy) = file.copy(old, summary)? {
            let copy = fstat(&copy).map_err(to.failed("fstat"))?;
            links.remember(&stat, identity(&copy), to);
        }
        return Ok(());
    }
    file.copy(old, summary).map(drop)
}

/// An open source file and its destination.
struct File<'a> {
    source: Arc<OwnedFd>,
    stat: Stat,
    from: Name<'a>,
    to: Name<'a>,
    keep_existing: bool,
    context: &'a Context<'a>,
}

impl File<'_> {
    /// Returns the existing file if it is to be written in place.
    fn old_in_place<'a>(&self, old: Option<&'a Stat>) -> Option<&'a Stat> {
        let is_file = |old: &&Stat| FileType::from_raw_mode(old.st_mode).is_file();
        old.filter(is_file).filter(|_| self.context.options.in_place)
    }

    /// Copies the file; returns `None` if another file has the name and is kept.
    fn copy(
        &self,
        old: Option<Stat>,
        summary: &mut Summary,
    ) -> Result<Option<Arc<OwnedFd>>, Error> {
        let Self { source, stat, from, to, context, .. } = self;
        let exists = old.is_some();
        let old = old.filter(|old| FileType::from_raw_mode(old.st_mode).is_file());
        let xattrs = context.options.archive.then(|| attributes::names(source.as_fd()));
        let (old, mode) = (old.as_ref(), self.new_mode(old.is_some(), xattrs.as_ref()));
        let sink = Sink::open((stat, *from), (old, *to), mode, context)?;
        let copied = self.copy_data(sink.file(), summary);
        copied.map_err(|error| sink.ended_early(error, *to))?;
        let copy = Arc::clone(sink.file());
        let file = copy.as_fd();
        if let Some(listed) = xattrs {
            let from = (source.as_fd(), stat, *from);
            let failures = &mut AttributeFailures::new(context, summary);
            attributes::keep((from, listed), (file, *to), !sink.is_in_place(), failures);
        } else if let (Some(old), false) = (old, sink.is_in_place()) {
            attributes::inherit(old, file, *to, &mut AttributeFailures::new(context, summary));
        }
        context.check_stop()?;
        // The old file keeps its name until the new one is on the disk.
        let replaces = exists && !sink.is_in_place();
        if replaces && context.options.sync {
            sync(&copy, &to.path())?;
            summary.synced += 1;
        }
        let commit = sink.commit((old, *to), self.keep_existing, context)?;
        commit.count(&mut summary.files, &mut summary.skipped);
        context.observer.file_done();
        if commit == Commit::Committed && context.options.sync && !replaces {
            context.sync_file(&copy, *to, summary);
        }
        Ok((commit == Commit::Committed).then_some(copy))
    }

    /// Returns the mode of the new file until it has its attributes.
    fn new_mode(&self, replaces: bool, xattrs: Option<&io::Result<Vec<u8>>>) -> NewMode {
        let private = Mode::from_raw_mode(0o600);
        let whole = Mode::from_raw_mode(self.stat.st_mode & PERMISSIONS);
        match xattrs {
            // With an ACL the bits of the group are its mask, which is not for the file without it. The
            // file may be opened once more to be written (sendfile).
            Some(Ok(list)) if list.is_empty() => {
                NewMode { unnamed: whole | private, named: private }
            }
            None if !replaces => whole.into(),
            // Until it has its owner and its mode only its owner may open it.
            _ => private.into(),
        }
    }

    /// Copies all extents of data, and keeps the holes between and after them.
    fn copy_data(&self, sink: &Arc<OwnedFd>, summary: &mut Summary) -> Result<(), Error> {
        let Self { source, stat, from, to, context, .. } = self;
        let Options { via, cache, .. } = *context.options;
        let mut settings = Settings::from(via).cache(cache);
        let size = size(stat);
        if size == 0 || is_pseudo_file(source.as_fd(), stat) {
            settings.via = Via::Copy;
            return self.copy_until_end(sink, &mut settings, summary);
        }
        if is_small_and_full(stat) {
            return self.copy_extent(0..size, sink, &mut settings, summary);
        }
        let mut extents = extents(source.as_fd(), size);
        let mut end = 0;
        while let Some(extent) = extents.next(&mut summary.calls).map_err(from.failed("lseek"))? {
            self.pass_hole(end..extent.start, summary);
            end = extent.end;
            self.copy_extent(extent, sink, &mut settings, summary)?;
        }
        if end < size {
            self.copy_tail(end..size, sink, &mut settings, summary)?;
            ftruncate(sink, size).map_err(to.failed("ftruncate"))?;
        }
        Ok(())
    }

    /// Copies a file of unknown size (proc(5)), until a read returns no byte.
    fn copy_until_end(
        &self,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let (mut end, mut stalled) = (0, false);
        loop {
            let before = end;
            end = self.copy_part(before..FAR, sink, settings, summary)?;
            if !self.has_byte(end, summary)? {
                return Ok(());
            }
            // The file has more bytes than the transfer saw: repeat.
            if end == before && stalled {
                return Err(self.truncated(end));
            }
            stalled = end == before;
        }
    }

    /// Copies the bytes after the last extent of data: a hole, unless the file was truncated at that
    /// moment, or has been written to since.
    fn copy_tail(
        &self,
        tail: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        if !self.has_byte(tail.end - 1, summary)? {
            return Err(self.truncated(tail.start));
        }
        summary.calls.lseek += 1;
        let data = match seek(&self.source, SeekFrom::Data(tail.start)) {
            Ok(data) => data.clamp(tail.start, tail.end),
            Err(Errno::NXIO) => tail.end,
            Err(errno) => return Err(self.from.failed("lseek")(errno)),
        };
        self.pass_hole(tail.start..data, summary);
        if data < tail.end {
            self.copy_extent(data..tail.end, sink, settings, summary)?;
        }
        Ok(())
    }

    fn pass_hole(&self, hole: Range<u64>, summary: &mut Summary) {
        summary.hole_bytes += hole.end - hole.start;
        self.context.observer.advanced(hole.end - hole.start);
    }

    /// Moves all bytes of one extent. A file that ends before was truncated, whatever its size is now:
    /// it may have been rewritten.
    fn copy_extent(
        &self,
        extent: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let end = self.copy_part(extent.clone(), sink, settings, summary)?;
        if end < extent.end { Err(self.truncated(end)) } else { Ok(()) }
    }

    /// Moves the bytes of a part; returns the offset at which the part or the file ended. A method that
    /// was unsupported is not tried again for the next part.
    fn copy_part(
        &self,
        part: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        summary: &mut Summary,
    ) -> Result<u64, Error> {
        let (source, sink) = (Arc::clone(&self.source), Arc::clone(sink));
        let start = part.start;
        let mut transfer = FileToFile::new(source, part, sink, start, *settings);
        let outcome = self.drive(&mut transfer, start);
        let report = transfer.report();
        summary.add_report(report);
        if !report.fallbacks.is_empty() {
            settings.via = report.effective;
        }
        if report.cache_refused.is_some() {
            settings.cache = report.cache;
        }
        outcome.map(|()| start + report.bytes)
    }

    /// Steps a transfer until the end of the part or of the file.
    fn drive(&self, transfer: &mut FileToFile, start: u64) -> Result<(), Error> {
        loop {
            self.context.check_stop()?;
            let error = match transfer.step() {
                Ok(Progress::Moved(bytes)) => {
                    self.context.observer.advanced(bytes);
                    continue;
                }
                Ok(Progress::Done | Progress::Truncated { .. }) => return Ok(()),
                // A file whose reads block, such as /proc/kmsg.
                Ok(_) => Errno::AGAIN.into(),
                Err(error) => error,
            };
            let report = transfer.report();
            let at = start + report.bytes;
            let (from, to) = (self.from.path(), self.to.path());
            return Err(Error::Transfer { from, to, via: report.effective, at, error });
        }
    }

    /// Returns whether a read at this offset returns a byte.
    fn has_byte(&self, at: u64, summary: &mut Summary) -> Result<bool, Error> {
        loop {
            self.context.check_stop()?;
            summary.calls.pread64 += 1;
            match pread(&self.source, &mut [0; 1], at) {
                Err(Errno::INTR) => {}
                read => return read.map(|count| count > 0).map_err(self.from.failed("pread64")),
            }
        }
    }

    /// Makes the error of a file that ended early.
    fn truncated(&self, end: u64) -> Error {
        Error::Truncated { path: self.from.path(), was: size(&self.stat), is: end }
    }
}

/// Opens a file for reading. In trees a link that replaced it is not followed, and the open of a FIFO
/// that replaced it does not block.
fn open(from: Name<'_>, in_tree: bool) -> Result<OwnedFd, Error> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, in_tree);
    let opened = match openat(from.directory, from.name, flags | OFlags::NONBLOCK, Mode::empty()) {
        // Another process has a lease on it (fcntl(2)), which a blocking open breaks.
        Err(Errno::AGAIN) => openat(from.directory, from.name, flags, Mode::empty()),
        opened => opened,
    };
    opened.map_err(from.failed("openat"))
}

pub(crate) fn existing(to: Name<'_>) -> Result<Option<Stat>, Error> {
    match statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(to.failed("newfstatat")(errno)),
    }
}

pub(crate) fn may_replace(
    from: (&Stat, Name<'_>),
    (old, to): (&Stat, Name<'_>),
) -> Result<(), Error> {
    same_file::refuse(from, (old, to))?;
    match FileType::from_raw_mode(old.st_mode) {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        FileType::Directory => Err(to.invalid("is a directory, and is not replaced by a file")),
        _ => Err(to.invalid("is not a regular file, and is not replaced by one")),
    }
}

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
