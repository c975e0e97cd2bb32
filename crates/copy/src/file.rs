//! A regular file: its extents of data, its attributes, and at the end its name.

use karez_transfer::{FileToFile, Progress, Settings, Via};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, ftruncate, openat, seek, statat,
};
use rustix::io::{Errno, pread};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError};

use crate::account::Account;
use crate::attributes::{self, PERMISSIONS};
use crate::error::Error;
use crate::extents::extents;
use crate::generated::is_generated;
use crate::links::identity;
use crate::name::Name;
use crate::options::Options;
use crate::refusals::Refusals;
use crate::run::Run;
use crate::same_file;
use crate::sink::Sink;
use crate::sync::sync;
use crate::unplaced::Placed;

/// Where a file ends that does not say.
pub(crate) const FAR: u64 = i64::MAX as u64;

/// Copies a regular file. `is_new`: this run made the directory of `to`, so that nothing has the
/// name yet, and what takes it meanwhile is not replaced.
pub(crate) fn copy(
    from: Name<'_>,
    to: Name<'_>,
    is_new: bool,
    run: &Run<'_>,
    account: &mut Account,
) -> Result<(), Error> {
    run.go_on()?;
    let source = open(from, run.options.enters_directories())?;
    let stat = fstat(&source).map_err(from.failed("fstat"))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(from.refused("is no longer a regular file"));
    }
    let old = if is_new { None } else { look(to)? };
    match &old {
        Some(_) if run.options.keep_existing => {
            account.skipped += 1;
            return Ok(());
        }
        Some(old) => may_replace((&stat, from), (old, to))?,
        None => {}
    }
    run.observer.found(size(&stat));
    let keep_existing = run.options.keep_existing || is_new;
    let file = File { source: Arc::new(source), stat, from, to, keep_existing, run };
    // Whoever has other names is copied alone, so that they find it.
    if run.options.archive && stat.st_nlink > 1 {
        let mut links = run.links.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.old_in_place(old.as_ref());
        let linked = match written {
            Some(old) => links.is_copy(&stat, old).then_some(Placed::Here),
            None => links.link(&stat, to, keep_existing)?,
        };
        if let Some(placed) = linked {
            run.observer.advanced(size(&stat));
            let placed = placed.permitted(run.options, to)?;
            placed.count(&mut account.hard_links, &mut account.skipped);
            return Ok(());
        }
        if let Some(copy) = file.copy(old, account)? {
            let copy = fstat(&copy).map_err(to.failed("fstat"))?;
            links.remember(&stat, identity(&copy), to);
        }
        return Ok(());
    }
    file.copy(old, account).map(drop)
}

/// An open file and where it goes.
struct File<'a> {
    source: Arc<OwnedFd>,
    stat: Stat,
    from: Name<'a>,
    to: Name<'a>,
    keep_existing: bool,
    run: &'a Run<'a>,
}

impl File<'_> {
    /// What is there, if it is to be written into.
    fn old_in_place<'a>(&self, old: Option<&'a Stat>) -> Option<&'a Stat> {
        let is_file = |old: &&Stat| FileType::from_raw_mode(old.st_mode).is_file();
        old.filter(is_file).filter(|_| self.run.options.in_place)
    }

    /// The copy, unless something else has the name and is to stay.
    fn copy(
        &self,
        old: Option<Stat>,
        account: &mut Account,
    ) -> Result<Option<Arc<OwnedFd>>, Error> {
        let Self { source, stat, from, to, run, .. } = self;
        let stands = old.is_some();
        let old = old.filter(|old| FileType::from_raw_mode(old.st_mode).is_file());
        // Until it has its owner and its mode it is nobody else's business.
        let changes = run.options.archive || old.is_some();
        let mode = if changes { 0o600 } else { stat.st_mode & PERMISSIONS };
        let (old, mode) = (old.as_ref(), Mode::from_raw_mode(mode));
        let sink = Sink::open((stat, *from), (old, *to), mode, run)?;
        let copied = self.copy_data(sink.file(), account);
        copied.map_err(|error| sink.ended_early(error, *to))?;
        let copy = Arc::clone(sink.file());
        let file = copy.as_fd();
        if run.options.archive {
            let from = (source.as_fd(), stat, *from);
            attributes::keep(from, (file, *to), &mut Refusals::new(run, account));
        } else if let (Some(old), false) = (old, sink.is_in_place()) {
            attributes::inherit(old, file, *to, &mut Refusals::new(run, account));
        }
        run.go_on()?;
        // One that is replaced must not lose its name before the new one is on the disk.
        let replaces = stands && !sink.is_in_place();
        if replaces && run.options.sync {
            sync(&copy, &to.path())?;
            account.synced += 1;
        }
        let placed = sink.place((old, *to), self.keep_existing, run)?;
        placed.count(&mut account.files, &mut account.skipped);
        run.observer.placed();
        if placed == Placed::Here && run.options.sync && !replaces {
            run.sync_file(&copy, *to, account);
        }
        Ok((placed == Placed::Here).then_some(copy))
    }

    /// All extents of data; what is between and behind them is a hole.
    fn copy_data(&self, sink: &Arc<OwnedFd>, account: &mut Account) -> Result<(), Error> {
        let Self { source, stat, from, to, run, .. } = self;
        let Options { via, cache, .. } = *run.options;
        let mut settings = Settings { via, cache, ..Settings::default() };
        let size = size(stat);
        if size == 0 || is_generated(source.as_fd(), stat) {
            settings.via = Via::Copy;
            return self.copy_until_end(sink, &mut settings, account);
        }
        let mut extents = extents(source.as_fd(), size);
        let mut end = 0;
        while let Some(extent) = extents.next(&mut account.calls).map_err(from.failed("lseek"))? {
            self.pass_hole(end..extent.start, account);
            end = extent.end;
            self.copy_extent(extent, sink, &mut settings, account)?;
        }
        if end < size {
            self.copy_tail(end..size, sink, &mut settings, account)?;
            ftruncate(sink, size).map_err(to.failed("ftruncate"))?;
        }
        Ok(())
    }

    /// A file whose size says nothing (proc(5)): it ends where a read at its end finds nothing.
    fn copy_until_end(
        &self,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        account: &mut Account,
    ) -> Result<(), Error> {
        let (mut end, mut stalled) = (0, false);
        loop {
            let before = end;
            end = self.copy_part(before..FAR, sink, settings, account)?;
            if !self.has_byte(end, account)? {
                return Ok(());
            }
            // There is more, which came meanwhile or was not told of: once more.
            if end == before && stalled {
                return Err(self.cut_off(end));
            }
            stalled = end == before;
        }
    }

    /// What lies behind the last extent of data: a hole, unless the file was cut off when that was
    /// asked, or has been written to since.
    fn copy_tail(
        &self,
        tail: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        account: &mut Account,
    ) -> Result<(), Error> {
        if !self.has_byte(tail.end - 1, account)? {
            return Err(self.cut_off(tail.start));
        }
        account.calls.lseek += 1;
        let data = match seek(&self.source, SeekFrom::Data(tail.start)) {
            Ok(data) => data.clamp(tail.start, tail.end),
            Err(Errno::NXIO) => tail.end,
            Err(errno) => return Err(self.from.failed("lseek")(errno)),
        };
        self.pass_hole(tail.start..data, account);
        if data < tail.end {
            self.copy_extent(data..tail.end, sink, settings, account)?;
        }
        Ok(())
    }

    fn pass_hole(&self, hole: Range<u64>, account: &mut Account) {
        account.holes += hole.end - hole.start;
        self.run.observer.advanced(hole.end - hole.start);
    }

    /// Moves all bytes of one extent. A file that ends before has been cut off, whatever its size
    /// is by now: it may have been written anew.
    fn copy_extent(
        &self,
        extent: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        account: &mut Account,
    ) -> Result<(), Error> {
        let end = self.copy_part(extent.clone(), sink, settings, account)?;
        if end < extent.end { Err(self.cut_off(end)) } else { Ok(()) }
    }

    /// Moves the bytes of a part, and says where it or the file ended. What was refused is not
    /// asked for again with the next.
    fn copy_part(
        &self,
        part: Range<u64>,
        sink: &Arc<OwnedFd>,
        settings: &mut Settings,
        account: &mut Account,
    ) -> Result<u64, Error> {
        let (source, sink) = (Arc::clone(&self.source), Arc::clone(sink));
        let start = part.start;
        let mut transfer = FileToFile::new(source, part, sink, start, *settings);
        let outcome = self.drive(&mut transfer, start);
        let report = transfer.report();
        account.enter(report);
        if !report.fallbacks.is_empty() {
            settings.via = report.ran;
        }
        if report.cache_refused.is_some() {
            settings.cache = report.cache;
        }
        outcome.map(|()| start + report.bytes)
    }

    /// Steps until the end, of the part or of the file.
    fn drive(&self, transfer: &mut FileToFile, start: u64) -> Result<(), Error> {
        loop {
            self.run.go_on()?;
            let error = match transfer.step() {
                Ok(Progress::Moved(bytes)) => {
                    self.run.observer.advanced(bytes);
                    continue;
                }
                Ok(Progress::Done | Progress::Truncated { .. }) => return Ok(()),
                // A file that would have us wait, as /proc/kmsg.
                Ok(_) => Errno::AGAIN.into(),
                Err(error) => error,
            };
            let report = transfer.report();
            let at = start + report.bytes;
            let (from, to) = (self.from.path(), self.to.path());
            return Err(Error::Moving { from, to, via: report.ran, at, error });
        }
    }

    /// Whether a read finds a byte at this offset.
    fn has_byte(&self, at: u64, account: &mut Account) -> Result<bool, Error> {
        loop {
            self.run.go_on()?;
            account.calls.pread64 += 1;
            match pread(&self.source, &mut [0; 1], at) {
                Err(Errno::INTR) => {}
                read => return read.map(|count| count > 0).map_err(self.from.failed("pread64")),
            }
        }
    }

    /// The file ended where it should not have.
    fn cut_off(&self, end: u64) -> Error {
        Error::CutOff { path: self.from.path(), was: size(&self.stat), is: end }
    }
}

/// Opens a file to be read. In trees a link that has taken its place is not followed, and a FIFO
/// that has is not waited for.
fn open(from: Name<'_>, in_tree: bool) -> Result<OwnedFd, Error> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, in_tree);
    let opened = match openat(from.directory, from.name, flags | OFlags::NONBLOCK, Mode::empty()) {
        // Somebody has a lease on it (fcntl(2)), and is asked to give it up.
        Err(Errno::AGAIN) => openat(from.directory, from.name, flags, Mode::empty()),
        opened => opened,
    };
    opened.map_err(from.failed("openat"))
}

pub(crate) fn look(to: Name<'_>) -> Result<Option<Stat>, Error> {
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
        FileType::Directory => Err(to.refused("is a directory, which a file cannot replace")),
        _ => Err(to.refused("is no regular file, and is not replaced by one")),
    }
}

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
