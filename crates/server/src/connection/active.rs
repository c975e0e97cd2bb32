//! The state of a connection during a request and its response: the protocol and the exchange. It is
//! pooled per thread, so that an idle connection has none and a request costs no allocation.
//!
//! # Limitations
//!
//! With more than [`KEPT`] busy connections on a thread, requests allocate. Between two requests the
//! state must equal a new one: that of HTTP/1.1 does.

use std::cell::RefCell;
use std::time::Instant;

use crate::exchange::Exchange;
use crate::protocol::Protocol;

/// The most states in the pool of a thread, about 400 bytes each.
const KEPT: usize = 256;

/// A box moves between the pool and its user.
type Pool = RefCell<Vec<Box<Active>>>;

thread_local! {
    static IDLE: Pool = const { RefCell::new(Vec::new()) };
}

pub(super) struct Active {
    pub(super) protocol: Protocol,
    /// The exchange that is open.
    pub(super) exchange: Option<Exchange>,
    /// A FIN has been sent: received bytes are dropped until then.
    pub(super) lingers_until: Option<Instant>,
}

/// The state of one connection, if it has one.
#[derive(Default)]
pub(super) struct PooledActive(Option<Box<Active>>);

impl PooledActive {
    /// Returns the state; takes one from the pool if there is none.
    pub(super) fn get(&mut self) -> &mut Active {
        self.0.get_or_insert_with(|| {
            let kept = IDLE.try_with(|idle| idle.borrow_mut().pop()).ok().flatten();
            kept.unwrap_or_else(|| {
                let (protocol, exchange, lingers_until) = (Protocol::new(), None, None);
                Box::new(Active { protocol, exchange, lingers_until })
            })
        })
    }

    /// Returns the open exchange.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        self.0.as_mut()?.exchange.as_mut()
    }

    /// Returns until when received bytes are dropped.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        self.0.as_ref()?.lingers_until
    }

    /// Returns whether no request has begun.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |active: &Active| active.exchange.is_none() && active.protocol.is_idle();
        self.0.as_deref().is_none_or(idle)
    }

    /// Returns the state to the pool if it equals a new one.
    pub(super) fn release(&mut self) {
        let is_new = |active: &Active| active.exchange.is_none() && active.protocol.is_new();
        if self.lingers_until().is_none() && self.0.as_deref().is_some_and(is_new) {
            self.discard();
        }
    }

    /// Returns the state to the pool, without a request that is in flight.
    pub(super) fn discard(&mut self) {
        let Some(mut active) = self.0.take() else { return };
        (active.protocol, active.exchange) = (Protocol::new(), None);
        active.lingers_until = None;
        // While the thread ends there is no pool.
        let _ended = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < KEPT {
                idle.push(active);
            }
        });
    }
}
