//! Receiving on model blocking: recv(2) with `SO_RCVTIMEO` as its deadline, or poll(2) where the thread
//! waits for more than the socket.

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};
use std::mem;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use super::connection::{BUFFER, BlockingConnection};
use crate::connection::{Connection as _, ContextOf};
use crate::io::Receive;
use crate::moment::Moment;
use crate::records;
use crate::task::{Event, Reason, RecordType, Task};

impl<T: Task> BlockingConnection<'_, T> {
    /// Receives, or waits for the timer or a message; false at the end.
    pub(super) fn step_receive(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let wants = &self.state.wants;
        let idle = wants.receive.is_some_and(|receive| receive.idle);
        let blocks = self.messages.is_none() && wants.timer.is_none() && !self.duplex;
        if !self.guard.set_idle(idle) {
            self.say_farewell(Reason::Shutdown, cx);
            return false;
        }
        let goes_on = if blocks { self.receive_blocking(cx) } else { self.receive_polling(cx) };
        self.guard.set_idle(false);
        goes_on
    }

    fn receive_blocking(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let Some(receive) = self.state.wants.receive else { return true };
        let left = receive.deadline.instant().saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Bytes may have arrived in time: this process may have been stopped since.
            return self.receive(RecvFlags::DONTWAIT, cx);
        }
        if let Err(errno) = self.set_receive_timeout(left) {
            self.state.wants.receive = None;
            self.deliver(Event::Failed(errno.into()), cx);
            return true;
        }
        self.receive(RecvFlags::empty(), cx)
    }

    fn receive_polling(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let deadline = self.state.wants.deadline().map(Moment::instant);
        let receives = self.state.wants.receive.is_some();
        match self.wait(PollFlags::empty(), deadline, cx) {
            Ok(ready) if ready.is_empty() => {
                self.time_out_receive(cx);
            }
            Ok(_) if receives => return self.receive(RecvFlags::DONTWAIT, cx),
            // The peer is gone, and the task waits for its timer alone.
            Ok(_) => self.deliver(Event::PeerClosed, cx),
            Err(errno) => {
                self.state.wants.receive = None;
                self.deliver(Event::Failed(errno.into()), cx);
            }
        }
        true
    }

    /// Receives once; false at the end. A receive that would block, or that a signal interrupts, stays
    /// armed until its deadline.
    pub(super) fn receive(&mut self, flags: RecvFlags, cx: &mut ContextOf<'_, Self>) -> bool {
        let armed = self.state.wants.receive;
        let at_most = armed.and_then(Receive::at_most);
        let room = at_most.map_or(BUFFER, |most| most.get().min(BUFFER));
        let is_late = || armed.is_some_and(|receive| receive.deadline.instant() <= Instant::now());
        let mut buffer = mem::take(&mut self.buffer);
        cx.requests.epoch += 1;
        let (socket, records) = (self.socket.as_fd(), self.state.records);
        let event = match records::receive(socket, &mut buffer[..room], flags, records) {
            Ok((0, RecordType::Data)) => match self.guard.leave() {
                Some(reason) => {
                    self.say_farewell(reason, cx);
                    return false;
                }
                None => Some(Event::PeerClosed),
            },
            Ok((count, kind)) => Some(Event::Received(&mut buffer[..count], kind)),
            Err(Errno::AGAIN) if flags == RecvFlags::DONTWAIT && is_late() => {
                Some(Event::ReceiveTimedOut)
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Event::Failed(errno.into())),
        };
        if let Some(event) = event {
            self.state.wants.receive = None;
            self.guard.set_idle(false);
            cx.now = Instant::now();
            self.state.handle(event, cx.requests, cx.now);
        }
        self.buffer = buffer;
        self.follow_requests(cx);
        true
    }

    /// Sets `SO_RCVTIMEO`, unless the set timeout is about right: it is the same for every request.
    fn set_receive_timeout(&mut self, left: Duration) -> rustix::io::Result<()> {
        let lax = left + left / 8 + Duration::from_millis(1);
        if self.receive_timeout.is_none_or(|set| set < left || set > lax) {
            sockopt::set_socket_timeout(self.socket, sockopt::Timeout::Recv, Some(lax))?;
            self.receive_timeout = Some(lax);
        }
        Ok(())
    }
}
