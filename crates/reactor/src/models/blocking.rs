//! A thread per connection, and calls that block until they are through.
//!
//! Since always; deadlines by `SO_RCVTIMEO` and `SO_SNDTIMEO` (socket(7), Linux 2.3.41).
//!
//! What it does badly: every connection, idle or not, costs a stack, a kernel thread and two
//! switches a wait, so thousands of idle ones weigh as much as thousands of busy ones; a thread
//! inside a call hears of nothing else, so to stop it somebody has to shut its socket down; and a
//! deadline over several calls has to be set anew for each.

use karez_transfer::{Outbox, Progress};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, SocketFlags, recv, shutdown, sockopt};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::error::named;
use crate::listener::{Listener, peer_gave_up};
use crate::stop::Stop;
use crate::task::{Event, Job, Obstacle, Peer, Service, Task, Want};

/// The receive buffer of a thread. Smaller than a reactor's, for there is one a connection.
const BUFFER: usize = 16 << 10;

/// A thread here parses a head and makes calls; it needs no 8 MiB.
const STACK: usize = 256 << 10;

/// One acceptor a listener and a thread a connection, until the stop is complete.
pub(crate) fn run<S: Service>(
    listeners: &[Listener],
    service: &S,
    admission: &Admission,
    stop: &Stop,
) -> io::Result<()> {
    let sleeper = stop.sleeper().map_err(named("eventfd"))?;
    for listener in listeners {
        rustix::io::ioctl_fionbio(listener, false).map_err(named("ioctl FIONBIO"))?;
    }
    let register = Register::default();
    thread::scope(|scope| {
        let mut outcome = Ok(());
        for listener in listeners {
            let acceptor = Acceptor { listener, service, admission, register: &register };
            let spawned = thread::Builder::new()
                .name("karez-accept".to_owned())
                .spawn_scoped(scope, move || acceptor.run(scope));
            outcome = outcome.and(spawned.map(drop));
        }
        if outcome.is_ok() {
            wait_for(&sleeper);
        }
        register.stop();
        for listener in listeners {
            // Wakes the acceptor with EINVAL; if it is gone already there is nothing to wake.
            let _awake = shutdown(listener, Shutdown::Both);
        }
        register.end_after(admission.grace());
        outcome
    })
}

fn wait_for(sleeper: &OwnedFd) {
    let mut fds = [PollFd::new(sleeper, PollFlags::IN)];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
}

struct Acceptor<'a, S> {
    listener: &'a Listener,
    service: &'a S,
    admission: &'a Admission,
    register: &'a Register,
}

impl<'a, S: Service> Acceptor<'a, S> {
    fn run<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        while !self.register.is_stopping() {
            match self.listener.accept(SocketFlags::empty()) {
                Ok((socket, peer)) if self.admit() => self.spawn(scope, socket, peer),
                Ok(_) => {} // the stop came first
                Err(errno) if peer_gave_up(errno) => {}
                Err(Errno::MFILE) => self.register.make_room(self.admission.pause()),
                Err(_) => self.register.rest(self.admission.pause()),
            }
        }
    }

    /// Waits until there is room for one more; false if the stop came first.
    fn admit(&self) -> bool {
        while !self.admission.enter() {
            if self.register.is_stopping() {
                return false;
            }
            self.register.make_room(self.admission.pause());
        }
        true
    }

    fn spawn<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>, socket: OwnedFd, peer: Peer)
    where
        'a: 'scope,
    {
        let Self { service, admission, register, .. } = *self;
        let socket = Arc::new(socket);
        let spawned = thread::Builder::new()
            .name("karez-conn".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, move || {
                let place = register.enter(Arc::clone(&socket));
                let task = service.connect(peer, Instant::now());
                Conversation { socket: &socket, place: &place, receive: None, send: None }
                    .hold(task);
                admission.leave();
            });
        if spawned.is_err() {
            // No thread to be had: the connection is closed, and others have to leave first.
            admission.leave();
            register.make_room(admission.pause());
        }
    }
}

/// One connection and its thread.
struct Conversation<'a> {
    socket: &'a OwnedFd,
    place: &'a Place<'a>,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` as they stand.
    receive: Option<Duration>,
    send: Option<Duration>,
}

impl Conversation<'_> {
    fn hold<T: Task>(mut self, mut task: T) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let event = match task.want() {
                Want::Receive { until, idle } => {
                    if !self.place.set_idle(idle) {
                        return;
                    }
                    let event = self.receive(&mut buffer, until);
                    self.place.set_idle(false);
                    event
                }
                Want::Send { outbox, stall } => self.send(outbox, stall),
                Want::Work(job) => Event::Worked(job.run()),
                Want::Finish => {
                    // A peer that is gone already needs no FIN.
                    let _gone = shutdown(self.socket, Shutdown::Write);
                    Event::Finished
                }
                Want::Close => return,
            };
            task.hear(event, Instant::now());
        }
    }

    fn receive<'b, D>(&mut self, buffer: &'b mut [u8], until: Instant) -> Event<'b, D> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::TimedOut;
            }
            if let Err(errno) = self.allow_receiving(left) {
                return Event::Failed(errno.into());
            }
            match recv(self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Event::PeerClosed,
                Ok((count, _)) => return Event::Received(&buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Event::Failed(errno.into()),
            }
        }
    }

    /// Sets `SO_RCVTIMEO`, unless what is set is about right: it is the same for every request.
    fn allow_receiving(&mut self, left: Duration) -> rustix::io::Result<()> {
        let lax = left + left / 8 + Duration::from_millis(1);
        if self.receive.is_none_or(|set| set < left || set > lax) {
            sockopt::set_socket_timeout(self.socket, sockopt::Timeout::Recv, Some(lax))?;
            self.receive = Some(lax);
        }
        Ok(())
    }

    fn send<'b, D>(&mut self, mut outbox: Outbox, stall: Duration) -> Event<'b, D> {
        if self.send != Some(stall) {
            let set = sockopt::set_socket_timeout(self.socket, sockopt::Timeout::Send, Some(stall));
            if let Err(errno) = set {
                return Event::Unsent(outbox, Obstacle::Failed(errno.into()));
            }
            self.send = Some(stall);
        }
        let obstacle = loop {
            match outbox.step(self.socket.as_fd()) {
                Ok(Progress::Moved(_)) => {}
                Ok(Progress::Done) => return Event::Sent(outbox),
                Ok(Progress::NeedsRelease) if has_error(self.socket, stall) => {}
                Ok(
                    Progress::NeedsWritable
                    | Progress::NeedsRelease
                    | Progress::NeedsReadable
                    | Progress::NeedsWorker,
                ) => break Obstacle::TimedOut,
                Ok(Progress::Truncated { missing }) => break Obstacle::Truncated { missing },
                Err(error) => break Obstacle::Failed(error),
            }
        };
        Event::Unsent(outbox, obstacle)
    }
}

/// Waits until the error queue of a socket has something; false if nothing came for so long.
fn has_error(socket: &OwnedFd, stall: Duration) -> bool {
    let timeout = Timespec::try_from(stall).ok();
    // Errors are reported unasked.
    poll(&mut [PollFd::new(socket, PollFlags::empty())], timeout.as_ref()) != Ok(0)
}

/// Who is there, so that somebody outside can shut a socket down and wake its thread.
#[derive(Default)]
struct Register {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    next: u64,
    present: HashMap<u64, Present>,
}

struct Present {
    socket: Arc<OwnedFd>,
    idle_since: Option<Instant>,
}

/// One connection's entry, for as long as its thread runs.
struct Place<'a> {
    register: &'a Register,
    number: u64,
}

impl Register {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    fn enter(&self, socket: Arc<OwnedFd>) -> Place<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.present.insert(number, Present { socket, idle_since: None });
        Place { register: self, number }
    }

    /// Ends the connection that has been idle longest and waits, at most so long, until somebody
    /// has left.
    fn make_room(&self, pause: Duration) {
        let state = self.lock();
        let idle = state.present.values().filter(|present| present.idle_since.is_some());
        if let Some(oldest) = idle.min_by_key(|present| present.idle_since) {
            hang_up(&oldest.socket);
        }
        let _left = self.left.wait_timeout(state, pause);
    }

    /// Waits, at most so long, until somebody has left; not at all once the stop has begun.
    fn rest(&self, pause: Duration) {
        let state = self.lock();
        if !state.stopping {
            let _left = self.left.wait_timeout(state, pause);
        }
    }

    /// Ends what is idle, now and whenever one becomes so.
    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for present in state.present.values().filter(|present| present.idle_since.is_some()) {
            hang_up(&present.socket);
        }
    }

    /// Waits until all have left, at most for `grace`, then ends the rest.
    fn end_after(&self, grace: Duration) {
        let crowded = |state: &mut State| !state.present.is_empty();
        let waited = self.left.wait_timeout_while(self.lock(), grace, crowded);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for present in state.present.values() {
            hang_up(&present.socket);
        }
    }
}

fn hang_up(socket: &OwnedFd) {
    // Not connected any more: then its thread knows already.
    let _gone = shutdown(socket, Shutdown::Both);
}

impl Place<'_> {
    /// Says whether the connection is idle from now on; false if it has to end instead.
    fn set_idle(&self, idle: bool) -> bool {
        let mut state = self.register.lock();
        let stopping = state.stopping;
        if let Some(present) = state.present.get_mut(&self.number) {
            present.idle_since = idle.then(Instant::now);
        }
        !(stopping && idle)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.register.lock().present.remove(&self.number);
        self.register.left.notify_all();
    }
}
