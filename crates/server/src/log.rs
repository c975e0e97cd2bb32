//! Logs: lines written by a thread of their own.
//!
//! A line is formatted into a buffer under a short lock; a thread carries the buffer to its
//! stream. It sleeps while there is nothing and then gathers for some milliseconds, so a busy
//! server makes a wake-up per batch and not per line. When the stream's reader stalls, the buffer
//! fills up, further lines are dropped and counted, and no response is any slower.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the buffer holds before lines are dropped.
const CAPACITY: usize = 1 << 20;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// How long the last lines may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A handle to one log. Clones write to the same.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    lines: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    dropped: u64,
    writing: bool,
    closed: bool,
}

impl Log {
    /// Starts the thread `name` that writes to `stream`. `lost` makes the line, of the same stream,
    /// that says how many lines were dropped.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn start(
        name: &str,
        stream: impl Write + Send + 'static,
        lost: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let log = Self { shared: Arc::clone(&shared) };
        let write = move || shared.write_to(stream, &lost);
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(log)
    }

    /// Adds a line: what `format` appends, and a newline. Never waits for the stream.
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

    /// Adds a line for the operator.
    pub(crate) fn notice(&self, text: &str) {
        self.line(|line| {
            line.extend_from_slice(b"karez: ");
            line.extend_from_slice(text.as_bytes());
        });
    }

    /// Waits until all lines are written, but not for a reader that has stalled.
    pub fn flush(&self) {
        let busy = |state: &mut State| !state.closed && (state.writing || !state.buffer.is_empty());
        let state = self.shared.lock();
        // Not written by then: the reader stalls, and an end is more use than a line.
        let _given_up = self.shared.written.wait_timeout_while(state, LAST_WORDS, busy);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut stream: impl Write, lost: &dyn Fn(u64) -> String) {
        let mut batch = Vec::new();
        loop {
            self.next_batch(&mut batch, lost);
            if stream.write_all(&batch).and_then(|()| stream.flush()).is_err() {
                break; // nobody reads it any more
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

    /// Waits for lines, gathers a little, and takes them all.
    fn next_batch(&self, batch: &mut Vec<u8>, lost: &dyn Fn(u64) -> String) {
        let nothing = |state: &mut State| state.buffer.is_empty();
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
    fn a_stalled_reader_costs_lines_and_they_are_counted() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let log = Log::start("log", stream, lost).unwrap();
        let line = "x".repeat(999);
        // More than the buffer, the batch that is being written and the socket can take.
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
    fn a_reader_that_is_gone_is_forgotten() {
        let (stream, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let log = Log::start("log", stream, lost).unwrap();
        log.line(|line| line.push(b'x'));
        log.flush();
        log.line(|line| line.push(b'y'));
        assert!(log.shared.lock().buffer.is_empty());
    }
}
