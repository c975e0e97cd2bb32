//! The door of a reactor: accepting, and what happens when there is no room.

use rustix::io::{self, Errno};
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::{LISTENER, Reactor};
use crate::connection::Connection;
use crate::demultiplexer::{Demultiplexer, Interest, Token};
use crate::heirs::Heirs;
use crate::inbox::{Inbox, Letter};
use crate::listener::{Listener, peer_gave_up};
use crate::mailroom::Home;
use crate::task::{Peer, Service};

/// Connections taken from one listener in one turn.
const ACCEPT_BATCH: usize = 64;

/// The listeners, and who waits there.
pub(super) struct Door<D> {
    listeners: Vec<Listening>,
    /// Who gets the connections, if that is not this reactor itself.
    heirs: Heirs<D>,
    /// Accepted when there was no room: the first to be let in when there is.
    newcomer: Option<(OwnedFd, Peer)>,
    /// No accepting until then: there is no room or no descriptor for more.
    pub(super) pause: Option<Instant>,
    /// The others were asked to make room.
    pub(super) asked: bool,
    /// Whether the demultiplexer watches the listeners.
    watched: bool,
}

struct Listening {
    listener: Listener,
    ready: bool,
}

impl<D> Door<D> {
    pub(super) fn new(listeners: Vec<Listener>, heirs: Vec<Arc<Inbox<D>>>) -> Self {
        let listeners =
            listeners.into_iter().map(|listener| Listening { listener, ready: true }).collect();
        let (newcomer, pause) = (None, None);
        Self { listeners, heirs: Heirs::new(heirs), newcomer, pause, asked: false, watched: true }
    }

    /// Whether somebody could be let in at once.
    pub(super) fn has_somebody(&self) -> bool {
        let somebody = self.newcomer.is_some() || self.listeners.iter().any(|at| at.ready);
        self.pause.is_none() && somebody
    }

    /// Somebody is at this listener.
    pub(super) fn knock(&mut self, number: usize) {
        if let Some(listening) = self.listeners.get_mut(number) {
            listening.ready = true;
        }
    }

    /// Lets in nobody any more. The listeners have to be deregistered.
    pub(super) fn close(&mut self) -> impl Iterator<Item = Listener> {
        self.newcomer = None;
        std::mem::take(&mut self.listeners).into_iter().map(|listening| listening.listener)
    }

    /// Ends the pause of one who waits for room.
    pub(super) fn try_again(&mut self) {
        if self.newcomer.is_some() {
            self.pause = None;
        }
    }
}

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    pub(super) fn accept_all(&mut self) {
        if self.door.pause.is_some_and(|until| until <= self.now) {
            self.door.pause = None;
        }
        if self.door.pause.is_none() {
            if std::mem::take(&mut self.door.asked) {
                self.admission.want_room(false);
            }
            if let Some(newcomer) = self.door.newcomer.take() {
                self.admit(newcomer);
            }
        }
        for number in 0..self.door.listeners.len() {
            for _ in 0..ACCEPT_BATCH {
                if self.door.pause.is_some() || !self.accept_one(number) {
                    break;
                }
            }
        }
    }

    /// Takes one connection; false when there is none to take from this listener.
    fn accept_one(&mut self, number: usize) -> bool {
        let Some(listening) = self.door.listeners.get_mut(number).filter(|at| at.ready) else {
            return false;
        };
        match listening.listener.accept(SocketFlags::NONBLOCK) {
            Ok(newcomer) => self.admit(newcomer),
            Err(Errno::AGAIN) => listening.ready = false,
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough. Otherwise waiting is all that we can do.
            Err(Errno::MFILE) => {
                if !self.make_room() && !self.door.heirs.is_empty() {
                    self.ask_for_room();
                }
            }
            Err(_) => self.pause(),
        }
        true
    }

    /// Lets a newcomer in, if need be in the place of another; otherwise it waits, and the other
    /// reactors are asked whether they have somebody idle.
    fn admit(&mut self, (socket, peer): (OwnedFd, Peer)) {
        while !self.admission.enter() {
            if !self.make_room() {
                self.door.newcomer = Some((socket, peer));
                self.ask_for_room();
                return;
            }
        }
        if let Some(heir) = self.door.heirs.next() {
            heir.one_more();
            heir.post(Letter::Newcomer(socket, peer));
        } else {
            self.inbox.one_more();
            self.settle(socket, peer);
        }
    }

    /// Takes a connection that has been let in for its own.
    pub(super) fn settle(&mut self, socket: OwnedFd, peer: Peer) {
        let task = self.service.connect(peer, self.now);
        let token = self.connections.insert(Connection::new(socket, task));
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let (room, waker) = (&mut self.mailroom, Some(self.inbox.shared_waker()));
        connection.move_in(Home { token, room, waker });
        match self.demultiplexer.register(connection.socket.as_fd(), token, Interest::READ) {
            Ok(()) => self.enqueue(token),
            Err(_) => self.close(token), // no memory or no watches left for one more
        }
    }

    /// One less is here, so there is room, for the one who waits here or elsewhere.
    pub(super) fn leave(&mut self) {
        self.inbox.one_less();
        self.admission.leave();
        self.door.pause = None;
        if self.door.newcomer.is_none() && self.admission.shall_make_room() {
            self.stop.wake_all();
        }
    }

    /// Closes the connection that has been idle longest. If none is, accepting pauses until one
    /// ends here or elsewhere or, by a guess, a descriptor is free again.
    fn make_room(&mut self) -> bool {
        let oldest = self.oldest_idle();
        match oldest {
            Some(token) => self.close(token),
            None => self.pause(),
        }
        oldest.is_some()
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

    fn ask_for_room(&mut self) {
        self.door.asked = true;
        self.admission.want_room(true);
        self.stop.wake_all();
    }

    fn pause(&mut self) {
        self.door.pause = Some(self.now + self.admission.pause());
    }

    /// On levels: while nobody is let in, nobody is to knock.
    pub(super) fn follow_door(&mut self) -> io::Result<()> {
        let open = self.door.pause.is_none();
        if self.door.watched == open {
            return Ok(());
        }
        self.door.watched = open;
        let interest = if open { Interest::READ } else { Interest::NONE };
        for (listening, number) in self.door.listeners.iter().zip(0..) {
            let listener = listening.listener.as_fd();
            self.demultiplexer.modify(listener, Token(LISTENER - number), interest)?;
        }
        Ok(())
    }
}
