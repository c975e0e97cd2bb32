//! The state machine that all directions share: one movement of bytes, resumable at any byte.
//!
//! The ends are lent to it for each step by the type of its direction.

use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::cache::{Behind, will_be_read_in_order};
use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::ends;
use crate::engine::Engine;
use crate::errand::Errand;
use crate::interrupted::ATTEMPTS;
use crate::ladder;
use crate::nowait;
use crate::offloaded_read::{self, OffloadedRead, OffloadedReads};
use crate::report::{Fallback, Reason, Report};
use crate::residency::{Warming, resident};
use crate::settings::{CachePolicy, Cold};
use crate::step::{End, Progress, Stop};
use crate::via::{Via, auto};

pub(crate) struct Transfer {
    pub(crate) course: Course,
    pub(crate) report: Report,
    /// None before the first step, and once everything is done.
    engine: Option<Engine>,
    /// One that was refused, but whose memory the other end may still refer to.
    retired: Option<Engine>,
    behind: Behind,
    warming: Warming,
    /// How many bytes had moved when the engine was set up.
    begun_at: u64,
    done: bool,
}

impl Transfer {
    /// No system call is made.
    pub(crate) fn new(course: Course) -> Self {
        Self {
            report: Report::new(course.direction, course.settings.via),
            course,
            engine: None,
            retired: None,
            behind: Behind::default(),
            warming: Warming::default(),
            begun_at: 0,
            done: false,
        }
    }

    /// Moves at most a share from one end to the other. `more`: something follows behind it.
    pub(crate) fn step(&mut self, ends: Ends<'_>, more: bool) -> io::Result<Progress> {
        let before = self.report.bytes;
        let mut interrupted = 0;
        while self.course.remaining > 0 && !self.done {
            let chunk = self.chunk(ends);
            match self.attempt(ends, chunk, more) {
                Ok(0) if self.report.bytes == before => {
                    if !self.source_has_more(ends) {
                        return self.source_ended(ends);
                    }
                    self.step_down(Errno::NODATA, ends)?;
                }
                Ok(moved) => {
                    self.advance(moved);
                    let share_left = self.report.bytes - before < self.course.settings.share;
                    // After a short one the next would most likely have to wait.
                    if moved < chunk || !share_left {
                        break;
                    }
                }
                Err(stop) if stop.errno() == Some(Errno::INTR) => {
                    interrupted += 1;
                    if interrupted == ATTEMPTS {
                        return Ok(Progress::Moved(self.report.bytes - before));
                    }
                }
                Err(
                    stop @ (Stop::Refused(errno) | Stop::Failed(errno) | Stop::Unavailable(errno)),
                ) => {
                    if !self.falls_back(stop) {
                        return Err(errno.into());
                    }
                    self.step_down(errno, ends)?;
                }
                Err(Stop::Worker) if self.is_on_trial() => self.run(Via::Sendfile),
                Err(Stop::Worker) if self.report.bytes == before && self.warming_is_vain() => {
                    self.set_cold(Cold::Wait);
                }
                Err(_) if self.report.bytes > before => break,
                Err(stop) => return Ok(waiting(stop)),
            }
        }
        let moved = self.report.bytes - before;
        if moved == 0 {
            return self.finish(ends);
        }
        self.let_go_behind(ends, false)?;
        Ok(Progress::Moved(moved))
    }

    /// The most that one system call is asked for; before the first, the via is chosen.
    fn chunk(&mut self, ends: Ends<'_>) -> u64 {
        if self.engine.is_none() {
            self.begin(ends);
        }
        let natural = match &self.engine {
            Some(Engine::OffloadedReads(_)) => offloaded_read::CHUNK,
            _ => self.report.ran.chunk(),
        };
        let chunk = self.course.settings.chunk.map_or(natural, u64::from);
        chunk.clamp(1, self.course.remaining)
    }

    fn attempt(&mut self, ends: Ends<'_>, chunk: u64, more: bool) -> Result<u64, Stop> {
        let Some(engine) = &mut self.engine else {
            return Err(Stop::Refused(Errno::OPNOTSUPP));
        };
        let mut piece = self.course.piece(ends, chunk, more);
        piece.uncached = self.report.cache == CachePolicy::Uncached;
        if let (Cold::Tell, Some(at)) = (self.course.settings.cold, self.course.from)
            && engine.reads_pages()
        {
            piece.chunk = resident(ends.from, at, chunk, &mut self.report.calls)?;
            if piece.chunk == 0 {
                return Err(Stop::Worker);
            }
        }
        engine.step(piece, &mut self.report)
    }

    /// Chooses the via that is to run, before the first byte.
    fn begin(&mut self, ends: Ends<'_>) {
        if self.offloads_reads() {
            self.report.turn_to(Via::Copy);
            self.engine = Some(Engine::OffloadedReads(OffloadedReads::default()));
            return;
        }
        let (direction, asked) = (self.course.direction, self.report.asked);
        let cache = self.course.settings.cache;
        let via = match (asked, cache) {
            (Via::Auto, _) => {
                let piece = self.course.piece(ends, 0, false);
                auto::choose(direction, piece, cache, &mut self.report.calls)
            }
            (Via::Copy, CachePolicy::Direct) if direction.has(Via::Direct) => Via::Direct,
            _ => asked,
        };
        self.report.cache = match (cache, via) {
            (CachePolicy::Uncached, Via::Copy) | (CachePolicy::Direct, Via::Direct) => cache,
            (CachePolicy::Uncached | CachePolicy::Direct, _) => CachePolicy::Drop,
            (cache, _) => cache,
        };
        if cache == CachePolicy::Sequential {
            let from = End { fd: ends.from, at: self.course.from };
            will_be_read_in_order(from, self.course.remaining, &mut self.report.calls);
        }
        self.run(via);
        if !direction.has(via) {
            let reason = Reason::NotOffered;
            self.fall_back(Fallback { from: via, reason, after: 0 }, Via::Copy);
        }
    }

    fn fall_back(&mut self, fallback: Fallback, to: Via) {
        self.report.fallbacks.push(fallback);
        if self.report.cache == CachePolicy::Direct {
            self.report.cache = CachePolicy::Drop;
        }
        self.run(to);
    }

    fn run(&mut self, via: Via) {
        self.report.turn_to(via);
        self.begun_at = self.report.bytes;
        let mut engine = Engine::of(via, self.course.direction);
        if let Engine::Copy(copy) = &mut engine {
            // Only what is in memory: because the caller wants to know what is not, or because
            // `auto` would rather send the pages of what is not.
            let asks = self.course.settings.cold == Cold::Tell || self.is_on_trial();
            copy.set_nowait(asks && self.course.from.is_some(), self.course.settings.device);
        }
        self.engine = Some(engine);
    }

    /// Whether to ask, from now on, if bytes are in memory.
    pub(crate) fn set_cold(&mut self, cold: Cold) {
        self.course.settings.cold = cold;
        if let Some(Engine::Copy(copy)) = &mut self.engine {
            let tells = cold == Cold::Tell && self.course.from.is_some();
            copy.set_nowait(tells, self.course.settings.device);
        }
    }

    /// Whether what is cold here was warmed often enough to know that it does not help.
    fn warming_is_vain(&mut self) -> bool {
        !self.warming.may_help(self.course.from)
    }

    /// Counts how often the part that was said to be cold is warmed.
    pub(crate) fn warmings(&self) -> Option<Arc<AtomicU32>> {
        self.warming.times.clone()
    }

    /// Whether no step may make a call on the file, because its file system may never answer.
    pub(crate) fn offloads_reads(&self) -> bool {
        let Course { settings, direction, from, edits, .. } = &self.course;
        settings.device.remote
            && settings.cold == Cold::Tell
            && *direction == Direction::FileToSocket
            && from.is_some()
            && edits.is_none()
    }

    /// `auto` has chosen `copy`, and would choose `sendfile` if the file is not in memory.
    fn is_on_trial(&self) -> bool {
        self.report.asked == Via::Auto
            && self.report.ran == Via::Copy
            && self.course.direction == Direction::FileToSocket
            && self.course.edits.is_none()
            && self.report.fallbacks.is_empty()
            && self.report.cache == self.course.settings.cache
            && self.report.cache != CachePolicy::Uncached
            && !matches!(self.engine, Some(Engine::OffloadedReads(_)))
    }

    /// Whether another via may do what this one did not; any other error is the transfer's.
    fn falls_back(&self, stop: Stop) -> bool {
        let first_use = self.report.bytes == self.begun_at;
        let (direction, via) = (self.course.direction, self.report.ran);
        match stop {
            Stop::Unavailable(_) => true,
            Stop::Refused(errno) if first_use => {
                !ladder::meets_every_via(direction, via, errno) || ladder::refuses_via(errno)
            }
            Stop::Refused(errno) | Stop::Failed(errno) => ladder::refuses_via(errno),
            _ => false,
        }
    }

    /// Falls back to the next via; from the last of them it is the transfer's error.
    fn step_down(&mut self, errno: Errno, ends: Ends<'_>) -> io::Result<()> {
        let (direction, from) = (self.course.direction, self.report.ran);
        if self.report.cache == CachePolicy::Uncached {
            // If it was not for that, the next attempt meets the truth.
            (self.report.cache, self.report.cache_refused) = (CachePolicy::Drop, Some(errno));
            return Ok(());
        }
        if from == Via::Copy {
            return Err(errno.into());
        }
        let rung = auto::next_rung(direction, from, ends, &mut self.report.calls);
        ladder::remember(direction, from, ends, errno, &mut self.report.calls);
        let after = self.report.bytes;
        // What was taken from a stream cannot be taken again.
        let held = match self.engine.take() {
            Some(engine) if self.course.from.is_none() => engine.salvage(&mut self.report.calls)?,
            engine => {
                self.retired = engine.filter(|engine| !engine.is_free());
                Vec::new()
            }
        };
        self.fall_back(Fallback { from, reason: errno.into(), after }, rung);
        if let (Some(Engine::Copy(copy)), false) = (&mut self.engine, held.is_empty()) {
            copy.hold(held);
        }
        Ok(())
    }

    /// Reads bytes that begin `ahead` bytes in front of the cursor into `buffer`, and leaves it to the
    /// caller to send them. `None` if that would wait for the disk, and it is to tell.
    pub(crate) fn read_ahead(
        &mut self,
        from: BorrowedFd<'_>,
        ahead: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        self.report.turn_to(Via::Copy);
        if self.offloads_reads() && !self.warming_is_vain() {
            return Ok(None);
        }
        let at = self.course.from.ok_or(Errno::INVAL)? + ahead;
        let (device, len) = (self.course.settings.device, buffer.len() as u64);
        let mut nowait = self.course.settings.cold == Cold::Tell;
        let mut interrupted = 0;
        if nowait && nowait::is_refused(device) {
            nowait = false;
            let there = resident(from, at, len, &mut self.report.calls)?;
            if there < len && !self.warming_is_vain() {
                return Ok(None);
            }
        }
        loop {
            let calls = &mut self.report.calls;
            let cold = match ends::read_file(from, at, buffer, (nowait, false), calls) {
                Ok(read) => return Ok(Some(read)),
                // A file system over a network or in user space.
                Err(Errno::INTR) if interrupted < ATTEMPTS => {
                    interrupted += 1;
                    false
                }
                Err(Errno::AGAIN) if nowait => true,
                Err(errno) if nowait && errno != Errno::INTR => {
                    nowait::remember(device, errno);
                    nowait = false;
                    resident(from, at, len, calls)? < len
                }
                Err(errno) => return Err(errno.into()),
            };
            if cold && !self.warming_is_vain() {
                return Ok(None);
            }
            nowait &= !cold;
        }
    }

    /// Notes once that its bytes are sealed, for which they are read, by whatever via they were to go.
    pub(crate) fn note_sealed(&mut self) {
        let Report { asked: from, bytes: after, fallbacks, .. } = &mut self.report;
        let noted = fallbacks.iter().any(|fallback| fallback.reason == Reason::Sealed);
        if !noted && !matches!(from, Via::Auto | Via::Copy) {
            fallbacks.push(Fallback { from: *from, reason: Reason::Sealed, after: *after });
        }
    }

    /// Counts bytes that moved, by a step or along with others.
    pub(crate) fn advance(&mut self, moved: u64) {
        self.course.advance(moved);
        self.report.bytes += moved;
    }

    /// Whether a 0 from the engine is not the end of the source: some mechanisms say it of a file
    /// that is made as it is read, of a page that just went, and in front of urgent data. Only a
    /// plain read tells.
    fn source_has_more(&mut self, ends: Ends<'_>) -> bool {
        if self.report.ran == Via::Copy {
            return false;
        }
        if self.engine.as_ref().is_some_and(|engine| engine.in_flight() > 0) {
            return true;
        }
        if self.course.from.is_none() && self.course.direction.has_pipe() {
            return false; // a 0 of a pipe says that it has no writer, and nothing can look into it
        }
        let from = End { fd: ends.from, at: self.course.from };
        let nowait = self.course.settings.cold == Cold::Tell;
        // Where it is refused, or would have to wait, the copy that goes on meets the truth.
        ends::peek(from, nowait, &mut self.report.calls) != Ok(0)
    }

    fn source_ended(&mut self, ends: Ends<'_>) -> io::Result<Progress> {
        if !self.course.open_ended {
            return Ok(Progress::Truncated { missing: self.course.remaining });
        }
        self.course.remaining = 0;
        self.finish(ends)
    }

    /// After the last byte.
    fn finish(&mut self, ends: Ends<'_>) -> io::Result<Progress> {
        if self.done {
            return Ok(Progress::Done);
        }
        for engine in self.retired.iter_mut().chain(&mut self.engine) {
            match engine.settle(ends, &mut self.report) {
                Ok(()) => {}
                Err(stop) => {
                    return stop.errno().map_or(Ok(waiting(stop)), |errno| Err(errno.into()));
                }
            }
        }
        // First their mappings: the kernel keeps pages that somebody has mapped.
        (self.engine, self.retired) = (None, None);
        self.let_go_behind(ends, true)?;
        self.done = true;
        Ok(Progress::Done)
    }

    fn let_go_behind(&mut self, ends: Ends<'_>, end: bool) -> io::Result<()> {
        if self.report.cache == CachePolicy::Drop {
            let piece = self.course.piece(ends, 0, false);
            let Report { calls, bytes, .. } = &mut self.report;
            self.behind.let_go(piece.from, piece.to, *bytes, end, calls)?;
        }
        Ok(())
    }

    /// The read past the page cache that the last step would have had to wait for.
    pub(crate) fn errand(&self) -> Option<Arc<Errand>> {
        match &self.engine {
            Some(Engine::Direct(direct)) => direct.errand(),
            _ => None,
        }
    }

    /// The read of a remote file that the last step asked for.
    pub(crate) fn offloaded_read(&self) -> Option<Arc<OffloadedRead>> {
        match &self.engine {
            Some(Engine::OffloadedReads(reads)) => reads.read(),
            _ => None,
        }
    }

    /// Bytes taken from the source that have not reached the other end.
    pub(crate) fn in_flight(&self) -> u64 {
        match (&self.engine, self.course.from) {
            (Some(engine), None) => engine.in_flight() as u64,
            _ => 0, // a file still has them
        }
    }

    /// Whether nothing is left to do, not even to wait for the socket to let go.
    pub(crate) fn is_done(&self) -> bool {
        let mut engines = self.engine.iter().chain(&self.retired);
        let free = engines.all(Engine::is_free) && self.report.cache != CachePolicy::Drop;
        self.done || (self.course.remaining == 0 && free)
    }
}

/// What the caller is told to wait for.
fn waiting(stop: Stop) -> Progress {
    match stop {
        Stop::Readable => Progress::NeedsReadable,
        Stop::Writable | Stop::Refused(_) | Stop::Failed(_) | Stop::Unavailable(_) => {
            Progress::NeedsWritable
        }
        Stop::Worker => Progress::NeedsWorker,
        Stop::Release => Progress::NeedsRelease,
    }
}
