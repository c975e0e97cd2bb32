//! Accepting on a completion model, and what happens when there is no room.
//!
//! One operation accepts many, so there may be several pending when the last place is taken.
//! They wait, the operation is cancelled, and it is begun anew when all are in.

use karez_sys::{Handle, Key, Operation};
use rustix::io::{self, Errno};
use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::connection::CompletionConnection;
use super::event_loop::{LISTENER, Proactor};
use crate::driver::Completer;
use crate::listener::{Listener, peer_gave_up};
use crate::selector::Token;
use crate::sync::balancer::LeastConnections;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::Context;
use crate::task::{Peer, Reason, Service};

/// What became of an attempt to make room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eviction {
    Done,
    /// Somebody was eviction_requested to leave.
    Pending,
    Impossible,
}

/// The listeners, and who waits there.
pub(super) struct Acceptor<D> {
    listeners: Vec<Listening>,
    /// Who gets the connections, if that is not this event loop itself.
    balancer: LeastConnections<D>,
    /// Accepted when there was no room: the first to be let in when there is.
    pending: VecDeque<(OwnedFd, Peer)>,
    /// No accepting until then: there is no room or no descriptor for more.
    pub(super) backoff_until: Option<Instant>,
    /// The others were eviction_requested to make room.
    pub(super) eviction_requested: bool,
}

struct Listening {
    listener: Listener,
    accept: Option<Key>,
}

impl<D> Acceptor<D> {
    pub(super) fn new(listeners: Vec<Listener>, balancer: Vec<Arc<Inbox<D>>>) -> Self {
        let listening = |listener| Listening { listener, accept: None };
        Self {
            listeners: listeners.into_iter().map(listening).collect(),
            balancer: LeastConnections::new(balancer),
            pending: VecDeque::new(),
            backoff_until: None,
            eviction_requested: false,
        }
    }

    /// Ends the pause of one who waits for room.
    pub(super) fn try_again(&mut self) {
        if !self.pending.is_empty() {
            self.backoff_until = None;
        }
    }
}

impl<S: Service, C: Completer> Proactor<'_, S, C> {
    /// Begins to accept wherever nothing stands in the way.
    pub(super) fn accept(&mut self) {
        if self.acceptor.backoff_until.is_some() || !self.acceptor.pending.is_empty() {
            return;
        }
        for (listening, number) in self.acceptor.listeners.iter_mut().zip(0..) {
            if listening.accept.is_none() {
                let operation = Operation::Accept(listening.listener.handle());
                listening.accept = Some(self.backend.driver.start(LISTENER - number, operation));
            }
        }
    }

    pub(super) fn accepted(&mut self, tag: u64, last: bool, accepted: io::Result<OwnedFd>) {
        let number = usize::try_from(LISTENER - tag).unwrap_or(usize::MAX);
        let Some(listening) = self.acceptor.listeners.get_mut(number) else {
            return; // the stop came first
        };
        if last {
            listening.accept = None;
        }
        match accepted {
            Ok(socket) => {
                // One that has left again has no address, and nobody misses it.
                if let Ok(peer) = listening.listener.peer_of(&socket) {
                    self.acceptor.pending.push_back((socket, peer));
                }
            }
            Err(Errno::CANCELED | Errno::AGAIN) => {}
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough, but its descriptor is not free at once.
            Err(Errno::MFILE) => {
                if self.evict_idle() == Eviction::Impossible && !self.acceptor.balancer.is_empty() {
                    self.request_eviction();
                }
                self.back_off();
            }
            Err(_) => self.back_off(),
        }
    }

    /// Lets pending in, if need be in the place of others; otherwise they wait, nobody else is
    /// accepted, and the other reactors are eviction_requested whether they have somebody idle.
    pub(super) fn admit_all(&mut self) {
        if self.acceptor.backoff_until.is_some_and(|until| until <= self.now) {
            self.acceptor.backoff_until = None;
        }
        if self.acceptor.backoff_until.is_some() {
            return;
        }
        if mem::take(&mut self.acceptor.eviction_requested) {
            self.admission.set_eviction_wanted(false);
        }
        while self.acceptor.backoff_until.is_none()
            && let Some((socket, peer)) = self.acceptor.pending.pop_front()
        {
            let room = self.enter();
            if room != Eviction::Done {
                self.acceptor.pending.push_front((socket, peer));
                if room == Eviction::Impossible {
                    self.request_eviction();
                }
                return self.stop_accepting();
            }
            if let Some(target) = self.acceptor.balancer.next() {
                target.inc_load();
                target.push(Notification::Accepted(socket, peer));
            } else {
                self.inbox.inc_load();
                self.register(socket, peer);
            }
        }
    }

    fn enter(&mut self) -> Eviction {
        while !self.admission.enter() {
            match self.evict_idle() {
                Eviction::Done => {}
                room => return room,
            }
        }
        Eviction::Done
    }

    /// Takes a connection that has been let in for its own.
    pub(super) fn register(&mut self, socket: OwnedFd, peer: Peer) {
        // Its own number for the other direction, where the model needs one.
        let out = C::SERIALISES.then(|| io::fcntl_dupfd_cloexec(&socket, 0)).transpose();
        let Ok(out) = out else {
            return self.requeue(socket, peer);
        };
        let socket: Handle = Arc::new(socket);
        let out = out.map_or_else(|| Arc::clone(&socket), |out| Arc::new(out) as Handle);
        let task = self.service.connect(peer, self.now);
        let token = self.connections.insert(CompletionConnection::new(socket, out, task, self.now));
        let mut messages = self.messages.take();
        let waker = Arc::clone(self.inbox.shared_waker());
        self.with_connection(token, |connection, cx| {
            let context = Context { token, queue: &mut messages, waker: Some(&waker) };
            connection.open(context, cx);
        });
        self.messages = messages;
        self.advance(token);
    }

    /// There was no second descriptor for a connection that has been let in: it goes back to the
    /// door until somebody has left. Where there is nobody who could, it is closed, or all would
    /// wait for each other's.
    fn requeue(&mut self, socket: OwnedFd, peer: Peer) {
        self.leave();
        if self.connections.len() == 0 {
            return;
        }
        self.evict_idle();
        self.acceptor.pending.push_front((socket, peer));
        self.stop_accepting();
        self.back_off();
    }

    /// One less is here, so there is room, for the one who waits here or elsewhere.
    pub(super) fn leave(&mut self) {
        self.inbox.dec_load();
        self.admission.leave();
        self.acceptor.try_again();
        if self.acceptor.pending.is_empty() && self.admission.take_eviction_request() {
            self.stop.wake_all();
        }
    }

    /// Closes the connection that has been idle longest. If none is, accepting pauses until one
    /// ends here or elsewhere or, by a guess, a descriptor is free again.
    fn evict_idle(&mut self) -> Eviction {
        match self.oldest_idle() {
            Some(token) if C::HIDES => {
                self.start_eviction(token);
                self.back_off();
                Eviction::Pending
            }
            Some(token) => {
                self.evict(token);
                Eviction::Done
            }
            None => {
                self.back_off();
                Eviction::Impossible
            }
        }
    }

    /// Closes an idle connection to make room for another.
    pub(super) fn evict(&mut self, token: Token) {
        self.with_connection(token, |connection, cx| connection.say_farewell(Reason::Evicted, cx));
        self.close(token);
    }

    /// Has a connection leave that is idle as far as can be seen. If something turns out to have
    /// been received, it is answered first.
    pub(super) fn start_eviction(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.start_eviction();
            self.connections.set_busy(token);
        }
    }

    /// The connection that has been idle longest, with nothing in its socket that would end that.
    pub(super) fn oldest_idle(&mut self) -> Option<Token> {
        loop {
            let oldest = self.connections.oldest_idle()?;
            let connection = self.connections.get_mut(oldest)?;
            if !connection.has_unread() {
                return Some(oldest);
            }
            self.connections.set_busy(oldest); // its bytes are on the way
        }
    }

    fn request_eviction(&mut self) {
        self.acceptor.eviction_requested = true;
        self.admission.set_eviction_wanted(true);
        self.stop.wake_all();
    }

    fn back_off(&mut self) {
        self.acceptor.backoff_until = Some(self.now + self.admission.backoff());
    }

    fn stop_accepting(&mut self) {
        for listening in &self.acceptor.listeners {
            if let Some(key) = listening.accept {
                self.backend.driver.cancel(key);
            }
        }
    }

    /// Lets in nobody any more.
    pub(super) fn close_listeners(&mut self) {
        self.stop_accepting();
        self.acceptor.listeners.clear();
        self.acceptor.pending.clear();
    }
}
