//! The Proactor: one thread, one completion model, its listeners and its connections. The
//! counterpart of the [Reactor](crate::reactor), which is told when it may try; this one is told
//! what has been done.
//!
//! A turn waits once, takes what came of each operation, begins what follows from it, lets
//! newcomers in, and rings the alarms that are due. A connection that is closed is forgotten at
//! once; its descriptor goes with the last operation that holds it.

use karez_sys::{Completion, Handle, Key, Operation, Outcome};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::alarms::Alarms;
use crate::completer::Completer;
use crate::connections::Connections;
use crate::demultiplexer::Token;
use crate::dialogue::{Dialogue, Rest};
use crate::error::named;
use crate::listener::{Listener, peer_gave_up};
use crate::stop::Stop;
use crate::task::Service;
use crate::tools::Tools;

/// What is called so wakes this proactor for [`Stop`] and others.
const WAKE: u64 = u64::MAX;

/// Listeners count down from here; no connection's token is as high.
const LISTENER: u64 = u64::MAX - 1;

/// After the grace: how long to wait for operations to say how far they came.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) struct Proactor<'a, S: Service, C> {
    tools: Tools<C>,
    service: &'a S,
    admission: &'a Admission,
    listeners: Vec<Listening>,
    connections: Connections<Dialogue<S::Task>>,
    /// Accepted when there was no room, and by which listener: the first to be let in.
    newcomers: VecDeque<(OwnedFd, usize)>,
    /// The others have been asked for room.
    wants_room: bool,
    alarms: Alarms,
    /// No accepting until then: there is no room or no descriptor for more.
    pause: Option<Instant>,
    /// After the stop has begun: when the grace ends.
    end: Option<Instant>,
    stop: Stop,
    sleeper: Arc<OwnedFd>,
    now: Instant,
}

struct Listening {
    listener: Listener,
    accept: Option<Key>,
}

impl<'a, S: Service, C: Completer> Proactor<'a, S, C> {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        service: &'a S,
        admission: &'a Admission,
        stop: Stop,
    ) -> io::Result<Self> {
        let completer = C::new().map_err(named("set up the model"))?;
        let sleeper = stop.sleeper().map_err(named("eventfd"))?;
        for listener in &listeners {
            listener.set_blocking().map_err(named("ioctl FIONBIO"))?;
        }
        let listening = |listener| Listening { listener, accept: None };
        Ok(Self {
            tools: Tools::new(completer),
            service,
            admission,
            listeners: listeners.into_iter().map(listening).collect(),
            connections: Connections::new(),
            newcomers: VecDeque::new(),
            wants_room: false,
            alarms: Alarms::default(),
            pause: None,
            end: None,
            stop,
            sleeper,
            now: Instant::now(),
        })
    }

    /// Turns until the stop is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut done = Vec::new();
        self.listen_for_wakes();
        self.accept();
        while !self.is_over() {
            self.tools.completer.wait(self.timeout(), &mut done).map_err(named("wait"))?;
            self.now = Instant::now();
            for completion in done.drain(..) {
                self.note(completion);
            }
            self.admit_all();
            self.ring_alarms();
            self.accept();
        }
        self.bid_farewell();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.connections.len() == 0 || end <= self.now)
    }

    fn timeout(&self) -> Option<Duration> {
        let moments = [self.pause, self.end];
        let moments = moments.iter().flatten().map(|at| at.saturating_duration_since(self.now));
        moments.chain(self.alarms.next(self.now)).min()
    }

    fn note(&mut self, completion: Completion) {
        let token = Token(completion.tag);
        if completion.tag == WAKE {
            self.wake();
        } else if let Some(connection) = self.connections.get_mut(token) {
            connection.complete(completion, self.now, &mut self.tools);
            self.advance(token);
        } else if let Outcome::Accepted(accepted) = completion.outcome {
            self.accepted(completion.tag, completion.last, accepted);
        } else if completion.last {
            // The last of a closed connection: its descriptor is free.
            self.pause = None;
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        connection.deadline.clear();
        match connection.advance(self.now, &mut self.tools) {
            Rest::Closed => self.close(token),
            Rest::Waiting { idle: true, .. } if self.end.is_some() => self.close(token),
            Rest::Waiting { until, idle } => {
                if let Some(until) = until {
                    self.alarms.set(token, &mut connection.deadline, until);
                }
                if idle {
                    self.connections.set_idle(token);
                } else {
                    self.connections.set_busy(token);
                }
            }
        }
    }

    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        connection.cancel(&mut self.tools);
        self.admission.leave();
        if !self.newcomers.is_empty() {
            self.pause = None;
        }
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
                connection.time_out(self.now, &mut self.tools);
                self.advance(token);
            }
        }
    }

    /// Begins to accept wherever nothing stands in the way.
    fn accept(&mut self) {
        if self.pause.is_some_and(|until| until <= self.now) {
            self.pause = None;
        }
        if self.pause.is_some() || !self.newcomers.is_empty() {
            return;
        }
        for (listening, number) in self.listeners.iter_mut().zip(0..) {
            if listening.accept.is_none() {
                let operation = Operation::Accept(listening.listener.handle());
                let key = self.tools.completer.start(LISTENER - number, operation);
                listening.accept = Some(key);
            }
        }
    }

    fn accepted(&mut self, tag: u64, last: bool, accepted: rustix::io::Result<OwnedFd>) {
        let Ok(number) = usize::try_from(LISTENER - tag) else { return };
        let Some(listening) = self.listeners.get_mut(number) else {
            return; // the stop came first
        };
        if last {
            listening.accept = None;
        }
        match accepted {
            Ok(socket) => self.newcomers.push_back((socket, number)),
            Err(Errno::CANCELED | Errno::AGAIN) => {}
            Err(errno) if peer_gave_up(errno) => {}
            // Our own limit: one who leaves is enough, but its descriptor is not free at once.
            Err(Errno::MFILE) => {
                self.make_room();
                self.pause();
            }
            Err(_) => self.pause(),
        }
    }

    /// Lets newcomers in, if need be in the place of others; otherwise they wait, nobody else is
    /// accepted, and the other reactors are asked whether they have somebody idle.
    fn admit_all(&mut self) {
        if self.pause.is_some_and(|until| self.now < until) {
            return;
        }
        while let Some((socket, number)) = self.newcomers.pop_front() {
            if !self.enter() {
                self.newcomers.push_front((socket, number));
                self.wants_room = true;
                self.admission.want_room(true);
                self.stop.wake_all();
                self.stop_accepting();
                return;
            }
            if std::mem::take(&mut self.wants_room) {
                self.admission.want_room(false);
            }
            self.admit(socket, number);
        }
    }

    fn enter(&mut self) -> bool {
        while !self.admission.enter() {
            if !self.make_room() {
                return false;
            }
        }
        true
    }

    fn admit(&mut self, socket: OwnedFd, number: usize) {
        let peer = self.listeners.get(number).and_then(|at| at.listener.peer_of(&socket).ok());
        // Its own number for the other direction, where the model needs one.
        let out = C::SERIALISES.then(|| rustix::io::fcntl_dupfd_cloexec(&socket, 0)).transpose();
        let (Some(peer), Ok(out)) = (peer, out) else {
            // It has left again, or there is no descriptor for it.
            self.admission.leave();
            return;
        };
        let socket: Handle = Arc::new(socket);
        let out = out.map_or_else(|| Arc::clone(&socket), |out| Arc::new(out) as Handle);
        let task = self.service.connect(peer, self.now);
        let token = self.connections.insert(Dialogue::new(socket, out, task));
        if let Some(connection) = self.connections.get_mut(token) {
            connection.set_tag(token.0);
        }
        self.advance(token);
    }

    fn stop_accepting(&mut self) {
        for listening in &self.listeners {
            if let Some(key) = listening.accept {
                self.tools.completer.cancel(key);
            }
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

    fn listen_for_wakes(&mut self) {
        let sleeper = Arc::clone(&self.sleeper) as Handle;
        self.tools.completer.start(WAKE, Operation::Readable(sleeper));
    }

    fn wake(&mut self) {
        // Read it empty; that it was empty already is no harm.
        let _count = rustix::io::read(self.sleeper.as_fd(), &mut [0; 8]);
        self.listen_for_wakes();
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
        self.stop_accepting();
        self.listeners.clear();
        self.newcomers.clear();
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }

    /// Cancels what is in flight, so that each task can be told how far it came.
    fn bid_farewell(&mut self) {
        for connection in self.connections.iter_mut() {
            connection.cancel(&mut self.tools);
        }
        let (end, mut done) = (Instant::now() + FAREWELL, Vec::new());
        while self.connections.iter_mut().any(|connection| connection.is_flying()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.tools.completer.wait(Some(left), &mut done).is_err() {
                break;
            }
            for completion in done.drain(..) {
                if let Some(connection) = self.connections.get_mut(Token(completion.tag)) {
                    connection.complete(completion, self.now, &mut self.tools);
                }
            }
        }
        for connection in self.connections.iter_mut() {
            connection.abandon(self.now);
        }
    }
}
