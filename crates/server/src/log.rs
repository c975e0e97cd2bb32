//! Logs: lines written by a thread of their own.
//!
//! A line is formatted into a buffer under a short lock; a thread writes the buffer to the stream. It
//! sleeps while the buffer is empty and then gathers lines for some milliseconds, so a busy server causes
//! one wake-up per batch and not per line. The stream can be replaced: lines that were added before go to
//! the old one, and no line is lost between them.
//!
//! # Limitations
//!
//! If the reader of the stream stalls, the buffer fills up, and further lines are dropped and counted. So
//! are lines that cannot be written, as on a full disk. No response is delayed. A stream is replaced when
//! the write to the old one has returned.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes in the buffer above which lines are dropped.
const CAPACITY: usize = 1 << 20;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// How long a flush waits for a reader that has stalled.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

type Stream = Box<dyn Write + Send>;

type FaultHandler = Box<dyn Fn(&io::Error) + Send + Sync>;

/// A handle to one log. Clones write to the same.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<LogQueue>,
}

#[derive(Default)]
struct LogQueue {
    state: Mutex<LogState>,
    lines: Condvar,
    written: Condvar,
    on_fault: OnceLock<FaultHandler>,
}

#[derive(Default)]
struct LogState {
    buffer: Vec<u8>,
    dropped: u64,
    /// All that were dropped since the start.
    dropped_ever: u64,
    writing: bool,
    /// The reader has closed, so that lines are dropped without a count.
    closed: bool,
    next: Option<Next>,
}

/// The stream for later lines.
struct Next {
    stream: Stream,
    /// Bytes of the buffer in front of these lines.
    from: usize,
}

/// The stream of a log, and the result of the last write.
struct Output {
    stream: Stream,
    failing: bool,
    /// The last line has been written in part.
    torn: bool,
}

impl Log {
    /// Starts the thread `name` that writes to `stream`. `lost` makes the line in the same stream that
    /// reports the number of dropped lines.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        name: &str,
        stream: impl Write + Send + 'static,
        lost: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(LogQueue::default());
        let log = Self { shared: Arc::clone(&shared) };
        let output = Output::new(Box::new(stream));
        let write = move || shared.write_to(output, &lost);
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(log)
    }

    /// Has `handler` called, by the thread of the log, with the error of a write when lines begin to be
    /// dropped for it. Only the first handler counts.
    pub fn on_fault(&self, handler: impl Fn(&io::Error) + Send + Sync + 'static) {
        let _kept = self.shared.on_fault.set(Box::new(handler));
    }

    /// Writes the lines that are added from now on to another stream. Never waits.
    pub fn switch_to(&self, stream: impl Write + Send + 'static) {
        let mut state = self.shared.lock();
        let from = state.next.as_ref().map_or(state.buffer.len(), |next| next.from);
        state.next = Some(Next { stream: Box::new(stream), from });
        state.closed = false;
        drop(state);
        self.shared.lines.notify_one();
    }

    /// Adds a line: `format` appends its text. Never waits for the stream.
    pub fn line(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        if state.buffer.len() >= CAPACITY {
            state.dropped += 1;
            state.dropped_ever += 1;
            return;
        }
        let first = state.buffer.is_empty();
        format(&mut state.buffer);
        state.buffer.push(b'\n');
        drop(state);
        if first {
            self.shared.lines.notify_one();
        }
    }

    /// Returns how many lines have been dropped since the start: their reader is too slow, or they could not be
    /// written.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.shared.lock().dropped_ever
    }

    /// Waits until all lines are written, and the stream is replaced, but not for a reader that has stalled.
    pub fn flush(&self) {
        let busy = |state: &mut LogState| !state.closed && (state.writing || state.has_work());
        let state = self.shared.lock();
        // After the timeout the last lines are lost: a shutdown must not hang on a reader.
        let _given_up = self.shared.written.wait_timeout_while(state, FLUSH_TIMEOUT, busy);
    }
}

impl LogState {
    fn has_work(&self) -> bool {
        !self.buffer.is_empty() || self.next.is_some()
    }
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread of the log.
    fn write_to(&self, mut output: Output, lost: &dyn Fn(u64) -> String) {
        let mut batch = Vec::new();
        loop {
            let (dropped, next) = self.next_batch(&mut batch);
            if dropped > 0 {
                batch.extend_from_slice(lost(dropped).as_bytes());
                batch.push(b'\n');
            }
            let mut lines = &batch[..];
            if let Some(Next { stream, from }) = next {
                let (before, behind) = lines.split_at(from.min(lines.len()));
                self.count_unwritten(output.write(before), 0, true);
                (output, lines) = (Output::new(stream), behind);
            }
            self.count_unwritten(output.write(lines), dropped, false);
            batch.clear();
            self.lock().writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for lines, gathers for a while, and takes them all. Returns how many were dropped since the
    /// last time, and the stream for later lines.
    fn next_batch(&self, batch: &mut Vec<u8>) -> (u64, Option<Next>) {
        drop(self.lines.wait_while(self.lock(), |state| !state.has_work()));
        thread::sleep(GATHER);
        let mut state = self.lock();
        std::mem::swap(&mut state.buffer, batch);
        state.writing = true;
        (std::mem::take(&mut state.dropped), state.next.take())
    }

    /// Counts the lines that could not be written, and reports the first error. `dropped`: the lines that
    /// the last of them stands for. `replaced`: there is another stream for later lines.
    fn count_unwritten(&self, written: Result<(), Unwritten>, dropped: u64, replaced: bool) {
        let Err(Unwritten { lines, error, is_first }) = written else { return };
        let mut state = self.lock();
        if error.kind() == ErrorKind::BrokenPipe {
            state.closed = !replaced && state.next.is_none();
            if state.closed {
                state.buffer = Vec::new();
            }
            return;
        }
        // Those that the last line stands for have been counted before.
        let lost = lines.saturating_sub(u64::from(dropped > 0));
        state.dropped_ever += lost;
        state.dropped += lost + dropped;
        drop(state);
        if let Some(handler) = self.on_fault.get().filter(|_| is_first) {
            handler(&error);
        }
    }
}

/// Lines that could not be written.
struct Unwritten {
    lines: u64,
    error: io::Error,
    /// The write before it succeeded.
    is_first: bool,
}

impl Output {
    fn new(stream: Stream) -> Self {
        Self { stream, failing: false, torn: false }
    }

    /// Writes lines, and first the end of one that was written in part before.
    fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let ended = if self.torn && !lines.is_empty() { self.write_all(b"\n") } else { Ok(()) };
        let written = ended.map_err(|(_, error)| (0, error)).and_then(|()| {
            self.torn = false;
            self.write_all(lines)
        });
        let is_first = !std::mem::replace(&mut self.failing, written.is_err());
        written.map_err(|(written, error)| {
            self.torn |= written > 0 && lines.get(written - 1) != Some(&b'\n');
            let lines = count(lines.get(written..).unwrap_or_default());
            Unwritten { lines, error, is_first }
        })
    }

    /// Returns how many bytes were written before an error.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        self.stream.flush().map_err(|error| (written, error))
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

impl fmt::Debug for LogQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
