//! The Reactor: one thread, one selector, its listeners and its connections.
//!
//! A turn waits once, notes the reports, accepts, and runs each ready connection within its budget: those that go on
//! sending come last, and only for a time, so that a request does not wait for all of them.
//! Then come the deadlines that have passed, [after one more look](super::overdue). Nothing in it blocks
//! but the wait, unless a task's job does and there is no pool that takes it (topology single).
//!
//! On edges a connection is registered once. On levels its interest has to follow what its task wants:
//! the changes of a turn are passed to the selector once, before the next wait.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::connection::ReadinessConnection;
use super::listeners::Listeners;
use crate::clock;
use crate::connection::EventLoopConnection as _;
use crate::error::named;
use crate::event_loop::core::{Core, JobOf, LISTENER, Parts, WAKE};
use crate::event_loop::overdue::FindOverdue as _;
use crate::event_loop::turns::EventLoop;
use crate::event_loop::wakeup::HandleWakeups as _;
use crate::panics::{MAX_IN_A_ROW, contain};
use crate::selector::{Interest, Ready, Selector, Token};
use crate::sync::offload::Offload;
use crate::task::{Peer, Service};
use crate::transient::{PAUSE, tolerate};
use karez_transfer::Outbox;

/// The receive buffer lent to tasks: one a reactor, however many connections it has.
const BUFFER: usize = 64 << 10;

/// The time of a turn after which no further connection goes on sending; the last one uses up its
/// [budget](crate::connection).
const SENDERS_TIME: Duration = Duration::from_micros(300);

/// An event loop on a readiness model.
pub(crate) struct Reactor<'a, S: Service, D> {
    pub(super) selector: D,
    pub(super) core: Core<'a, S, ReadinessConnection<S::Task>>,
    pub(super) listeners: Listeners,
    /// Connections whose interest may differ from the registered one.
    changed: Vec<Token>,
}

impl<'a, S: Service, D: Selector> Reactor<'a, S, D> {
    pub(crate) fn new(mut selector: D, parts: Parts<'a, S>) -> io::Result<Self> {
        let (core, listeners) = Core::new(parts, vec![0; BUFFER]);
        selector
            .register(core.inbox.waker().as_fd(), WAKE, Interest::READ)
            .map_err(named("register the waker"))?;
        for (listener, number) in listeners.iter().zip(0..) {
            selector
                .register(listener.as_fd(), Token(LISTENER - number), Interest::READ)
                .map_err(named("register the listener"))?;
        }
        Ok(Self { selector, core, listeners: Listeners::new(listeners), changed: Vec::new() })
    }

    /// Runs turns until the shutdown is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let (mut ready, mut panics) = (Vec::new(), 0);
        while !self.core.is_over() && panics < MAX_IN_A_ROW {
            match contain(|| self.wait_and_turn(&mut ready)) {
                Some(outcome) => {
                    outcome?;
                    panics = 0;
                }
                None => {
                    panics += 1;
                    self.close_all_panicked();
                    // Reports of them may have been among those that the panic has dropped.
                    self.listeners.states.iter_mut().for_each(|state| state.ready = true);
                    let _panicked = contain(|| self.handle_wakeup());
                }
            }
        }
        self.abandon_all();
        Ok(())
    }

    /// Delivers to each task how many bytes were sent.
    fn abandon_all(&mut self) {
        for token in self.core.connections.tokens() {
            self.with_connection(token, |connection, cx| connection.abandon(cx));
        }
    }

    fn wait_and_turn(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = self.prepare();
        self.wait(timeout, ready)?;
        self.turn(ready);
        if self.find_overdue() {
            self.wait(Some(Duration::ZERO), ready)?;
            self.time_out_overdue(ready);
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        tolerate(self.selector.wait(timeout, ready)).map_err(named("wait"))
    }

    /// Passes changed interests to the selector, and returns how long it may wait.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn prepare(&mut self) -> Option<Duration> {
        let mut retry = None;
        if !D::EDGE {
            self.update_interests();
            retry = self.update_listener_interest().err().map(|_lacks_memory| PAUSE);
        }
        let acceptor = &self.core.acceptor;
        let accepts = !acceptor.pending.is_empty() || self.listeners.is_ready();
        if accepts && acceptor.backoff_until.is_none() {
            return Some(Duration::ZERO);
        }
        retry.into_iter().chain(self.core.timeout()).min()
    }

    /// Handles all reports. Nothing in it blocks, which `.ci/sanitize realtime` has RealtimeSanitizer
    /// find out.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn turn(&mut self, ready: &mut Vec<Ready>) {
        self.core.begin_turn();
        for report in ready.drain(..) {
            self.note(report);
        }
        if D::OFFLOADS_READS {
            self.note_completed_reads();
        }
        self.accept_all();
        self.run_costly();
        for _ in 0..self.core.queue.len() {
            if let Some(token) = self.core.dequeue() {
                self.core.requests.may_defer = !self.core.queue.is_empty();
                self.run_turn(token);
            }
        }
        self.core.requests.may_defer = false;
        self.run_deferred();
        self.run_senders();
    }

    /// Runs the connections whose tasks have let the others receive first.
    fn run_deferred(&mut self) {
        let mut deferred = mem::take(&mut self.core.deferred);
        for token in deferred.drain(..) {
            let Some(connection) = self.core.connections.get_mut(token) else { continue };
            connection.state.wants.deferred = false;
            connection.state.deferred_due = true;
            self.run_turn(token);
        }
        self.core.deferred = deferred;
    }

    /// Runs connections that go on sending, for a time, so that a request which has arrived meanwhile does not wait for
    /// all of them.
    fn run_senders(&mut self) {
        if self.core.senders.is_empty() {
            return;
        }
        let end = clock::now() + SENDERS_TIME;
        for _ in 0..self.core.senders.len() {
            if let Some(token) = self.core.dequeue_sender() {
                self.run_turn(token);
            }
            if clock::now() > end {
                break;
            }
        }
    }

    /// Handles a report: of the waker, a connection, an upstream or a listener.
    pub(super) fn note(&mut self, report: Ready) {
        if report.token == WAKE {
            self.handle_wakeup();
        } else if let Some(connection) = self.core.connections.get_mut(report.token) {
            connection.set_ready(report);
            self.core.enqueue(report.token);
        } else if !self.note_upstream(report)
            && let Ok(number) = usize::try_from(LISTENER - report.token.0)
        {
            self.listeners.set_ready(number);
        }
    }

    /// Returns an outbox that reports misses where they can be read without blocking this thread.
    pub(super) fn new_outbox(&self) -> Outbox {
        let mut outbox = Outbox::new();
        if self.core.offloads_all {
            outbox.report_misses();
            return outbox;
        }
        if D::OFFLOADS_READS {
            outbox.report_direct_misses();
        }
        outbox.report_remote_misses();
        outbox
    }

    pub(super) fn note_completed_reads(&mut self) {
        while let Some(token) = self.selector.next_completed_read() {
            // The connection may have been closed, and its slot used again.
            if let Some(connection) = self.core.connections.get_mut(token) {
                connection.page_in_done(None);
                self.core.enqueue(token);
            }
        }
    }

    /// Passes the interest of each connection that waits to the selector.
    fn update_interests(&mut self) {
        for token in mem::take(&mut self.changed) {
            let Some(connection) = self.core.connections.get_mut(token) else { continue };
            let wanted = connection.wanted();
            // A connection that also runs in the next turn is updated when it waits.
            if connection.state.queued || wanted == connection.interest {
                continue;
            }
            match self.selector.modify(connection.socket.as_fd(), token, wanted) {
                Ok(()) => connection.interest = wanted,
                Err(_) => self.close(token), // it would not be reported any more
            }
        }
    }
}

impl<'a, S: Service, D: Selector> EventLoop<'a> for Reactor<'a, S, D> {
    type Service = S;
    type Connection = ReadinessConnection<S::Task>;

    fn core(&mut self) -> &mut Core<'a, S, ReadinessConnection<S::Task>> {
        &mut self.core
    }

    fn register(&mut self, socket: OwnedFd, peer: Peer) {
        self.register_connection(socket, peer);
    }

    fn resume(&mut self, token: Token) {
        self.core.enqueue(token);
    }

    fn close_listeners(&mut self) {
        for listener in self.listeners.take() {
            // Another reactor or process may have the same socket open still, which keeps it registered
            // here, and each of its connections would wake this thread. The owner of its signals is one
            // for all of them, and is left as it is.
            if !D::SHARES_REGISTRATION {
                let _refused = self.selector.deregister(listener.as_fd());
            }
        }
    }

    fn disconnect(&mut self, connection: &mut ReadinessConnection<S::Task>) -> bool {
        self.forget_upstreams(connection);
        if !D::CLOSE_DEREGISTERS {
            // It is closed all the same, so nothing can be done about an error.
            let _refused = self.selector.deregister(connection.socket.as_fd());
        }
        true
    }

    fn after_turn(&mut self, token: Token) {
        let Some(connection) = self.core.connections.get_mut(token) else { return };
        let relays = connection.has_relay();
        if !D::EDGE && connection.wanted() != connection.interest {
            self.changed.push(token);
        }
        if relays {
            self.follow_relay(token);
        }
    }

    /// Lets the selector read from a disk past the page cache, if it can.
    fn offload(&mut self, token: Token, offload: Offload<JobOf<S>>) -> Option<Offload<JobOf<S>>> {
        if D::OFFLOADS_READS
            && let Offload::PageIn(None, part) = offload
        {
            let refused = self.selector.offload_read(token, part).err()?;
            return Some(Offload::PageIn(None, refused));
        }
        Some(offload)
    }
}

#[cfg(all(feature = "simulation", not(loom)))]
impl<S: Service, D: Selector> crate::simulation::simulated::Simulated for Reactor<'_, S, D> {
    fn step(&mut self) -> io::Result<()> {
        self.wait_and_turn(&mut Vec::new())
    }

    fn end(&mut self) {
        self.abandon_all();
    }

    fn find_lost_wakeup(&mut self) -> Option<String> {
        let mut lost = self.core.connections.iter_mut().filter_map(|it| it.lost_wakeup());
        lost.next().map(str::to_owned)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "tests.rs"]
pub(crate) mod tests;
