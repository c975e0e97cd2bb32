//! The connections that have a thread: another thread shuts a socket down to wake it.

use karez_sys::unacknowledged;
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};
use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::admission::EXAMINED;
use crate::task::Reason;

/// The interval at which a server that drains checks for its end. It is not woken for that: the end of a
/// connection is noticed at once, a signal a moment later.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// How long a thread may take to end an idle connection; then another connection is evicted, too. Only a file
/// system that hangs when a file is closed takes so long.
const LEAVING: Duration = Duration::from_secs(1);

/// All connections that have a thread.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<RegistryState>,
    left: Condvar,
}

#[derive(Default)]
struct RegistryState {
    /// Nothing is accepted any more.
    retired: bool,
    /// Idle connections end.
    stopping: bool,
    next: u64,
    entries: HashMap<u64, Entry>,
}

struct Entry {
    socket: Arc<OwnedFd>,
    idle_since: Option<Instant>,
    /// It has received nothing yet.
    new: bool,
    /// Its receiving side has been shut down for this reason, at this time.
    ending: Option<(Reason, Instant)>,
    /// Its thread has noticed that, and ends.
    leaving: bool,
}

/// One connection's entry, for as long as its thread runs.
pub(super) struct Guard<'a> {
    registry: &'a Registry,
    number: u64,
    /// Whether the entry is marked idle. Only this guard marks it.
    idle: Cell<bool>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Returns whether connections are to be accepted.
    pub(super) fn is_accepting(&self) -> bool {
        !self.lock().retired
    }

    /// Ends the acceptors, also one that waits for an exit.
    pub(super) fn stop_accepting(&self) {
        self.lock().retired = true;
        self.left.notify_all();
    }

    /// Waits until the condition holds, which has no notification of its own.
    pub(super) fn wait_until(&self, holds: impl Fn() -> bool) {
        while !holds() {
            let _left = self.left.wait_timeout(self.lock(), DRAIN_CHECK);
        }
    }

    pub(super) fn enter(&self, socket: Arc<OwnedFd>) -> Guard<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.entries.insert(
            number,
            Entry { socket, idle_since: None, new: true, ending: None, leaving: false },
        );
        Guard { registry: self, number, idle: Cell::new(false) }
    }

    /// Ends the connection that has been idle longest and waits, at most so long, until a connection is
    /// closed. A connection with unread bytes is not idle, and one whose peer has not received all of its response is
    /// taken only if the next oldest are such ones, too; it often has for a moment only, so a connection that has just
    /// been accepted does not end in its place. If its request arrives meanwhile it is answered, for only the
    /// receiving side is shut down. While one ends already, it only waits.
    pub(super) fn evict_idle(&self, pause: Duration) {
        let mut state = self.lock();
        if !state.entries.values().any(Entry::ends_soon) {
            state.end_oldest_idle(pause);
        }
        let _left = self.left.wait_timeout(state, pause);
    }

    /// Waits, at most so long, until a connection is closed; not at all once the shutdown has begun.
    pub(super) fn wait_for_exit(&self, pause: Duration) {
        let state = self.lock();
        if !state.stopping {
            let _left = self.left.wait_timeout(state, pause);
        }
    }

    /// Ends idle connections, and each other as soon as it is idle.
    pub(super) fn close_idle(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for entry in state.entries.values_mut().filter(|entry| entry.idle_since.is_some()) {
            entry.end(Reason::Shutdown);
        }
    }

    /// Waits until all connections are closed, at most for `grace`, then ends the rest.
    pub(super) fn drain(&self, grace: Duration) {
        let crowded = |state: &mut RegistryState| !state.entries.is_empty();
        let waited = self.left.wait_timeout_while(self.lock(), grace, crowded);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for entry in state.entries.values() {
            hang_up(&entry.socket);
        }
    }
}

impl RegistryState {
    /// Ends the connection that has been idle longest. `pause`: the time that a new one has for its first request if
    /// an older one was passed over; nothing ends before it.
    fn end_oldest_idle(&mut self, pause: Duration) {
        let entries = self.entries.values_mut();
        let mut idle: Vec<_> = entries.filter_map(|one| Some((one.idle_since?, one))).collect();
        idle.sort_unstable_by_key(|&(since, _)| since);
        let idle = idle.into_iter().filter(|(_, one)| !has_unread(&one.socket));
        let (mut receiving, mut waits) = (None, false);
        for (since, one) in idle.take(EXAMINED) {
            if has_unacknowledged(&one.socket) {
                receiving.get_or_insert(one);
            } else if receiving.is_some() && one.new && since.elapsed() < pause {
                waits = true;
            } else {
                return one.end(Reason::Evicted);
            }
        }
        if let Some(oldest) = receiving.filter(|_| !waits) {
            oldest.end(Reason::Evicted);
        }
    }
}

impl Entry {
    /// Returns whether it was shut down while it was idle, and its thread has not left yet.
    fn ends_soon(&self) -> bool {
        let recently = self.ending.is_some_and(|(_, at)| at.elapsed() < LEAVING);
        recently && (self.idle_since.is_some() || self.leaving)
    }

    /// Lets its thread receive the end of the stream. The task can still send.
    fn end(&mut self, reason: Reason) {
        self.ending = Some((reason, Instant::now()));
        // A socket that is not connected any more has woken its thread already.
        let _closed = shutdown(&self.socket, Shutdown::Read);
    }
}

fn has_unread(socket: &OwnedFd) -> bool {
    ioctl_fionread(socket).is_ok_and(|count| count > 0)
}

fn has_unacknowledged(socket: &OwnedFd) -> bool {
    unacknowledged(socket.as_fd()).is_ok_and(|count| count > 0)
}

fn hang_up(socket: &OwnedFd) {
    // A socket that is not connected any more has woken its thread already.
    let _closed = shutdown(socket, Shutdown::Both);
}

impl Guard<'_> {
    /// Marks the connection idle or busy; false if it has to end instead.
    pub(super) fn set_idle(&self, idle: bool) -> bool {
        if !self.idle.replace(idle) && !idle {
            return true; // busy before and now: all threads share the lock
        }
        let mut state = self.registry.lock();
        let stopping = state.stopping;
        if let Some(entry) = state.entries.get_mut(&self.number) {
            entry.idle_since = idle.then(Instant::now);
            entry.new &= idle;
        }
        !(stopping && idle)
    }

    /// Returns why the receiving side has been shut down, if it has: then the connection has to end.
    pub(super) fn leave(&self) -> Option<Reason> {
        let mut state = self.registry.lock();
        let entry = state.entries.get_mut(&self.number)?;
        let (reason, _) = entry.ending?;
        entry.leaving = true;
        Some(reason)
    }

    /// Closes the socket, and then wakes the acceptor, which may wait for the descriptor.
    pub(super) fn close(self, socket: Arc<OwnedFd>) {
        self.registry.lock().entries.remove(&self.number);
        drop(socket);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.registry.lock().entries.remove(&self.number);
        self.registry.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Returns an idle connection and its peer.
    fn idle<'a>(
        registry: &'a Registry,
        listener: &TcpListener,
    ) -> (Guard<'a>, TcpStream, TcpStream) {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let guard = registry.enter(Arc::new(socket.try_clone().unwrap().into()));
        assert!(guard.set_idle(true));
        (guard, socket, peer)
    }

    fn ends(registry: &Registry, guard: &Guard<'_>) -> bool {
        registry.lock().entries[&guard.number].ending.is_some()
    }

    #[test]
    fn a_new_connection_does_not_end_at_once_in_place_of_one_that_receives() {
        let registry = Registry::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (older, mut socket, _reads_nothing) = idle(&registry, &listener);
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 1 << 16]).is_ok() {}
        let (new, _socket, _peer) = idle(&registry, &listener);
        let ended = || [&older, &new].map(|guard| ends(&registry, guard));
        registry.lock().end_oldest_idle(HOUR);
        assert_eq!(ended(), [false, false], "its first request may be on the way");
        registry.lock().end_oldest_idle(Duration::ZERO);
        assert_eq!(ended(), [false, true], "the older one still receives");
    }

    #[test]
    fn the_oldest_ends_also_if_all_are_new() {
        let registry = Registry::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (oldest, socket, mut peer) = idle(&registry, &listener);
        let (other, _other_socket, _other_peer) = idle(&registry, &listener);
        registry.lock().end_oldest_idle(HOUR);
        assert!(ends(&registry, &oldest) && !ends(&registry, &other));
        drop(oldest);
        drop(socket);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}
