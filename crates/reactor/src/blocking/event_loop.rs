//! A thread per connection, or a bounded pool of threads that each serve one connection at a time, and
//! calls that block.
//!
//! Since always; deadlines of receives by `SO_RCVTIMEO` (socket(7), Linux 2.3.41), an eighth too late
//! at most, so that it has not to be set for each. A send that finds no room waits in poll(2), for
//! `SO_SNDTIMEO` is no deadline of a call that moves much. A deadline counts when one more look that
//! began behind it has found nothing.
//!
//! # Limitations
//!
//! Every connection, idle or not, costs a stack, a kernel thread and two switches a wait, so thousands of
//! idle connections cost as much as thousands of busy ones. A thread inside a call sees nothing else, so
//! its socket has to be shut down to wake it. A deadline over several calls has to be set again for each.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::BlockingConnection;
use super::pool::ThreadPool;
use super::registry::Registry;
use crate::admission::{Admission, Limits};
use crate::error::{named, no_thread};
use crate::event_loop::core::JobOf;
use crate::listener::{Listener, peer_gave_up};
use crate::panics::contain;
use crate::shutdown::Shutdown;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::{Peer, Service};

/// A thread here parses a head and makes calls; it needs no 8 MiB.
const STACK: usize = 256 << 10;

/// Runs an acceptor for each listener and a thread for each connection, until the shutdown is complete;
/// with `workers` so many threads at most, each for one connection after the other.
pub(crate) fn run<S: Service>(
    listeners: Vec<Listener>,
    service: &S,
    limits: Limits,
    workers: Option<usize>,
    threads: usize,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let waker = Arc::new(Waker::blocking().map_err(named("eventfd"))?);
    let stop = &Arc::new(Waker::eventfd().map_err(named("eventfd"))?);
    shutdown.expect(1, listeners.len());
    shutdown.subscribe(&waker);
    // An admitted connection has a thread, so there are as many places as threads.
    let connections = limits.connections.min(workers.unwrap_or(usize::MAX));
    let admission = &Admission::new(Limits { connections, ..limits });
    let (registry, pool) = (&Registry::default(), &workers.map(ThreadPool::new));
    let mut round = 0;
    let offloads = &Pool::new(threads, None, PoolTask::run);
    thread::scope(|scope| {
        let mut outcome = Ok(());
        for listener in listeners {
            #[rustfmt::skip]
            let acceptor = BlockingAcceptor {
                listener, service, admission, registry, pool, offloads, shutdown, stop,
            };
            let spawned = thread::Builder::new()
                .name("karez-accept".to_owned())
                .spawn_scoped(scope, move || while contain(|| acceptor.run(scope)).is_none() {});
            outcome = outcome.and(spawned.map(drop).map_err(no_thread("karez-accept")));
        }
        while outcome.is_ok() && !shutdown.is_triggered() {
            waker.sleep();
            shutdown.respond(&mut round);
        }
        // The acceptors end. Their sockets may belong to another process, too, so they are not shut down.
        registry.stop_accepting();
        stop.wake();
        let end = Instant::now() + admission.grace();
        if outcome.is_ok() {
            let is_over = || {
                let none = !shutdown.is_accepting() && admission.has_none();
                shutdown.closes_idle() || none || end <= Instant::now()
            };
            registry.wait_until(is_over);
        }
        registry.close_idle();
        if let Some(pool) = pool {
            pool.end();
        }
        registry.drain(end.saturating_duration_since(Instant::now()));
        outcome
    })
}

struct BlockingAcceptor<'a, S: Service> {
    /// Closed when nothing is accepted any more.
    listener: Listener,
    service: &'a S,
    admission: &'a Admission,
    registry: &'a Registry,
    pool: &'a Option<ThreadPool>,
    offloads: &'a Pool<PoolTask<JobOf<S>>>,
    shutdown: &'a Shutdown,
    /// Readable when nothing is to be accepted any more.
    stop: &'a Waker,
}

impl<'a, S: Service> BlockingAcceptor<'a, S> {
    fn run<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        while self.registry.is_accepting() {
            match self.listener.accept(SocketFlags::empty()) {
                Ok((socket, peer)) if self.admit() => self.begin(scope, socket, peer),
                Ok(_) => {} // the shutdown came first
                Err(Errno::AGAIN) => self.wait_for_connection(),
                Err(errno) if peer_gave_up(errno) => {}
                Err(Errno::MFILE | Errno::NFILE) if !self.listener.has_waiting() => {
                    self.wait_for_connection();
                }
                Err(Errno::MFILE) => self.registry.evict_idle(self.admission.backoff()),
                Err(_) => self.registry.wait_for_exit(self.admission.backoff()),
            }
        }
        self.shutdown.acceptor_ended();
    }

    /// Waits for a connection or the end. Only poll(2) waits for both, and another process that has the same
    /// socket may expect that accept4(2) does not block.
    fn wait_for_connection(&self) {
        let mut fds = [self.listener.as_fd(), self.stop.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => self.registry.wait_for_exit(self.admission.backoff()),
        }
    }

    /// Waits until there is a place for one more; false if the shutdown came first.
    fn admit(&self) -> bool {
        while !self.admission.enter() {
            if self.registry.is_stopping() {
                return false;
            }
            self.registry.evict_idle(self.admission.backoff());
        }
        true
    }

    /// Finds a thread for the connection.
    fn begin<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>, socket: OwnedFd, peer: Peer)
    where
        'a: 'scope,
    {
        let Self { service, admission, registry, pool, offloads, .. } = *self;
        let pool = pool.as_ref();
        let next = match pool {
            Some(pool) => pool.submit(socket, peer),
            None => Some((socket, peer)),
        };
        let Some(mut next) = next else { return };
        let name = if pool.is_some() { "karez-work" } else { "karez-conn" };
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        let spawned = builder.spawn_scoped(scope, move || {
            loop {
                serve_connection(service, registry, admission, offloads, next);
                match pool.and_then(ThreadPool::next) {
                    Some(another) => next = another,
                    None => return,
                }
            }
        });
        if spawned.is_err() {
            // There is no thread: the connection is closed, and another has to be closed first.
            if let Some(pool) = pool {
                pool.thread_failed();
            }
            admission.leave();
            registry.evict_idle(admission.backoff());
        }
    }
}

/// Serves one connection to its end.
fn serve_connection<S: Service>(
    service: &S,
    registry: &Registry,
    admission: &Admission,
    offloads: &Pool<PoolTask<JobOf<S>>>,
    (socket, peer): (OwnedFd, Peer),
) {
    let socket = Arc::new(socket);
    let guard = registry.enter(Arc::clone(&socket));
    let connected = contain(|| {
        let task = service.connect(peer, Instant::now());
        BlockingConnection::new(&socket, &guard, offloads, task)
    });
    let served = connected.and_then(|mut connection| {
        let served = contain(|| connection.run());
        // Not while a panic unwinds: the destructor of the task may panic, too.
        let _panicked = contain(|| drop(connection));
        served
    });
    if served.is_none() {
        // The peer sees a reset. If it fails, a regular end.
        let _failed = rustix::net::sockopt::set_socket_linger(&*socket, Some(Duration::ZERO));
    }
    // Before the acceptor is woken, which may wait for the place.
    admission.leave();
    guard.close(socket);
}
