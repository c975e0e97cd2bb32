//! Receiving on a readiness model: one recv(2) into the buffer that all connections of an event loop
//! share.

use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::fd::AsFd as _;

use super::connection::ReadinessConnection;
use crate::connection::{Connection, ContextOf, Step};
use crate::io::Receive;
use crate::records;
use crate::task::{Event, RecordType, Task};

impl<T: Task> ReadinessConnection<T> {
    /// Receives as much as the task allows.
    pub(super) fn receive(&mut self, cx: &mut ContextOf<'_, Self>) -> Step {
        let (size, buffer) = (cx.resources.len(), &mut cx.resources[..]);
        let at_most = self.state.wants.receive.and_then(Receive::at_most);
        let room = at_most.map_or(size, |most| most.get().min(size));
        cx.requests.epoch += 1;
        let (socket, flags, records) =
            (self.socket.as_fd(), RecvFlags::empty(), self.state.records);
        let event = match records::receive(socket, &mut buffer[..room], flags, records) {
            Ok((0, RecordType::Data)) => Event::PeerClosed,
            Ok((count, kind)) => {
                // A short count is as good as EAGAIN (epoll(7), question 9), but not of records. An
                // end that was reported is right behind it, so the next call finds it.
                let short = count < room && !records;
                self.readable = !short || self.read_closed;
                self.read_closed &= !short;
                Event::Received(&mut buffer[..count], kind)
            }
            Err(Errno::AGAIN) => {
                (self.readable, self.read_closed) = (false, false);
                return Step::Blocked;
            }
            Err(Errno::INTR) => return Step::Moved(0),
            Err(errno) => Event::Failed(errno.into()),
        };
        self.state.wants.receive = None;
        self.state.handle(event, cx.requests, cx.now);
        self.follow_requests(cx);
        Step::Moved(0)
    }
}
