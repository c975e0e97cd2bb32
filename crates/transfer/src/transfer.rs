//! The state machine behind all directions: one transfer of bytes, resumable at any byte.
//!
//! The type of each direction passes the descriptors to every step.

use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::drop_behind::{DropBehind, advise_sequential};
use crate::edit::Edit;
use crate::endpoint_io;
use crate::interrupted::ATTEMPTS;
use crate::method::Method;
use crate::page_in::Retries;
use crate::report::{Reason, Report};
use crate::residency::{Proof, Residency};
use crate::settings::{CachePolicy, OnMiss, Settings};
use crate::step::{Blocked, Descriptors, Endpoint, Progress, Request};
use crate::version::Version;
use crate::via::auto::learned::Sample;
use crate::via::{Via, auto};

mod fall_back;
mod lead;
mod read_ahead;
mod ready;

pub(crate) struct Transfer {
    pub(crate) direction: Direction,
    pub(crate) settings: Settings,
    pub(crate) cursor: Cursor,
    pub(crate) edits: Option<Arc<[Edit]>>,
    /// The version that the source must have when its last byte is sent.
    pub(crate) version: Option<Version>,
    pub(crate) report: Report,
    /// `None` before the first step, and after the last.
    backend: Option<Method>,
    /// The backend of an unsupported via, while the socket may still refer to its memory.
    retired: Option<Method>,
    drop_behind: DropBehind,
    retries: Retries,
    /// The bytes that are known to be in memory.
    proof: Proof,
    /// The memory that the transfers of the open file share.
    residency: Option<Arc<Residency>>,
    /// Bytes in memory that are written before those of the source.
    lead: Vec<u8>,
    /// The bytes moved before the current backend was set up.
    started_at: u64,
    /// `auto` has chosen `copy`, and prefers `sendfile` if the bytes are not in memory.
    provisional: bool,
    /// `auto` measures the cost of this transfer.
    sample: Option<Sample>,
    /// The socket makes records.
    pub(crate) records: bool,
    done: bool,
}

impl Transfer {
    /// Makes no system call.
    pub(crate) fn new(direction: Direction, cursor: Cursor, settings: Settings) -> Self {
        Self {
            report: Report::new(direction, settings.via),
            direction,
            settings,
            cursor,
            edits: None,
            version: None,
            backend: None,
            retired: None,
            drop_behind: DropBehind::default(),
            retries: Retries::default(),
            proof: Proof::default(),
            residency: None,
            lead: Vec::new(),
            started_at: 0,
            provisional: false,
            sample: None,
            records: false,
            done: false,
        }
    }

    /// Returns the same transfer by `cow`, with edits.
    pub(crate) fn edited(self, edits: Arc<[Edit]>) -> Self {
        let settings = Settings { via: Via::Cow, ..self.settings };
        Self { edits: Some(edits), ..Self::new(self.direction, self.cursor, settings) }
    }

    /// Moves at most `at_most` and [`Settings::max_per_step`] bytes. `more`: bytes of the outbox follow.
    pub(crate) fn step(
        &mut self,
        fds: Descriptors<'_>,
        more: bool,
        at_most: u64,
    ) -> io::Result<Progress> {
        if at_most == 0 && self.cursor.remaining > 0 {
            return Ok(Progress::Moved(0));
        }
        if !self.lead.is_empty() {
            return self.step_lead(fds, at_most);
        }
        if self.backend.is_none() && self.cursor.remaining > 0 && !self.done {
            self.start(fds);
        }
        let Some(mut sample) = self.sample.take() else {
            return self.run_step(fds, more, at_most);
        };
        let progress = sample.time(|| self.run_step(fds, more, at_most));
        match &progress {
            Ok(_) if self.cursor.remaining == 0 => sample.complete(self.report.effective),
            Ok(_) => self.sample = Some(sample),
            Err(_) => {}
        }
        progress
    }

    fn run_step(&mut self, fds: Descriptors<'_>, more: bool, at_most: u64) -> io::Result<Progress> {
        let before = self.report.bytes;
        let budget = self.settings.max_per_step.min(at_most);
        let mut interrupted = 0;
        while self.cursor.remaining > 0 && !self.done {
            let chunk = self.chunk().min(at_most - (self.report.bytes - before));
            match self.attempt(fds, chunk, more) {
                Ok(0) if self.report.bytes == before => {
                    if !self.source_has_more(fds) {
                        return self.source_ended(fds);
                    }
                    self.fall_back(Reason::EarlyEnd, fds)?;
                }
                Ok(moved) => {
                    self.advance(moved);
                    let budget_left = self.report.bytes - before < budget;
                    // After a short count the next call would most likely block.
                    if moved < chunk || !budget_left {
                        break;
                    }
                }
                Err(Blocked::Retry) => {}
                Err(blocked) if blocked.errno() == Some(Errno::INTR) => {
                    interrupted += 1;
                    if interrupted == ATTEMPTS {
                        return Ok(Progress::Moved(self.report.bytes - before));
                    }
                }
                Err(Blocked::Miss) if self.provisional => self.switch_to(Via::Sendfile),
                Err(Blocked::Miss) if self.report.bytes == before && self.retries_exhausted() => {
                    self.set_on_miss(OnMiss::Block);
                }
                Err(blocked) => match blocked.reason() {
                    Some(reason) if self.falls_back(blocked) => self.fall_back(reason, fds)?,
                    None if self.report.bytes > before => break,
                    _ => return blocked.into_progress(),
                },
            }
        }
        let moved = self.report.bytes - before;
        if moved == 0 {
            return self.finish(fds);
        }
        self.drop_behind(fds, false)?;
        Ok(Progress::Moved(moved))
    }

    /// Returns the most bytes that one system call asks for.
    fn chunk(&self) -> u64 {
        let natural = self.backend.as_ref().map_or(0, |backend| backend.chunk());
        let chunk = self.settings.chunk.map_or(natural, u64::from);
        chunk.clamp(1, self.cursor.remaining)
    }

    fn attempt(
        &mut self,
        fds: Descriptors<'_>,
        mut chunk: u64,
        more: bool,
    ) -> Result<u64, Blocked> {
        let report_misses = self.settings.on_miss == OnMiss::Report;
        if let (true, Some(at)) = (report_misses, self.cursor.from)
            && self.backend.as_ref().is_some_and(|backend| backend.reads_pages())
        {
            chunk = self.ready_bytes(fds.from, at, chunk)?;
            if chunk == 0 {
                return Err(Blocked::Miss);
            }
        }
        let Self { direction, settings, cursor, edits, version, report, backend, records, .. } =
            self;
        let Some(backend) = backend else {
            return Err(Blocked::Bug("the transfer has no method"));
        };
        let request = Request {
            from: Endpoint { fd: fds.from, at: cursor.from },
            to: Endpoint { fd: fds.to, at: cursor.to },
            len: cursor.remaining,
            chunk: chunk.min(cursor.remaining),
            more,
            records: *records,
            uncached: report.cache == CachePolicy::Uncached,
            report_misses,
            pipes: direction.has_pipe(),
            pipe_size: settings.pipe_size,
            edits: edits.as_deref().unwrap_or_default(),
            version: *version,
        };
        if !backend.verifies() {
            request.verify(request.count(), &mut report.calls)?;
        }
        backend.step(request, report)
    }

    /// Chooses the via before the first byte.
    fn start(&mut self, fds: Descriptors<'_>) {
        if self.offloads_reads() {
            self.report.switch_to(Via::Copy);
            self.backend = Some(Method::offloaded());
            return;
        }
        let (direction, requested, cache) =
            (self.direction, self.report.requested, self.settings.cache);
        let via = match requested {
            Via::Auto => {
                let choice = auto::Choice {
                    direction,
                    len: self.cursor.remaining,
                    edited: self.edits.as_ref().is_some_and(|edits| !edits.is_empty()),
                    cache,
                };
                let (via, sample) = choice.choose(fds, &mut self.report.calls);
                self.sample = sample;
                via
            }
            Via::Copy if cache == CachePolicy::Direct && direction.has(Via::Direct) => Via::Direct,
            _ => requested,
        };
        self.report.cache = match (cache, via) {
            (CachePolicy::Uncached, Via::Copy) | (CachePolicy::Direct, Via::Direct) => cache,
            (CachePolicy::Uncached | CachePolicy::Direct, _) => CachePolicy::Drop,
            (cache, _) => cache,
        };
        if let (CachePolicy::Sequential, Some(at)) = (cache, self.cursor.from) {
            advise_sequential(fds.from, at, self.cursor.remaining, &mut self.report.calls);
        }
        self.provisional = requested == Via::Auto
            && via == Via::Copy
            && direction == Direction::FileToSocket
            && self.edits.is_none()
            && self.report.cache == cache
            && cache != CachePolicy::Uncached;
        self.set_method(via);
        if !direction.has(via) {
            self.record_fallback(via, Reason::NotOffered, Via::Copy);
        }
    }

    /// Moves the rest by another via, which is not a fallback.
    fn switch_to(&mut self, via: Via) {
        self.provisional = false;
        self.set_method(via);
    }

    fn set_method(&mut self, via: Via) {
        self.report.switch_to(via);
        self.started_at = self.report.bytes;
        let mut backend = Method::of(via, self.direction);
        // `copy` reads only bytes in memory, so that a miss is reported or `sendfile` runs instead.
        let nowait = self.settings.on_miss == OnMiss::Report || self.provisional;
        backend.set_nowait(nowait && self.cursor.from.is_some(), self.settings.device);
        self.backend = Some(backend);
    }

    /// Sets, from the next step on, whether a miss is reported.
    pub(crate) fn set_on_miss(&mut self, on_miss: OnMiss) {
        self.settings.on_miss = on_miss;
        if let Some(backend) = &mut self.backend {
            let nowait = on_miss == OnMiss::Report && self.cursor.from.is_some();
            backend.set_nowait(nowait, self.settings.device);
        }
    }

    /// Returns whether page-ins of the next bytes have been tried often enough.
    fn retries_exhausted(&mut self) -> bool {
        self.retries.exhausted(self.cursor.from)
    }

    /// Returns whether no step may make a call on the file, because its file system may never answer.
    pub(crate) fn offloads_reads(&self) -> bool {
        self.settings.device.remote
            && self.settings.on_miss == OnMiss::Report
            && self.direction == Direction::FileToSocket
            && self.cursor.from.is_some()
            && self.edits.is_none()
    }

    /// Counts bytes that moved, in a step or in a buffer of the outbox.
    pub(crate) fn advance(&mut self, moved: u64) {
        self.cursor.advance(moved);
        self.report.bytes += moved;
    }

    /// Drops the pages of bytes that an event loop has read and sent itself, where the policy asks for it.
    pub(crate) fn drop_read(&mut self, file: BorrowedFd<'_>) {
        let keeps = matches!(self.settings.cache, CachePolicy::Keep | CachePolicy::Sequential);
        // A step drops them itself; and a call on a remote file might block.
        if keeps || self.backend.is_some() || self.settings.device.remote {
            return;
        }
        let (from, to) =
            (Endpoint { fd: file, at: self.cursor.from }, Endpoint { fd: file, at: None });
        let end = self.cursor.remaining == 0;
        self.report.cache = CachePolicy::Drop;
        let Report { calls, bytes, .. } = &mut self.report;
        // Only dropping pages of a sink can fail.
        let _no_sink = self.drop_behind.advance(from, to, *bytes, end, calls);
    }

    /// Returns whether a 0 of the backend is not the end of the source. Some system calls return 0 for
    /// a file that is generated as it is read, for a page that has just been evicted, and in front of
    /// urgent data; only a plain read is reliable.
    fn source_has_more(&mut self, fds: Descriptors<'_>) -> bool {
        if self.report.effective == Via::Copy {
            return false;
        }
        if self.backend.as_ref().is_some_and(|backend| backend.buffered() > 0) {
            return true;
        }
        if self.cursor.from.is_none() && self.direction.has_pipe() {
            return false; // a 0 of a pipe means that it has no writer, and nothing can peek into it
        }
        let from = Endpoint { fd: fds.from, at: self.cursor.from };
        let nowait = self.settings.on_miss == OnMiss::Report;
        // If the call is refused or would block, the read of `copy` finds the end.
        endpoint_io::peek(from, nowait, &mut self.report.calls) != Ok(0)
    }

    fn source_ended(&mut self, fds: Descriptors<'_>) -> io::Result<Progress> {
        if !self.cursor.open_ended {
            return Ok(Progress::Truncated { missing: self.cursor.remaining });
        }
        self.cursor.remaining = 0;
        self.finish(fds)
    }

    /// Completes the transfer after the last byte.
    fn finish(&mut self, fds: Descriptors<'_>) -> io::Result<Progress> {
        if self.done {
            return Ok(Progress::Done);
        }
        for backend in self.retired.iter_mut().chain(&mut self.backend) {
            if let Err(blocked) = backend.poll_release(fds.to, &mut self.report) {
                return blocked.into_progress();
            }
        }
        // Unmaps first: the kernel keeps pages that are mapped.
        (self.backend, self.retired) = (None, None);
        self.drop_behind(fds, true)?;
        self.done = true;
        Ok(Progress::Done)
    }

    fn drop_behind(&mut self, fds: Descriptors<'_>, end: bool) -> io::Result<()> {
        if self.report.cache == CachePolicy::Drop {
            let from = Endpoint { fd: fds.from, at: self.cursor.from };
            let to = Endpoint { fd: fds.to, at: self.cursor.to };
            let Report { calls, bytes, .. } = &mut self.report;
            self.drop_behind.advance(from, to, *bytes, end, calls)?;
        }
        Ok(())
    }

    /// Returns how many bytes have been taken from a stream and have not reached the sink. A file still
    /// has its bytes.
    pub(crate) fn in_flight(&self) -> u64 {
        match (&self.backend, self.cursor.from) {
            (Some(backend), None) => backend.buffered() as u64,
            _ => self.lead.len() as u64,
        }
    }

    /// Returns whether no further step is necessary, not even to wait for a `MSG_ZEROCOPY` completion.
    pub(crate) fn is_done(&self) -> bool {
        let mut backends = self.backend.iter().chain(&self.retired);
        let free = backends.all(|backend| backend.holds_no_user_memory())
            && self.report.cache != CachePolicy::Drop;
        self.done || (self.cursor.remaining == 0 && free)
    }
}
