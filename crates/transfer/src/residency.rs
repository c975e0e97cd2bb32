//! Whether bytes of a file are in memory, so that moving them would not wait for a disk:
//! cachestat(2) (Linux 6.5), before that and on an overlay mincore(2). Where neither may be asked,
//! nothing is said to be.
//!
//! What it does badly: the answer may be old a moment later (the page cache may take the pages
//! away), so a step that was promised not to block still may, rarely; and `mincore` calls every
//! page of a file resident that the caller could not write. Of such a file `cachestat` says nothing
//! (6.11), so some of its pages are asked for a byte (`RWF_NOWAIT`), and those between believed.

use karez_sys::{Mapping, cached_pages, page_size};
use rustix::fs::{fstat, fstatfs};
use rustix::io::{self, Errno, IoSliceMut, ReadWriteFlags, preadv2};
use rustix::process::geteuid;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::device::Device;
use crate::errand::{DirectRead, Errand};
use crate::file_to_socket::Source;
use crate::interrupted::retry;
use crate::offloaded_read::OffloadedRead;
use crate::report::Calls;
use crate::scratch;
use crate::transfer::Transfer;
use crate::window::bytes_behind;

/// How much is warmed at a time: what a step moves by most vias.
const WARMED: u64 = 1 << 20;

/// How often the same part is warmed before its file system is said to keep no pages.
const PATIENCE: u32 = 3;

/// How much of it is read by one call.
const SIP: usize = 128 << 10;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// What a transfer has to move next and is not in memory, for somebody who may wait for a disk.
pub struct ColdPart {
    source: Source,
    range: Range<u64>,
    /// By [`Via::Direct`](crate::Via::Direct) it is read past the page cache.
    errand: Option<Arc<Errand>>,
    /// Of a remote file it is read into memory.
    offloaded: Option<Arc<OffloadedRead>>,
    device: Device,
    warmings: Option<Arc<AtomicU32>>,
    /// Who wants to know what it cost.
    told: Option<Arc<Warmth>>,
}

/// What it cost to warm the parts of an outbox, from whatever threads.
#[derive(Debug, Default)]
pub(crate) struct Warmth {
    reads: AtomicU64,
    nanoseconds: AtomicU64,
}

impl ColdPart {
    pub(crate) fn new(source: Source, transfer: &Transfer) -> Self {
        let (errand, offloaded) = (transfer.errand(), transfer.offloaded_read());
        let start = transfer.course.from.unwrap_or(0);
        let length = transfer.course.remaining.min(WARMED);
        let asked = errand.as_ref().map(|errand| errand.range());
        let asked = asked.or_else(|| offloaded.as_ref().map(|read| read.range()));
        let range = asked.unwrap_or(start..start.saturating_add(length));
        let (device, warmings) = (transfer.course.settings.device, transfer.warmings());
        Self { source, range, errand, offloaded, device, warmings, told: None }
    }

    /// The same, and what it costs is told to this one.
    pub(crate) fn tell(self, warmth: &Arc<Warmth>) -> Self {
        Self { told: Some(Arc::clone(warmth)), ..self }
    }

    /// Brings it into the page cache, or by [`Via::Direct`](crate::Via::Direct) into a buffer of
    /// the transfer; waits for the disk.
    ///
    /// # Errors
    /// As pread(2); `EIO` above all, which the next step of the transfer would meet, too. By
    /// `direct` only that step tells.
    pub fn warm(&self) -> std::io::Result<()> {
        let Some(warmth) = &self.told else {
            return self.bring(&mut 0);
        };
        let (begun, mut reads) = (cpu_time(), 0);
        let brought = self.bring(&mut reads);
        warmth.enter(reads, cpu_time().saturating_sub(begun));
        brought
    }

    /// Counts what it reads; the transfer counts by itself what an errand brings.
    fn bring(&self, reads: &mut u64) -> std::io::Result<()> {
        let brought = match (&self.errand, &self.offloaded) {
            (Some(errand), _) => {
                errand.run();
                Ok(())
            }
            (None, Some(read)) => {
                read.run(&*self.source);
                Ok(())
            }
            (None, None) => self.read(reads),
        };
        self.note();
        brought
    }

    /// By [`Via::Direct`](crate::Via::Direct) the read that has to be made, for a caller who has a
    /// way to make it without waiting, and has to [give it back](Self::give_back). `None` by other
    /// vias, and where somebody makes it already.
    #[must_use]
    pub fn direct_read(&self) -> Option<DirectRead> {
        self.errand.as_ref()?.lend()
    }

    /// Gives a read back with what came of it; with `None` it was not made.
    pub fn give_back(&self, read: DirectRead, outcome: Option<io::Result<usize>>) {
        if let Some(errand) = &self.errand {
            errand.give_back(read, outcome);
        }
        if outcome.is_some() {
            self.note();
        }
    }

    fn note(&self) {
        if let Some(warmings) = &self.warmings {
            warmings.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, reads: &mut u64) -> std::io::Result<()> {
        let mut at = self.range.start;
        let mut buffer = scratch::take(SIP);
        while at < self.range.end {
            let left = usize::try_from(self.range.end - at).unwrap_or(SIP).min(SIP);
            *reads += 1;
            match retry(|| io::pread(&*self.source, &mut buffer[..left], at)) {
                Ok(0) => break,
                Ok(count) => at += count as u64,
                Err(errno) => return Err(errno.into()),
            }
        }
        scratch::give_back(buffer);
        Ok(())
    }

    /// The device whose answer [`warm`](Self::warm) waits for, as the
    /// [settings](crate::Settings::device) say.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The bytes of the file that are to be read.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl fmt::Debug for ColdPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdPart").field("range", &self.range).finish_non_exhaustive()
    }
}

/// Where a transfer was said to be cold last, and how often that has been warmed since. Where pages
/// do not stay, or nobody can tell, that would go on for ever.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    at: Option<u64>,
    pub(crate) times: Option<Arc<AtomicU32>>,
}

impl Warming {
    /// Whether what is cold at this offset may get warm.
    pub(crate) fn may_help(&mut self, at: Option<u64>) -> bool {
        if self.at != at {
            *self = Self { at, times: None };
        }
        let times = self.times.get_or_insert_default();
        times.load(Ordering::Relaxed) < PATIENCE
    }
}

impl Warmth {
    fn enter(&self, reads: u64, cpu: Duration) {
        let nanoseconds = u64::try_from(cpu.as_nanos()).unwrap_or(0);
        // Whoever reads them has a letter of the one who wrote them.
        self.reads.fetch_add(reads, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

/// What the calling thread has used.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// How many bytes of `range` are in the page cache, to the page. Reads nothing, and says nothing
/// rather than guess.
///
/// # Errors
/// As cachestat(2), and where there is none (before Linux 6.5) or it knows no pages (an overlay) as
/// mincore(2); `EPERM` for a file of somebody else's, of which these say nothing or nothing true.
pub fn cached_bytes(file: BorrowedFd<'_>, range: Range<u64>) -> std::io::Result<u64> {
    if range.is_empty() {
        return Ok(0);
    }
    let page = page_size() as u64;
    let pages = range.start / page * page..range.end;
    let cached = match cached_pages(file, pages.clone()) {
        Ok(0) if is_on_overlay(file, &mut Calls::default()) => mapped(file, pages)?,
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => mapped(file, pages)?,
        told => told?,
    };
    Ok((cached * page).min(range.end - range.start))
}

/// How many pages are in memory, if mincore(2) would say otherwise.
fn mapped(file: BorrowedFd<'_>, range: Range<u64>) -> io::Result<u64> {
    let me = geteuid();
    if !me.is_root() && fstat(file)?.st_uid != me.as_raw() {
        return Err(Errno::PERM);
    }
    let length = usize::try_from(range.end - range.start).map_err(|_| Errno::OVERFLOW)?;
    Ok(Mapping::of(file, range.start, length)?.resident_pages()? as u64)
}

/// How many of the `len` bytes from `offset` can be moved without waiting: the largest of the
/// whole, half of it, a quarter … that is in memory, down to a page; 0 if that is not. What lies
/// behind the end of the file never waits.
pub(crate) fn resident(
    file: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    calls: &mut Calls,
) -> io::Result<u64> {
    let page = page_size() as u64;
    let first = offset / page * page;
    // Most are hot, so that is asked first: one call.
    if cached(file, first..offset + len, calls)? >= (offset + len - first).div_ceil(page) {
        return Ok(len);
    }
    let there = bytes_behind(file, offset, calls)?.min(len);
    if there == 0 {
        return Ok(len);
    }
    let mut asked = there;
    loop {
        let pages = (offset + asked - first).div_ceil(page);
        match cached(file, first..offset + asked, calls)? {
            all if all >= pages => return Ok(if asked == there { len } else { asked }),
            0 => return Ok(0),
            _ if asked <= page => return Ok(0),
            _ => asked = (asked / 2).max(page),
        }
    }
}

/// How many pages of `range`, which begins with one, are in memory. What nobody can tell is not:
/// that a question is refused is no error of the transfer.
fn cached(file: BorrowedFd<'_>, range: Range<u64>, calls: &mut Calls) -> io::Result<u64> {
    calls.cachestat += 1;
    match cached_pages(file, range.clone()) {
        Ok(0) if is_on_overlay(file, calls) => {}
        Ok(pages) => return Ok(pages),
        Err(Errno::PERM) => {
            if let Some(sampled) = sampled(file, range.clone(), calls) {
                return Ok(sampled);
            }
        }
        Err(_) => {}
    }
    calls.mmap += 1;
    calls.madvise += 1;
    calls.mincore += 1;
    let length = usize::try_from(range.end - range.start).map_err(|_| Errno::OVERFLOW)?;
    let told = Mapping::of(file, range.start, length).and_then(|it| it.resident_pages());
    Ok(told.map_or(0, |pages| pages as u64))
}

/// The same for a file that is somebody else's, of which `cachestat` says nothing and `mincore`
/// that all is there: every sixteenth page is asked for a byte. `None` if the file system cannot
/// tell that either.
fn sampled(file: BorrowedFd<'_>, range: Range<u64>, calls: &mut Calls) -> Option<u64> {
    let page = page_size() as u64;
    for at in range.clone().step_by(16 * page_size()).chain([range.end - 1]) {
        calls.preadv2 += 1;
        let mut byte = [0];
        let buffers = &mut [IoSliceMut::new(&mut byte)];
        match preadv2(file, buffers, at, ReadWriteFlags::NOWAIT) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Some((at - range.start) / page),
            Err(_) => return None,
        }
    }
    Some((range.end - range.start).div_ceil(page))
}

/// A file of an overlay has no pages, as containers have them: those of the file below it are
/// read, and mapped.
fn is_on_overlay(file: BorrowedFd<'_>, calls: &mut Calls) -> bool {
    calls.fstatfs += 1;
    fstatfs(file).is_ok_and(|system| system.f_type == OVERLAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, fadvise, fdatasync};
    use std::io::Write as _;
    use std::num::NonZeroU64;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_in_memory_is_found_and_no_more() {
        // Not a temporary directory: that may be tmpfs, which has no disk to wait for.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let page = page_size() as u64;
        file.write_all(&vec![1; 64 * page_size()]).unwrap();
        fdatasync(&file).unwrap();
        let resident = |offset, len| {
            super::resident(file.as_fd(), offset, len, &mut Calls::default()).unwrap()
        };
        assert_eq!(resident(0, 64 * page), 64 * page);
        assert_eq!(resident(3, 100 * page), 100 * page, "behind the end nothing waits");
        // All go, for the pages of one folio go together; then half of them come back.
        fadvise(&file, 0, NonZeroU64::new(64 * page), Advice::DontNeed).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        rustix::io::pread(&file, &mut vec![0; 32 * page_size()], 0).unwrap();
        assert_eq!(resident(0, 64 * page), 32 * page);
        assert_eq!(resident(40 * page, 10 * page), 0);
        let cached = |range| cached_bytes(file.as_fd(), range).unwrap();
        assert_eq!(cached(0..64 * page), 32 * page);
        assert_eq!(cached(100..page + 100), page);
        assert_eq!((cached(40 * page..50 * page), cached(5..5)), (0, 0));
        assert_eq!(mapped(file.as_fd(), 0..64 * page).unwrap(), 32);
        let sampled = |range| sampled(file.as_fd(), range, &mut Calls::default());
        assert!(sampled(0..32 * page).is_none_or(|pages| pages == 32));
        assert!(sampled(0..64 * page).is_none_or(|pages| pages == 32));
    }
}
