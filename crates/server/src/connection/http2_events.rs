//! The events of a connection that speaks HTTP/2: they go to its [`Http2`](super::http2::Http2), and the
//! connection is closed behind the last frame.

use karez_reactor::{Event, Io, RecordType, SendError};

use super::Connection;
use crate::job::FileJob;
use crate::transport::Received;

impl Connection {
    /// Handles an event of a connection that speaks HTTP/2.
    pub(super) fn handle_http2(&mut self, event: Event<'_, Self>, io: &mut Io<'_, FileJob>) {
        match event {
            Event::Received(..) if self.active.lingers_until().is_some() => self.linger(io),
            Event::ReceiveTimedOut | Event::PeerClosed if self.active.lingers_until().is_some() => {
                io.close();
            }
            Event::Timer if self.active.lingers_until().is_some() => io.close(),
            Event::Received(bytes, kind) => self.receive_http2(bytes, kind, io),
            Event::Configured(result) => self.configured(&result, io),
            Event::Failed(error) => self.receive_failed(&error, io),
            Event::SendFailed(SendError::Failed(error))
                if self.transport.send_failed(&error, io.outbox()) =>
            {
                self.fail(io);
            }
            event => {
                self.transport.before_append(io.outbox());
                if let Some(http2) = &mut self.http2 {
                    http2.handle(event, io);
                }
                self.end_http2(io);
            }
        }
    }

    /// Receives the first bytes of HTTP/2 without TLS, in two parts.
    pub(super) fn receive_first(&mut self, first: &[u8], rest: &[u8], io: &mut Io<'_, FileJob>) {
        if let Some(http2) = &mut self.http2 {
            http2.received(first, io);
            http2.received(rest, io);
            http2.update(io);
        }
        self.end_http2(io);
    }

    /// Receives bytes of the socket.
    pub(super) fn receive_http2(
        &mut self,
        bytes: &mut [u8],
        kind: RecordType,
        io: &mut Io<'_, FileJob>,
    ) {
        let Some(http2) = &mut self.http2 else { return };
        http2.receive_done();
        if let Some(cost) = &mut http2.cost {
            cost.sealed = self.transport.seals();
        }
        let received =
            self.transport.receive(bytes, kind, io, |bytes, io| http2.received(bytes, io));
        if let Some(option) = self.transport.take_option() {
            io.configure(option);
        }
        if matches!(received, Received::Failed) {
            return self.fail(io);
        }
        if self.transport.is_ended() {
            http2.peer_closed();
        }
        http2.set_record_due(self.transport.record_due(io.now(), self.context.timeouts.head));
        self.transport.before_append(io.outbox());
        http2.update(io);
        self.end_http2(io);
    }

    /// Appends frames while there is room.
    pub(super) fn fill_http2(&mut self, io: &mut Io<'_, FileJob>) {
        if let Some(http2) = &mut self.http2 {
            http2.update(io);
        }
        self.end_http2(io);
    }

    /// Closes the connection behind its last frame, and one whose keys are used up behind its streams.
    fn end_http2(&mut self, io: &mut Io<'_, FileJob>) {
        let Some(http2) = &mut self.http2 else { return };
        if self.active.lingers_until().is_some() {
            return;
        }
        if self.transport.should_close() && !http2.is_finished() {
            http2.stop(io);
        }
        if http2.is_finished() {
            self.shut_down(io);
        } else if http2.is_over() {
            self.close_idle(io);
        }
    }
}
