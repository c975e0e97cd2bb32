//! Why a connection ends, for metrics.

use karez_reactor::{Event, Reason, SendError};

use super::Connection;
use crate::closing::{CloseReason, is_local};

impl Connection {
    /// Notes what an event that ends the connection says about the reason. What follows the last response does not.
    pub(super) fn note_end(&mut self, event: &Event<'_, Self>) {
        if !self.counted.is_counted() || self.active.lingers_until().is_some() {
            return;
        }
        let reason = match event {
            Event::PeerClosed | Event::Failed(_) => CloseReason::Client,
            Event::ReceiveTimedOut if self.is_between_requests() => CloseReason::IdleTimeout,
            Event::ReceiveTimedOut | Event::SendFailed(SendError::TimedOut) => CloseReason::Timeout,
            Event::Timer if self.transport.handshake_deadline().is_some() => CloseReason::Timeout,
            Event::SendFailed(SendError::ShutDown) | Event::Closing(Reason::Shutdown) => {
                CloseReason::Shutdown
            }
            Event::SendFailed(SendError::Failed(error)) if !is_local(error) => CloseReason::Client,
            Event::SendFailed(_) => CloseReason::Error,
            Event::Closing(Reason::Evicted) => CloseReason::Evicted,
            _ => return,
        };
        self.counted.set(reason);
    }

    fn is_between_requests(&self) -> bool {
        match &self.http2 {
            Some(http2) => http2.is_idle(),
            None => self.active.is_idle() && self.transport.handshake_deadline().is_none(),
        }
    }
}
