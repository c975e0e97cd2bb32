//! A thread per connection, or a bounded pool of threads that each hold one connection at a time,
//! and calls that block until they are through.
//!
//! Since always; deadlines of receives by `SO_RCVTIMEO` (socket(7), Linux 2.3.41), an eighth too late
//! at most, so that it has not to be set for each. A send that finds no room waits in poll(2), for
//! `SO_SNDTIMEO` is no deadline of a call that moves much. A deadline counts when one more look that
//! began behind it has found nothing.
//!
//! What it does badly: every connection, idle or not, costs a stack, a kernel thread and two
//! switches a wait, so thousands of idle ones weigh as much as thousands of busy ones; a thread
//! inside a call hears of nothing else, so to stop it somebody has to shut its socket down; and a
//! deadline over several calls has to be set anew for each.

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, shutdown};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::connection::BlockingConnection;
use super::pool::ThreadPool;
use super::registry::Registry;
use crate::admission::{Admission, Limits};
use crate::error::{named, no_thread};
use crate::listener::{Listener, peer_gave_up};
use crate::readiness::event_loop::JobOf;
use crate::shutdown::Stop;
use crate::sync::offload::PoolTask;
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::{Peer, Service};

/// A thread here parses a head and makes calls; it needs no 8 MiB.
const STACK: usize = 256 << 10;

/// One acceptor a listener and a thread a connection, until the stop is complete; with `workers`
/// so many threads at most, and each takes one connection after the other.
pub(crate) fn run<S: Service>(
    listeners: &[Listener],
    service: &S,
    limits: Limits,
    workers: Option<usize>,
    threads: usize,
    stop: &Stop,
) -> io::Result<()> {
    let sleeper = Arc::new(Waker::blocking().map_err(named("eventfd"))?);
    stop.rouses(&sleeper);
    for listener in listeners {
        rustix::io::ioctl_fionbio(listener, false).map_err(named("ioctl FIONBIO"))?;
    }
    // A connection that is let in has a thread, so there is room for as many as there are threads.
    let connections = limits.connections.min(workers.unwrap_or(usize::MAX));
    let admission = &Admission::new(Limits { connections, ..limits });
    let (registry, pool) = (&Registry::default(), &workers.map(ThreadPool::new));
    let offloads = &Pool::new(threads, None, PoolTask::run);
    thread::scope(|scope| {
        let mut outcome = Ok(());
        for listener in listeners {
            let acceptor = Acceptor { listener, service, admission, registry, pool, offloads };
            let spawned = thread::Builder::new()
                .name("karez-accept".to_owned())
                .spawn_scoped(scope, move || acceptor.run(scope));
            outcome = outcome.and(spawned.map(drop).map_err(no_thread("karez-accept")));
        }
        while outcome.is_ok() && !stop.has_begun() {
            sleeper.sleep();
        }
        registry.close_idle();
        for listener in listeners {
            // Wakes the acceptor with EINVAL; if it is gone already there is nothing to wake.
            let _awake = shutdown(listener, Shutdown::Both);
        }
        if let Some(pool) = pool {
            pool.end();
        }
        registry.drain(admission.grace());
        outcome
    })
}

struct Acceptor<'a, S: Service> {
    listener: &'a Listener,
    service: &'a S,
    admission: &'a Admission,
    registry: &'a Registry,
    pool: &'a Option<ThreadPool>,
    offloads: &'a Pool<PoolTask<JobOf<S>>>,
}

impl<'a, S: Service> Acceptor<'a, S> {
    fn run<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        while !self.registry.is_stopping() {
            match self.listener.accept(SocketFlags::empty()) {
                Ok((socket, peer)) if self.admit() => self.begin(scope, socket, peer),
                Ok(_) => {} // the stop came first
                Err(errno) if peer_gave_up(errno) => {}
                Err(Errno::MFILE) => self.registry.evict_idle(self.admission.backoff()),
                Err(_) => self.registry.wait_for_exit(self.admission.backoff()),
            }
        }
    }

    /// Waits until there is room for one more; false if the stop came first.
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
            // No thread to be had: the connection is closed, and others have to leave first.
            if let Some(pool) = pool {
                pool.thread_failed();
            }
            admission.leave();
            registry.evict_idle(admission.backoff());
        }
    }
}

/// Holds one connection from its begin to its end.
fn serve_connection<S: Service>(
    service: &S,
    registry: &Registry,
    admission: &Admission,
    offloads: &Pool<PoolTask<JobOf<S>>>,
    (socket, peer): (OwnedFd, Peer),
) {
    let socket = Arc::new(socket);
    let guard = registry.enter(Arc::clone(&socket));
    let task = service.connect(peer, Instant::now());
    BlockingConnection::new(&socket, &guard, offloads, task).run();
    // Before the place goes, for that tells who waits for room.
    admission.leave();
}
