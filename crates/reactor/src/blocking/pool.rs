//! A bounded number of threads that hold one connection after the other.
//!
//! What it does badly: a connection keeps its thread while it is idle, so there is room for as
//! many as there are threads; one more takes the place of an idle one.

use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::task::Peer;

/// The threads, and the connections that wait for one.
#[derive(Default)]
pub(super) struct ThreadPool {
    bound: usize,
    state: Mutex<State>,
    available: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(OwnedFd, Peer)>,
    threads: usize,
    idle: usize,
    over: bool,
}

impl ThreadPool {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Gives the connection to a thread that is idle, or if there can be no more to the first that
    /// will be. Else it comes back, and the caller makes a thread for it.
    pub(super) fn submit(&self, socket: OwnedFd, peer: Peer) -> Option<(OwnedFd, Peer)> {
        let mut state = self.lock();
        if state.waiting.len() >= state.idle && state.threads < self.bound {
            state.threads += 1;
            return Some((socket, peer));
        }
        state.waiting.push_back((socket, peer));
        drop(state);
        self.available.notify_one();
        None
    }

    /// The thread could not be made.
    pub(super) fn thread_failed(&self) {
        self.lock().threads -= 1;
    }

    /// What a thread that is free is to do next; `None` if it has to end.
    pub(super) fn next(&self) -> Option<(OwnedFd, Peer)> {
        let mut state = self.lock();
        state.idle += 1;
        while state.waiting.is_empty() && !state.over {
            state = self.available.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        state.waiting.pop_front()
    }

    /// Ends the threads that are idle, now and whenever one becomes so.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        state.waiting.clear();
        drop(state);
        self.available.notify_all();
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
