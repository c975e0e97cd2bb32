//! A bounded number of threads that serve one connection after the other.
//!
//! # Limitations
//!
//! A connection keeps its thread while it is idle, so there are as many connections as threads; one more
//! evicts an idle one.

use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::task::Peer;

/// The threads, and the connections that wait for one.
#[derive(Default)]
pub(super) struct ThreadPool {
    bound: usize,
    state: Mutex<ThreadPoolState>,
    available: Condvar,
}

#[derive(Default)]
struct ThreadPoolState {
    waiting: VecDeque<(OwnedFd, Peer)>,
    threads: usize,
    idle: usize,
    over: bool,
}

impl ThreadPool {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Queues the connection for a thread that is idle or, if there can be no more threads, for the first
    /// that will be. Otherwise returns it, and the caller makes a thread for it.
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

    /// Notes that a thread could not be made.
    pub(super) fn thread_failed(&self) {
        self.lock().threads -= 1;
    }

    /// Returns the next connection of a thread that is free; `None` if it has to end.
    pub(super) fn next(&self) -> Option<(OwnedFd, Peer)> {
        let mut state = self.lock();
        state.idle += 1;
        while state.waiting.is_empty() && !state.over {
            state = self.available.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        state.waiting.pop_front()
    }

    /// Ends the threads that are idle, and each other as soon as it is idle.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        state.waiting.clear();
        drop(state);
        self.available.notify_all();
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, ThreadPoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
