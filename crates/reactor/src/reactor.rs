//! The Reactor: one thread, one demultiplexer, its listeners and its connections.
//!
//! A turn waits once, notes what is ready, accepts, lets each ready connection have its share,
//! and rings the alarms that are due. Nothing in it blocks but the wait, unless a task's job does
//! (topologies with workers move those elsewhere).

use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::alarms::Alarms;
use crate::connection::{Connection, Rest};
use crate::connections::Connections;
use crate::demultiplexer::{Demultiplexer, Ready, Token};
use crate::error::named;
use crate::listener::{Listener, peer_gave_up};
use crate::stop::Stop;
use crate::task::{Peer, Service};

/// The receive buffer lent to tasks: one a reactor, however many connections it has.
const BUFFER: usize = 64 << 10;

/// Connections taken from one listener in one turn.
const ACCEPT_BATCH: usize = 64;

/// The eventfd by which [`Stop`] and other reactors wake this one.
const WAKE: Token = Token(u64::MAX);

/// Listeners count down from here; no connection's token is as high.
const LISTENER: u64 = u64::MAX - 1;

pub(crate) struct Reactor<'a, S: Service, D> {
    demultiplexer: D,
    service: &'a S,
    admission: &'a Admission,
    listeners: Vec<Listening>,
    connections: Connections<Connection<S::Task>>,
    /// Accepted when there was no room: the first to be let in when there is.
    newcomer: Option<(OwnedFd, Peer)>,
    /// Who may have a share of this turn.
    queue: VecDeque<Token>,
    alarms: Alarms,
    /// No accepting until then: there is no room or no descriptor for more.
    pause: Option<Instant>,
    /// After the stop has begun: when the grace ends.
    end: Option<Instant>,
    stop: Stop,
    sleeper: Arc<OwnedFd>,
    buffer: Vec<u8>,
    now: Instant,
}

struct Listening {
    listener: Listener,
    ready: bool,
}

impl<'a, S: Service, D: Demultiplexer> Reactor<'a, S, D> {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        service: &'a S,
        admission: &'a Admission,
        stop: Stop,
    ) -> io::Result<Self> {
        // A level would be reported again and again here: what waits is not taken out of interest.
        const { assert!(D::EDGE) };
        let mut demultiplexer = D::new().map_err(named("set up the model"))?;
        let sleeper = stop.sleeper().map_err(named("eventfd"))?;
        demultiplexer.register(sleeper.as_fd(), WAKE).map_err(named("register the eventfd"))?;
        for (listener, number) in listeners.iter().zip(0..) {
            demultiplexer
                .register(listener.as_fd(), Token(LISTENER - number))
                .map_err(named("register the listener"))?;
        }
        Ok(Self {
            demultiplexer,
            service,
            admission,
            listeners: listeners
                .into_iter()
                .map(|listener| Listening { listener, ready: true })
                .collect(),
            connections: Connections::new(),
            newcomer: None,
            queue: VecDeque::new(),
            alarms: Alarms::default(),
            pause: None,
            end: None,
            stop,
            sleeper,
            buffer: vec![0; BUFFER],
            now: Instant::now(),
        })
    }

    /// Turns until the stop is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.is_over() {
            let timeout = self.timeout();
            self.demultiplexer.wait(timeout, &mut ready).map_err(named("wait"))?;
            self.now = Instant::now();
            for report in ready.drain(..) {
                self.note(report);
            }
            self.accept_all();
            for _ in 0..self.queue.len() {
                if let Some(token) = self.queue.pop_front() {
                    self.advance(token);
                }
            }
            self.ring_alarms();
        }
        for connection in self.connections.iter_mut() {
            connection.abandon(self.now);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.connections.len() == 0 || end <= self.now)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.can_accept() {
            return Some(Duration::ZERO);
        }
        let moments = [self.pause, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.alarms.next(self.now)).min()
    }

    fn can_accept(&self) -> bool {
        let somebody = self.newcomer.is_some() || self.listeners.iter().any(|at| at.ready);
        self.pause.is_none() && somebody
    }

    fn note(&mut self, report: Ready) {
        if report.token == WAKE {
            self.wake();
        } else if let Some(connection) = self.connections.get_mut(report.token) {
            connection.note(report.readable, report.writable, report.hang_up);
            self.enqueue(report.token);
        } else if let Ok(number) = usize::try_from(LISTENER - report.token.0)
            && let Some(listening) = self.listeners.get_mut(number)
        {
            listening.ready = true;
        }
    }

    fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.queue.push_back(token);
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        connection.queued = false;
        connection.deadline.clear();
        match connection.advance(&mut self.buffer, self.now) {
            Rest::Sharing => {
                self.connections.set_busy(token);
                self.enqueue(token);
            }
            Rest::Closed => self.close(token),
            Rest::Waiting { idle: true, .. } if self.end.is_some() => self.close(token),
            Rest::Waiting { until, idle } => {
                self.alarms.set(token, &mut connection.deadline, until);
                if idle {
                    self.connections.set_idle(token);
                } else {
                    self.connections.set_busy(token);
                }
            }
        }
    }

    fn close(&mut self, token: Token) {
        let Some(connection) = self.connections.remove(token) else {
            return;
        };
        if !D::FORGETS_CLOSED {
            // It is closed all the same, so nobody can act on a refusal.
            let _refused = self.demultiplexer.deregister(connection.socket.as_fd());
        }
        self.admission.leave();
        self.pause = None;
        let connections = &mut self.connections;
        let live = connections.len();
        self.alarms.sweep(live, |token| connections.get_mut(token).is_some());
    }

    fn ring_alarms(&mut self) {
        while let Some(alarm) = self.alarms.pop(self.now) {
            let token = alarm.1;
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            if self.alarms.ring(alarm, &mut connection.deadline, self.now) {
                connection.time_out(self.now);
                self.enqueue(token);
            }
        }
    }

    fn accept_all(&mut self) {
        if self.pause.is_some_and(|until| until <= self.now) {
            self.pause = None;
        }
        if self.pause.is_none()
            && let Some(newcomer) = self.newcomer.take()
        {
            self.admission.want_room(false);
            self.admit(newcomer);
        }
        for number in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BATCH {
                if self.pause.is_some() || !self.accept_one(number) {
                    break;
                }
            }
        }
    }

    /// Takes one connection; false when there is none to take from this listener.
    fn accept_one(&mut self, number: usize) -> bool {
        let Some(listening) = self.listeners.get_mut(number).filter(|at| at.ready) else {
            return false;
        };
        match listening.listener.accept(SocketFlags::NONBLOCK) {
            Ok(newcomer) => self.admit(newcomer),
            Err(Errno::AGAIN) => listening.ready = false,
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough. Otherwise waiting is all that we can do.
            Err(Errno::MFILE) => {
                self.make_room();
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
                self.newcomer = Some((socket, peer));
                self.admission.want_room(true);
                self.stop.wake_all();
                return;
            }
        }
        let connection = Connection::new(socket, self.service.connect(peer, self.now));
        self.settle(connection);
    }

    fn settle(&mut self, connection: Connection<S::Task>) {
        let token = self.connections.insert(connection);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        match self.demultiplexer.register(connection.socket.as_fd(), token) {
            Ok(()) => self.enqueue(token),
            Err(_) => self.close(token), // no memory or no watches left for one more
        }
    }

    /// Closes the connection that has been idle longest. If none is, accepting pauses until one
    /// ends here or, by a guess, elsewhere.
    fn make_room(&mut self) -> bool {
        let oldest = self.connections.oldest_idle();
        match oldest {
            Some(token) => self.close(token),
            None => self.pause(),
        }
        oldest.is_some()
    }

    fn pause(&mut self) {
        self.pause = Some(self.now + self.admission.pause());
    }

    fn wake(&mut self) {
        // Read it empty; that it was empty already is no harm.
        let _count = rustix::io::read(&self.sleeper, &mut [0; 8]);
        if self.stop.has_begun() && self.end.is_none() {
            self.begin_to_stop();
        }
        if let Some(oldest) = self.connections.oldest_idle()
            && self.admission.shall_make_room()
        {
            self.close(oldest);
        }
    }

    fn begin_to_stop(&mut self) {
        self.end = Some(self.now + self.admission.grace());
        self.listeners.clear();
        self.newcomer = None;
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }
}
