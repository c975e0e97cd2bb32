//! Logs: lines written by a thread of their own.
//!
//! A line is formatted into a buffer under a short lock; a thread writes the buffer to the stream. It
//! sleeps while the buffer is empty and then gathers lines for some milliseconds, so a busy server causes
//! one wake-up per batch and not per line.
//!
//! # Limitations
//!
//! If the reader of the stream stalls, the buffer fills up, and further lines are dropped and counted. No
//! response is delayed.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes in the buffer above which lines are dropped.
const CAPACITY: usize = 1 << 20;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// How long a flush waits for a reader that has stalled.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to one log. Clones write to the same.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<LogQueue>,
}

#[derive(Debug, Default)]
struct LogQueue {
    state: Mutex<LogState>,
    lines: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    buffer: Vec<u8>,
    dropped: u64,
    writing: bool,
    closed: bool,
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
        let write = move || shared.write_to(stream, &lost);
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(log)
    }

    /// Adds a line: `format` appends its text. Never waits for the stream.
    pub fn line(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        if state.buffer.len() >= CAPACITY {
            state.dropped += 1;
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

    /// Adds a line for the operator: `karez: ` and the text.
    pub fn notice(&self, text: &str) {
        self.line(|line| {
            line.extend_from_slice(b"karez: ");
            line.extend_from_slice(text.as_bytes());
        });
    }

    /// Waits until all lines are written, but not for a reader that has stalled.
    pub fn flush(&self) {
        let busy =
            |state: &mut LogState| !state.closed && (state.writing || !state.buffer.is_empty());
        let state = self.shared.lock();
        // After the timeout the last lines are lost: a shutdown must not hang on a reader.
        let _given_up = self.shared.written.wait_timeout_while(state, FLUSH_TIMEOUT, busy);
    }
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut stream: impl Write, lost: &dyn Fn(u64) -> String) {
        let mut batch = Vec::new();
        loop {
            self.next_batch(&mut batch, lost);
            if stream.write_all(&batch).and_then(|()| stream.flush()).is_err() {
                break; // the reader has closed
            }
            batch.clear();
            self.lock().writing = false;
            self.written.notify_all();
        }
        let mut state = self.lock();
        state.closed = true;
        state.buffer = Vec::new();
        self.written.notify_all();
    }

    /// Waits for lines, gathers for a while, and takes them all.
    fn next_batch(&self, batch: &mut Vec<u8>, lost: &dyn Fn(u64) -> String) {
        let nothing = |state: &mut LogState| state.buffer.is_empty();
        drop(self.lines.wait_while(self.lock(), nothing));
        thread::sleep(GATHER);
        let mut state = self.lock();
        std::mem::swap(&mut state.buffer, batch);
        state.writing = true;
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            batch.extend_from_slice(lost(dropped).as_bytes());
            batch.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn lost(count: u64) -> String {
        format!("lost {count}")
    }

    #[test]
    fn lines_arrive_in_order() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let log = Log::start("log", stream, lost).unwrap();
        for number in 0..100 {
            log.line(|line| line.extend_from_slice(number.to_string().as_bytes()));
        }
        log.flush();
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        let mut text = vec![0; expected.len()];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn lines_are_dropped_and_counted_while_the_reader_stalls() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let log = Log::start("log", stream, lost).unwrap();
        let line = "x".repeat(999);
        // More than the buffer, the batch that is being written and the socket hold.
        let total = 5 * CAPACITY / 1000;
        for _ in 0..total {
            log.line(|out| out.extend_from_slice(line.as_bytes()));
        }
        let mut text = Vec::new();
        let mut counted = 0;
        while counted < total {
            let mut part = [0; 65536];
            let count = reader.read(&mut part).unwrap();
            text.extend_from_slice(&part[..count]);
            let Some(end) = text.iter().rposition(|&byte| byte == b'\n') else { continue };
            let lines = String::from_utf8(text.drain(..=end).collect()).unwrap();
            for line in lines.lines() {
                counted += match line.strip_prefix("lost ") {
                    Some(count) => count.parse::<usize>().unwrap(),
                    None => 1,
                };
            }
        }
        assert_eq!(counted, total);
    }

    #[test]
    fn lines_are_dropped_after_the_reader_has_closed() {
        let (stream, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let log = Log::start("log", stream, lost).unwrap();
        log.line(|line| line.push(b'x'));
        log.flush();
        log.line(|line| line.push(b'y'));
        assert!(log.shared.lock().buffer.is_empty());
    }
}
