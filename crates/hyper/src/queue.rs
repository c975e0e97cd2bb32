//! The files of one connection that its bodies have promised and its socket has not sent yet.
//!
//! A body promises bytes and passes placeholders for them to hyper; the socket gets these, in order, and
//! moves the promised bytes instead. Both run in the task of the connection, so the lock is never
//! contended.

use karez_transfer::FileToSocket;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::report::Observer;

/// The queue of a connection.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    files: VecDeque<Promised>,
    /// The promised bytes of all files.
    promised: u64,
    /// The number of the last file.
    number: u64,
    closed: bool,
}

/// A file, with the bytes that placeholders stand for.
#[derive(Debug)]
struct Promised {
    number: u64,
    transfer: FileToSocket,
    promised: u64,
    /// The body promises no more bytes of it.
    complete: bool,
    observer: Observer,
}

impl Queue {
    /// Appends a file, and returns its number. An error if the socket has been dropped.
    pub(crate) fn push(&self, transfer: FileToSocket, observer: Observer) -> io::Result<u64> {
        let mut state = self.lock();
        if state.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.number += 1;
        let number = state.number;
        let file = Promised { number, transfer, promised: 0, complete: false, observer };
        state.files.push_back(file);
        Ok(number)
    }

    /// Promises bytes of a file.
    pub(crate) fn promise(&self, number: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.lock();
        let Some(file) = state.files.iter_mut().find(|file| file.number == number) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        file.promised += bytes;
        state.promised += bytes;
        Ok(())
    }

    /// Records that no more bytes of a file will be promised.
    pub(crate) fn complete(&self, number: u64) {
        let mut state = self.lock();
        if let Some(file) = state.files.iter_mut().find(|file| file.number == number) {
            file.complete = true;
        }
        let ended = state.take_ended();
        drop(state);
        drop(ended); // the observers run without the lock
    }

    /// Drops all files, and refuses others.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.promised = 0;
        let files = std::mem::take(&mut state.files);
        drop(state);
        drop(files);
    }

    /// Returns for how many bytes placeholders are on their way.
    pub(crate) fn promised(&self) -> u64 {
        self.lock().promised
    }

    /// Moves bytes of the first file by `send`, which gets the transfer and the most bytes to move.
    pub(crate) fn send_first<T>(
        &self,
        send: impl FnOnce(&mut FileToSocket, u64) -> T,
        moved: impl FnOnce(&T) -> u64,
    ) -> Option<T> {
        let mut state = self.lock();
        let file = state.files.iter_mut().find(|file| file.promised > 0)?;
        let sent = send(&mut file.transfer, file.promised);
        let moved = moved(&sent);
        file.promised = file.promised.saturating_sub(moved);
        state.promised = state.promised.saturating_sub(moved);
        let ended = state.take_ended();
        drop(state);
        drop(ended);
        Some(sent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the files that have been sent off the front.
    fn take_ended(&mut self) -> Vec<Promised> {
        let mut ended = Vec::new();
        while self.files.front().is_some_and(|file| file.complete && file.promised == 0) {
            ended.extend(self.files.pop_front());
        }
        ended
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.observer.report(self.transfer.report());
    }
}
