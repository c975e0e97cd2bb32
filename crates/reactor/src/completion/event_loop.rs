//! The Proactor: one thread, one completion model, its listeners and its connections. The counterpart
//! of the [Reactor](crate::readiness::event_loop), to which the kernel reports readiness; here it
//! reports results.
//!
//! A turn waits once, takes the result of each operation, starts what follows from it, and admits new
//! connections. Then come the deadlines that have passed, after the completions until then: a
//! wait may have been interrupted, or be long over when this thread runs again. A connection that is
//! closed is forgotten at once; its descriptor is closed with the last operation that holds it.

use karez_sys::{Completion, Operation, Outcome, SharedFd};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::connection::CompletionConnection;
use super::listeners::ArmedListeners;
use crate::clock;
use crate::connection::EventLoopConnection as _;
use crate::driver::Driver;
use crate::error::named;
use crate::event_loop::core::{Core, Parts, WAKE};
use crate::event_loop::overdue::FindOverdue as _;
use crate::event_loop::turns::EventLoop;
use crate::event_loop::wakeup::HandleWakeups as _;
use crate::panics::{MAX_IN_A_ROW, contain};
use crate::selector::Token;
use crate::task::{Peer, Service};
use crate::transient::tolerate;

/// Calls that fetch completions before a deadline counts. Each may return only a part of them: io_uring
/// does 20 pieces of deferred work at a time.
const LOOKS: usize = 64;

/// How long to wait for the results of cancelled operations when the grace period is over.
const CANCEL_TIME: Duration = Duration::from_millis(250);

/// An event loop on a completion model.
pub(crate) struct Proactor<'a, S: Service, C: Driver> {
    pub(super) core: Core<'a, S, CompletionConnection<S::Task, C>>,
    pub(super) listeners: ArmedListeners,
}

impl<'a, S: Service, C: Driver> Proactor<'a, S, C> {
    pub(crate) fn new(driver: C, parts: Parts<'a, S>) -> Self {
        let (core, listeners) = Core::new(parts, Backend::new(driver));
        Self { core, listeners: ArmedListeners::new(listeners) }
    }

    /// Runs turns until the shutdown is complete.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let (mut done, mut later) = (Vec::new(), Vec::new());
        self.rearm_waker();
        self.accept();
        let mut panics = 0;
        while !self.core.is_over() && panics < MAX_IN_A_ROW {
            match contain(|| self.wait_and_turn(&mut done, &mut later)) {
                Some(outcome) => {
                    outcome?;
                    panics = 0;
                }
                None => {
                    panics += 1;
                    self.close_all_panicked();
                    // The completion of the waker may have been among those that the panic has dropped.
                    let _panicked = contain(|| self.handle_wakeup());
                    self.accept();
                }
            }
        }
        self.abort_all();
        Ok(())
    }

    fn wait_and_turn(
        &mut self,
        done: &mut Vec<Completion>,
        later: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let timeout = self.core.timeout();
        self.wait(timeout, done)?;
        self.turn(done, later);
        if self.find_overdue() {
            for _ in 0..LOOKS {
                self.wait(Some(Duration::ZERO), done)?;
                if done.is_empty() {
                    break;
                }
                self.complete_all(done, later);
            }
            self.time_out_overdue();
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        // The bytes of all receives that complete in this turn are taken by now.
        self.core.requests.epoch += 1;
        tolerate(self.core.resources.wait(timeout, done)).map_err(named("wait"))
    }

    /// Handles all completions. Nothing in it blocks, which `.ci/sanitize realtime` has RealtimeSanitizer
    /// find out.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn turn(&mut self, done: &mut Vec<Completion>, later: &mut Vec<Completion>) {
        self.core.begin_turn();
        self.run_costly();
        self.complete_all(done, later);
        for _ in 0..self.core.queued() {
            if let Some(token) = self.core.dequeue().or_else(|| self.core.dequeue_sender()) {
                self.run_turn(token);
            }
        }
        self.admit_all();
        self.accept();
    }

    fn complete_all(&mut self, done: &mut Vec<Completion>, later: &mut Vec<Completion>) {
        for completion in done.drain(..) {
            // These may evict a connection whose bytes are among the completions of this turn.
            let is_wakeup = completion.tag == WAKE.0;
            if is_wakeup || matches!(completion.outcome, Outcome::Accepted(_)) {
                later.push(completion);
            } else {
                self.complete(completion);
            }
        }
        for completion in later.drain(..) {
            self.complete(completion);
        }
    }

    /// Handles a completion: of the waker, a connection, or a listener.
    fn complete(&mut self, completion: Completion) {
        let token = Token(completion.tag);
        if token == WAKE {
            self.handle_wakeup();
        } else if self.core.connections.contains(token) {
            self.with_connection(token, |connection, cx| connection.complete(completion, cx));
            self.run_turn(token);
        } else if let Outcome::Accepted(accepted) = completion.outcome {
            self.accepted(completion.tag, completion.last, accepted);
        } else if completion.last {
            // The last operation of a closed connection: its descriptor is free.
            self.core.acceptor.backoff_until = None;
        }
    }

    /// Times out the connections whose deadlines have passed, after everything that was complete
    /// before. A deadline that fires late is extended first: the kernel, or a thread, could not go on
    /// either.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    fn time_out_overdue(&mut self) {
        let mut overdue = mem::take(&mut self.core.overdue);
        for token in overdue.drain(..) {
            if self.time_out(token, true) {
                self.run_turn(token);
            }
        }
        self.core.overdue = overdue;
        self.admit_all();
        self.accept();
    }

    /// Cancels everything in flight, and delivers to each task how many bytes were sent.
    fn abort_all(&mut self) {
        let core = &mut self.core;
        for connection in core.connections.iter_mut() {
            connection.abort(&mut core.resources);
        }
        let (end, mut done) = (clock::now() + CANCEL_TIME, Vec::new());
        while self.core.connections.iter_mut().any(|connection| connection.is_sending()) {
            let left = end.saturating_duration_since(clock::now());
            if left.is_zero() || self.core.resources.wait(Some(left), &mut done).is_err() {
                break;
            }
            for completion in done.drain(..) {
                let token = Token(completion.tag);
                self.with_connection(token, |connection, cx| connection.complete(completion, cx));
            }
        }
        for token in self.core.connections.tokens() {
            self.with_connection(token, |connection, cx| connection.abandon(cx));
        }
    }
}

impl<'a, S: Service, C: Driver> EventLoop<'a> for Proactor<'a, S, C> {
    type Service = S;
    type Connection = CompletionConnection<S::Task, C>;

    fn core(&mut self) -> &mut Core<'a, S, CompletionConnection<S::Task, C>> {
        &mut self.core
    }

    fn register(&mut self, socket: OwnedFd, peer: Peer) {
        self.register_connection(socket, peer);
    }

    fn resume(&mut self, token: Token) {
        self.run_turn(token);
    }

    fn close_listeners(&mut self) {
        self.listeners.close(&mut self.core.resources.driver);
    }

    fn retire_listeners(&mut self) -> bool {
        self.listeners.retire(&mut self.core.resources.driver);
        self.listeners.are_done()
    }

    /// Operations in flight hold the descriptor.
    fn disconnect(&mut self, connection: &mut CompletionConnection<S::Task, C>) -> bool {
        connection.abort(&mut self.core.resources);
        false
    }

    fn rearm_waker(&mut self) {
        let waker = Arc::clone(self.core.inbox.shared_waker()) as SharedFd;
        self.core.resources.driver.start(WAKE.0, Operation::Readable(waker));
    }
}

#[cfg(all(feature = "simulation", not(loom)))]
impl<S: Service, C: Driver> crate::simulation::simulated::Simulated for Proactor<'_, S, C> {
    fn step(&mut self) -> io::Result<()> {
        self.wait_and_turn(&mut Vec::new(), &mut Vec::new())
    }

    fn end(&mut self) {
        self.abort_all();
    }

    fn find_lost_wakeup(&mut self) -> Option<String> {
        let mut lost = self.core.connections.iter_mut().filter_map(|it| it.lost_wakeup());
        lost.next().map(str::to_owned)
    }
}

#[cfg(test)]
#[cfg(all(not(loom), feature = "uring"))]
#[path = "tests.rs"]
mod tests;
