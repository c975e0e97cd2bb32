//! The door of a proactor: accepting, and what happens when there is no room.
//!
//! One operation accepts many, so there may be several newcomers when the last place is taken.
//! They wait, the operation is cancelled, and it is begun anew when all are in.

use karez_sys::{Handle, Key, Operation};
use rustix::io::{self, Errno};
use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::{LISTENER, Proactor};
use crate::completer::Completer;
use crate::demultiplexer::Token;
use crate::dialogue::Dialogue;
use crate::heirs::Heirs;
use crate::inbox::{Inbox, Letter};
use crate::listener::{Listener, peer_gave_up};
use crate::mailroom::Home;
use crate::task::{Peer, Service};

/// What became of an attempt to make room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Made,
    /// Somebody was asked to leave.
    Coming,
    Nowhere,
}

/// The listeners, and who waits there.
pub(super) struct Door<D> {
    listeners: Vec<Listening>,
    /// Who gets the connections, if that is not this proactor itself.
    heirs: Heirs<D>,
    /// Accepted when there was no room: the first to be let in when there is.
    newcomers: VecDeque<(OwnedFd, Peer)>,
    /// No accepting until then: there is no room or no descriptor for more.
    pub(super) pause: Option<Instant>,
    /// The others were asked to make room.
    pub(super) asked: bool,
}

struct Listening {
    listener: Listener,
    accept: Option<Key>,
}

impl<D> Door<D> {
    pub(super) fn new(listeners: Vec<Listener>, heirs: Vec<Arc<Inbox<D>>>) -> Self {
        let listening = |listener| Listening { listener, accept: None };
        Self {
            listeners: listeners.into_iter().map(listening).collect(),
            heirs: Heirs::new(heirs),
            newcomers: VecDeque::new(),
            pause: None,
            asked: false,
        }
    }

    /// Ends the pause of one who waits for room.
    pub(super) fn try_again(&mut self) {
        if !self.newcomers.is_empty() {
            self.pause = None;
        }
    }
}

impl<S: Service, C: Completer> Proactor<'_, S, C> {
    /// Begins to accept wherever nothing stands in the way.
    pub(super) fn accept(&mut self) {
        if self.door.pause.is_some() || !self.door.newcomers.is_empty() {
            return;
        }
        for (listening, number) in self.door.listeners.iter_mut().zip(0..) {
            if listening.accept.is_none() {
                let operation = Operation::Accept(listening.listener.handle());
                listening.accept = Some(self.tools.completer.start(LISTENER - number, operation));
            }
        }
    }

    pub(super) fn accepted(&mut self, tag: u64, last: bool, accepted: io::Result<OwnedFd>) {
        let number = usize::try_from(LISTENER - tag).unwrap_or(usize::MAX);
        let Some(listening) = self.door.listeners.get_mut(number) else {
            return; // the stop came first
        };
        if last {
            listening.accept = None;
        }
        match accepted {
            Ok(socket) => {
                // One that has left again has no address, and nobody misses it.
                if let Ok(peer) = listening.listener.peer_of(&socket) {
                    self.door.newcomers.push_back((socket, peer));
                }
            }
            Err(Errno::CANCELED | Errno::AGAIN) => {}
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough, but its descriptor is not free at once.
            Err(Errno::MFILE) => {
                if self.make_room() == Room::Nowhere && !self.door.heirs.is_empty() {
                    self.ask_for_room();
                }
                self.pause();
            }
            Err(_) => self.pause(),
        }
    }

    /// Lets newcomers in, if need be in the place of others; otherwise they wait, nobody else is
    /// accepted, and the other reactors are asked whether they have somebody idle.
    pub(super) fn admit_all(&mut self) {
        if self.door.pause.is_some_and(|until| until <= self.now) {
            self.door.pause = None;
        }
        if self.door.pause.is_some() {
            return;
        }
        if mem::take(&mut self.door.asked) {
            self.admission.want_room(false);
        }
        while self.door.pause.is_none()
            && let Some((socket, peer)) = self.door.newcomers.pop_front()
        {
            let room = self.enter();
            if room != Room::Made {
                self.door.newcomers.push_front((socket, peer));
                if room == Room::Nowhere {
                    self.ask_for_room();
                }
                return self.stop_accepting();
            }
            if let Some(heir) = self.door.heirs.next() {
                heir.one_more();
                heir.post(Letter::Newcomer(socket, peer));
            } else {
                self.inbox.one_more();
                self.settle(socket, peer);
            }
        }
    }

    fn enter(&mut self) -> Room {
        while !self.admission.enter() {
            match self.make_room() {
                Room::Made => {}
                room => return room,
            }
        }
        Room::Made
    }

    /// Takes a connection that has been let in for its own.
    pub(super) fn settle(&mut self, socket: OwnedFd, peer: Peer) {
        // Its own number for the other direction, where the model needs one.
        let out = C::SERIALISES.then(|| io::fcntl_dupfd_cloexec(&socket, 0)).transpose();
        let Ok(out) = out else {
            return self.keep_waiting(socket, peer);
        };
        let socket: Handle = Arc::new(socket);
        let out = out.map_or_else(|| Arc::clone(&socket), |out| Arc::new(out) as Handle);
        let task = self.service.connect(peer, self.now);
        let token = self.connections.insert(Dialogue::new(socket, out, task, self.now));
        if let Some(connection) = self.connections.get_mut(token) {
            let (room, waker) = (&mut self.mailroom, Some(self.inbox.shared_waker()));
            connection.move_in(Home { token, room, waker });
        }
        self.advance(token);
    }

    /// There was no second descriptor for a connection that has been let in: it goes back to the
    /// door until somebody has left. Where there is nobody who could, it is closed, or all would
    /// wait for each other's.
    fn keep_waiting(&mut self, socket: OwnedFd, peer: Peer) {
        self.leave();
        if self.connections.len() == 0 {
            return;
        }
        self.make_room();
        self.door.newcomers.push_front((socket, peer));
        self.stop_accepting();
        self.pause();
    }

    /// One less is here, so there is room, for the one who waits here or elsewhere.
    pub(super) fn leave(&mut self) {
        self.inbox.one_less();
        self.admission.leave();
        self.door.try_again();
        if self.door.newcomers.is_empty() && self.admission.shall_make_room() {
            self.stop.wake_all();
        }
    }

    /// Closes the connection that has been idle longest. If none is, accepting pauses until one
    /// ends here or elsewhere or, by a guess, a descriptor is free again.
    fn make_room(&mut self) -> Room {
        match self.oldest_idle() {
            Some(token) if C::HIDES => {
                self.dismiss(token);
                self.pause();
                Room::Coming
            }
            Some(token) => {
                self.close(token);
                Room::Made
            }
            None => {
                self.pause();
                Room::Nowhere
            }
        }
    }

    /// Has a connection leave that is idle as far as can be seen. If something turns out to have
    /// been received, it is answered first.
    pub(super) fn dismiss(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.dismiss();
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

    fn ask_for_room(&mut self) {
        self.door.asked = true;
        self.admission.want_room(true);
        self.stop.wake_all();
    }

    fn pause(&mut self) {
        self.door.pause = Some(self.now + self.admission.pause());
    }

    fn stop_accepting(&mut self) {
        for listening in &self.door.listeners {
            if let Some(key) = listening.accept {
                self.tools.completer.cancel(key);
            }
        }
    }

    /// Lets in nobody any more.
    pub(super) fn shut_door(&mut self) {
        self.stop_accepting();
        self.door.listeners.clear();
        self.door.newcomers.clear();
    }
}
