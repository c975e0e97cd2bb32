//! The door of a reactor: accepting, and what happens when there is no room.

use rustix::io::{self, Errno};
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::connection::ReadinessConnection;
use super::event_loop::{LISTENER, Reactor};
use crate::listener::{Listener, peer_gave_up};
use crate::selector::{Demultiplexer, Interest, Token};
use crate::sync::balancer::LeastConnections;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::mailbox::Context;
use crate::task::{Peer, Reason, Service};

/// Connections taken from one listener in one turn.
const ACCEPT_BATCH: usize = 64;

/// The listeners, and who waits there.
pub(super) struct Acceptor<D> {
    listeners: Vec<Listening>,
    /// Who gets the connections, if that is not this reactor itself.
    balancer: LeastConnections<D>,
    /// Accepted when there was no room: the first to be let in when there is.
    pending: Option<(OwnedFd, Peer)>,
    /// No accepting until then: there is no room or no descriptor for more.
    pub(super) backoff_until: Option<Instant>,
    /// The others were eviction_requested to make room.
    pub(super) eviction_requested: bool,
    /// Whether the demultiplexer watches the listeners.
    watched: bool,
}

struct Listening {
    listener: Listener,
    ready: bool,
}

impl<D> Acceptor<D> {
    pub(super) fn new(listeners: Vec<Listener>, balancer: Vec<Arc<Inbox<D>>>) -> Self {
        let listeners =
            listeners.into_iter().map(|listener| Listening { listener, ready: true }).collect();
        let (pending, backoff_until) = (None, None);
        Self {
            listeners,
            balancer: LeastConnections::new(balancer),
            pending,
            backoff_until,
            eviction_requested: false,
            watched: true,
        }
    }

    /// Whether somebody could be let in at once.
    pub(super) fn has_pending(&self) -> bool {
        let somebody = self.pending.is_some() || self.listeners.iter().any(|at| at.ready);
        self.backoff_until.is_none() && somebody
    }

    /// Somebody is at this listener.
    pub(super) fn set_ready(&mut self, number: usize) {
        if let Some(listening) = self.listeners.get_mut(number) {
            listening.ready = true;
        }
    }

    /// Lets in nobody any more. The listeners have to be deregistered.
    pub(super) fn close(&mut self) -> impl Iterator<Item = Listener> {
        self.pending = None;
        std::mem::take(&mut self.listeners).into_iter().map(|listening| listening.listener)
    }

    /// Ends the pause of one who waits for room.
    pub(super) fn try_again(&mut self) {
        if self.pending.is_some() {
            self.backoff_until = None;
        }
    }
}

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    pub(super) fn accept_all(&mut self) {
        if self.acceptor.backoff_until.is_some_and(|until| until <= self.now) {
            self.acceptor.backoff_until = None;
        }
        if self.acceptor.backoff_until.is_none() {
            if std::mem::take(&mut self.acceptor.eviction_requested) {
                self.admission.set_eviction_wanted(false);
            }
            if let Some(pending) = self.acceptor.pending.take() {
                self.admit(pending);
            }
        }
        for number in 0..self.acceptor.listeners.len() {
            for _ in 0..ACCEPT_BATCH {
                if self.acceptor.backoff_until.is_some() || !self.accept_one(number) {
                    break;
                }
            }
        }
    }

    /// Takes one connection; false when there is none to take from this listener.
    fn accept_one(&mut self, number: usize) -> bool {
        let Some(listening) = self.acceptor.listeners.get_mut(number).filter(|at| at.ready) else {
            return false;
        };
        match listening.listener.accept(SocketFlags::NONBLOCK) {
            Ok(pending) => self.admit(pending),
            Err(Errno::AGAIN) => listening.ready = false,
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough. Otherwise waiting is all that we can do.
            Err(Errno::MFILE) => {
                if !self.evict_idle() && !self.acceptor.balancer.is_empty() {
                    self.request_eviction();
                }
            }
            Err(_) => self.back_off(),
        }
        true
    }

    /// Lets a pending in, if need be in the place of another; otherwise it waits, and the other
    /// reactors are eviction_requested whether they have somebody idle.
    fn admit(&mut self, (socket, peer): (OwnedFd, Peer)) {
        while !self.admission.enter() {
            if !self.evict_idle() {
                self.acceptor.pending = Some((socket, peer));
                self.request_eviction();
                return;
            }
        }
        if let Some(target) = self.acceptor.balancer.next() {
            target.inc_load();
            target.push(Notification::Accepted(socket, peer));
        } else {
            self.inbox.inc_load();
            self.register(socket, peer);
        }
    }

    /// Takes a connection that has been let in for its own.
    pub(super) fn register(&mut self, socket: OwnedFd, peer: Peer) {
        let task = self.service.connect(peer, self.now);
        let connection = ReadinessConnection::new(socket, task, self.new_outbox());
        let token = self.connections.insert(connection);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if let Err(_no_memory_or_watches) =
            self.demultiplexer.register(connection.socket.as_fd(), token, Interest::READ)
        {
            return self.close(token);
        }
        let mut messages = self.messages.take();
        let waker = Arc::clone(self.inbox.shared_waker());
        self.with_connection(token, |connection, cx| {
            let context = Context { token, queue: &mut messages, waker: Some(&waker) };
            connection.open(context, cx);
        });
        self.messages = messages;
        self.enqueue(token);
    }

    /// One less is here, so there is room, for the one who waits here or elsewhere.
    pub(super) fn leave(&mut self) {
        self.inbox.dec_load();
        self.admission.leave();
        self.acceptor.backoff_until = None;
        if self.acceptor.pending.is_none() && self.admission.take_eviction_request() {
            self.stop.wake_all();
        }
    }

    /// Closes the connection that has been idle longest. If none is, accepting pauses until one
    /// ends here or elsewhere or, by a guess, a descriptor is free again.
    fn evict_idle(&mut self) -> bool {
        let oldest = self.oldest_idle();
        match oldest {
            Some(token) => self.evict(token),
            None => self.back_off(),
        }
        oldest.is_some()
    }

    /// Closes an idle connection to make room for another.
    pub(super) fn evict(&mut self, token: Token) {
        self.with_connection(token, |connection, cx| connection.say_farewell(Reason::Evicted, cx));
        self.close(token);
    }

    /// The connection that has been idle longest, with nothing in its socket that would end that.
    pub(super) fn oldest_idle(&mut self) -> Option<Token> {
        loop {
            let oldest = self.connections.oldest_idle()?;
            let connection = self.connections.get_mut(oldest)?;
            if !connection.has_unread() {
                return Some(oldest);
            }
            self.connections.set_busy(oldest); // its report is on the way
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

    /// On levels: while nobody is let in, nobody is to set_ready.
    pub(super) fn update_listener_interest(&mut self) -> io::Result<()> {
        let open = self.acceptor.backoff_until.is_none();
        if self.acceptor.watched == open {
            return Ok(());
        }
        self.acceptor.watched = open;
        let interest = if open { Interest::READ } else { Interest::NONE };
        for (listening, number) in self.acceptor.listeners.iter().zip(0..) {
            let listener = listening.listener.as_fd();
            self.demultiplexer.modify(listener, Token(LISTENER - number), interest)?;
        }
        Ok(())
    }
}
