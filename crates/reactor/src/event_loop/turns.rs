//! The way of the connections through an event loop: registered, resumed, run for a turn, closed.
//!
//! [`EventLoop`] is the contract of a backend. It is compiled once for each model, so that one model
//! does not pay for another.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::core::{Core, JobOf, TaskOf};
use crate::connection::{Connection as _, ContextOf, EventLoopConnection, TurnContext};
use crate::io::Close;
use crate::panics::contain;
use crate::selector::Token;
use crate::sync::mailbox::Context;
use crate::sync::offload::{Offload, PoolTask};
use crate::task::{JobError, Peer, Service};
use crate::task_state::Turn;

/// An event loop of one backend.
pub(crate) trait EventLoop<'a>: Sized {
    type Service: Service + 'a;
    type Connection: EventLoopConnection<Task = TaskOf<Self::Service>>;

    fn core(&mut self) -> &mut Core<'a, Self::Service, Self::Connection>;

    /// Starts to serve a connection that has been admitted.
    fn register(&mut self, socket: OwnedFd, peer: Peer);

    /// Lets a connection run: at once, or in this turn.
    fn resume(&mut self, token: Token);

    /// Stops accepting for good.
    fn close_listeners(&mut self);

    /// The same without the loss of a connection that has been accepted. Returns whether it is done; else it
    /// will [be](Self::accepting_ended) when the last of them has arrived.
    fn retire_listeners(&mut self) -> bool {
        self.close_listeners();
        true
    }

    /// Notes that no connection will be accepted any more.
    fn accepting_ended(&mut self) {
        let core = self.core();
        if mem::take(&mut core.accepts) {
            core.shutdown.acceptor_ended();
        }
    }

    /// Ends the work of the backend for a connection that is being closed; true if its descriptor is free
    /// when it is dropped.
    fn disconnect(&mut self, connection: &mut Self::Connection) -> bool;

    /// Watches the waker again.
    fn rearm_waker(&mut self) {}

    /// Updates registrations after a turn of a connection.
    fn after_turn(&mut self, _token: Token) {}

    /// Takes work that the model itself can do without blocking; returns any other.
    fn offload(
        &mut self,
        _token: Token,
        offload: Offload<JobOf<Self::Service>>,
    ) -> Option<Offload<JobOf<Self::Service>>> {
        Some(offload)
    }

    /// Delivers the first event of a connection.
    fn open(&mut self, token: Token) {
        let mut messages = self.core().messages.take();
        let waker = Arc::clone(self.core().inbox.shared_waker());
        self.with_connection(token, |connection, cx| {
            let context = Context { token, queue: &mut messages, waker: Some(&waker) };
            connection.open(context, cx);
        });
        self.core().messages = messages;
        self.resume(token);
    }

    /// Calls `work` with a connection and its context, and hands out blocking work.
    fn with_connection<R>(
        &mut self,
        token: Token,
        work: impl FnOnce(&mut Self::Connection, &mut ContextOf<'_, Self::Connection>) -> R,
    ) -> Option<R> {
        let core = self.core();
        let connection = core.connections.get_mut(token)?;
        let mut cx = TurnContext {
            resources: &mut core.resources,
            requests: &mut core.requests,
            offloads: &mut core.offloads,
            pool: core.offloads_all,
            now: core.now,
        };
        let Some(result) = contain(|| work(connection, &mut cx)) else {
            self.close_panicked(token);
            return None;
        };
        for ticket in connection.state().tickets.drain_unwanted() {
            core.pool.abandon(ticket);
        }
        if !core.offloads.is_empty() {
            self.hand_out(token);
        }
        Some(result)
    }

    /// Hands out blocking work: to the model, if it takes it, or to the pool.
    fn hand_out(&mut self, token: Token) {
        let mut offloads = mem::take(&mut self.core().offloads);
        for offload in offloads.drain(..) {
            if let Some(offload) = self.offload(token, offload) {
                self.submit(token, offload);
            }
        }
        self.core().offloads = offloads;
    }

    /// Submits work to the pool, or reports to the connection that it is rejected.
    fn submit(&mut self, token: Token, offload: Offload<JobOf<Self::Service>>) {
        let core = self.core();
        let Some(connection) = core.connections.get_mut(token) else { return };
        let state = connection.state();
        let (id, device, admit) = (offload.id(), offload.device(), offload.admit());
        let until = state.offload_deadline(id, core.now);
        let task = PoolTask { offload, token, inbox: Arc::clone(&core.inbox) };
        let submitted = if core.offloads_all || device.remote {
            core.pool.submit(device, until, admit, task)
        } else {
            Err(task)
        };
        match submitted.map_err(|task| task.offload) {
            Ok(ticket) => return state.tickets.push(id, ticket),
            Err(Offload::Job(id, _)) => state.job_done(id, Err(JobError::Rejected)),
            // No thread reads the pages, so the steps of the outbox do.
            Err(Offload::PageIn(tag, _)) => {
                state.outbox.block_on_misses();
                connection.page_in_done(tag);
            }
        }
        core.enqueue(token);
    }

    /// Runs a turn of a connection.
    fn run_turn(&mut self, token: Token) {
        let turn = self.with_connection(token, |connection, cx| {
            connection.state().deadline.clear();
            connection.advance(cx)
        });
        let core = self.core();
        let (Some(turn), Some(connection)) = (turn, core.connections.get_mut(token)) else {
            return;
        };
        match turn {
            Turn::Closed => return self.close(token),
            Turn::Blocked { idle: true, .. } if core.grace_end.is_some() && !core.draining => {
                return self.close(token);
            }
            Turn::Yielded if connection.state().wants.deferred => {
                core.connections.set_busy(token);
                return core.deferred.push(token);
            }
            Turn::Yielded => {
                let state = connection.state();
                let postponed = mem::take(&mut state.wants.postponed);
                state.deferred_due |= postponed;
                // It may be long before it has time for its work.
                if let Some(deadline) = state.wants.deadline().filter(|_| postponed) {
                    core.timers.set(token, &mut state.deadline, deadline.instant());
                }
                core.connections.set_busy(token);
                match postponed {
                    true => core.enqueue_costly(token),
                    false => core.enqueue(token),
                }
            }
            Turn::Blocked { deadline, idle, unchanged } => {
                if let Some(deadline) = deadline {
                    core.timers.set(token, &mut connection.state().deadline, deadline);
                }
                match (idle, unchanged) {
                    (_, true) => {} // the event was not about anything that the task wants
                    (true, _) => core.connections.set_idle(token),
                    (false, _) => core.connections.set_busy(token),
                }
            }
        }
        self.after_turn(token);
    }

    /// Runs connections that wait to begin costly work, as many as this turn has time for. It comes before
    /// other connections, which otherwise could begin such work in each turn.
    fn run_costly(&mut self) {
        for _ in 0..self.core().costly.len() {
            let Some(token) = self.core().dequeue_costly() else { break };
            self.run_turn(token);
        }
    }

    /// Closes a connection and frees its place.
    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.core().connections.remove(token) else { return };
        let frees_descriptor = self.disconnect(&mut connection);
        let core = self.core();
        for ticket in connection.state().tickets.drain() {
            core.pool.abandon(ticket);
        }
        let evicting = connection.state().evicting;
        // The destructor of a task is its own code.
        let _panicked = contain(|| drop(connection));
        self.leave(frees_descriptor);
        let core = self.core();
        if evicting {
            core.shutdown.wake_all();
        }
        let connections = &mut core.connections;
        let live = connections.len();
        core.timers.compact(live, |token| connections.contains(token));
    }

    /// Closes a connection whose task panicked, by a reset, and discards what it has left behind.
    fn close_panicked(&mut self, token: Token) {
        self.discard_shared();
        let core = self.core();
        if let Some(connection) = core.connections.get_mut(token) {
            connection.state().wants.close = Some(Close::Reset);
            connection.prepare_close();
        }
        self.close(token);
    }

    /// Closes all connections after a panic outside of a task, whose effect on them is unknown.
    fn close_all_panicked(&mut self) {
        for token in self.core().connections.tokens() {
            self.close_panicked(token);
        }
        self.discard_shared();
    }

    /// Discards requests, and the state that tasks share, which a panic may have left half done.
    fn discard_shared(&mut self) {
        let core = self.core();
        let _panicked = contain(|| {
            core.requests.discard();
            core.offloads.clear();
        });
        let local = core.requests.local.take();
        let had_local = local.is_some();
        let _panicked = contain(|| drop(local));
        if had_local {
            core.requests.local = contain(|| core.service.local()).flatten();
        }
    }

    /// Frees the place of a connection, for one that waits here or on another event loop.
    fn leave(&mut self, frees_descriptor: bool) {
        let core = self.core();
        core.inbox.dec_load();
        core.admission.leave();
        if frees_descriptor {
            core.acceptor.backoff_until = None;
        }
        core.acceptor.retry();
        if core.acceptor.pending.is_empty() && core.admission.take_eviction_request() {
            core.shutdown.wake_all();
        }
    }
}
