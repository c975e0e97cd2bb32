//! Sending on model blocking: a step of the outbox, and poll(2) where the socket takes nothing.

use karez_transfer::Progress;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::RecvFlags;
use std::os::fd::AsFd as _;
use std::time::Instant;

use super::connection::BlockingConnection;
use super::wait;
use crate::connection::{Connection as _, ContextOf};
use crate::moment::Moment;
use crate::send_limit;
use crate::sync::offload::Offload;
use crate::task::{Event, SendError, Task};

impl<T: Task> BlockingConnection<'_, T> {
    /// Sends by a call that blocks for a moment, and waits for room if that was not enough.
    pub(super) fn step_send(&mut self, cx: &mut ContextOf<'_, Self>) {
        if !self.sends_limited {
            if let Err(errno) = send_limit::limit(self.socket.as_fd()) {
                return self.fail_send(SendError::Failed(errno.into()), cx);
            }
            self.sends_limited = true;
        }
        let Err(wanted) = self.step_outbox(cx) else { return };
        // poll(2) reports room only when there is enough of it, so that small pieces wait.
        let mut fds = [PollFd::new(self.socket, wanted)];
        match wait::until_ready(&mut fds, self.state.stall_deadline()) {
            Ok(true) => {}
            Ok(false) => self.fail_send(SendError::TimedOut, cx),
            Err(errno) => self.fail_send(SendError::Failed(errno.into()), cx),
        }
    }

    /// Makes one step of the outbox. The error is the event that it has to wait for.
    fn step_outbox(&mut self, cx: &mut ContextOf<'_, Self>) -> Result<(), PollFlags> {
        let progress = self.state.outbox.step(self.socket.as_fd());
        cx.now = Instant::now();
        self.start_unit_page_ins();
        match progress {
            Ok(Progress::Moved(bytes)) => {
                self.state.progressed(bytes, cx.now);
                self.fill(cx);
                // Where the peer takes little at a time, the wait for room does not reach the deadline.
                if !self.state.outbox.is_empty() && self.state.stall_deadline() <= cx.now {
                    self.fail_send(SendError::TimedOut, cx);
                }
            }
            Ok(Progress::Done) => self.fill(cx),
            Ok(Progress::NeedsWorker) => self.start_page_in(cx),
            Ok(Progress::Truncated { missing }) => {
                self.fail_send(SendError::Truncated { missing }, cx);
            }
            // The completion arrives in the error queue, which poll(2) reports without being asked.
            Ok(Progress::NeedsZerocopyCompletion) => return Err(PollFlags::empty()),
            Ok(_) => return Err(PollFlags::OUT),
            Err(error) => self.fail_send(SendError::Failed(error), cx),
        }
        Ok(())
    }

    /// Has the next pages read by a thread that may hang.
    fn start_page_in(&mut self, cx: &mut ContextOf<'_, Self>) {
        let until = self.state.stall_deadline();
        self.ignores_reports = false;
        let Some(part) = self.state.outbox.page_in() else {
            return self.state.outbox.block_on_misses();
        };
        match self.offloads.submit(Offload::PageIn(None, part), until) {
            Ok(()) => self.page_in = true,
            Err(_) => self.fail_send(SendError::Failed(Errno::AGAIN.into()), cx),
        }
    }

    /// Has the pages of units read.
    fn start_unit_page_ins(&mut self) {
        while let Some((tag, part)) = self.state.outbox.take_page_in() {
            let until = self.state.stall_deadline();
            if self.offloads.submit(Offload::PageIn(Some(tag), part), until).is_err() {
                self.state.outbox.block_on_misses();
                self.state.outbox.page_in_done(tag);
            }
        }
    }

    /// Sends as much as the socket takes, and receives the available bytes.
    pub(super) fn step_duplex(&mut self, cx: &mut ContextOf<'_, Self>) {
        if let Err(errno) = self.make_duplex() {
            return self.fail_send(SendError::Failed(errno.into()), cx);
        }
        let Err(wanted) = self.step_outbox(cx) else { return };
        let stall = self.state.stall_deadline();
        let deadline = self.state.wants.deadline().map(Moment::instant);
        let deadline = deadline.into_iter().chain([stall]).min();
        match self.wait(wanted, deadline, cx) {
            Ok(ready) if ready.intersects(PollFlags::IN | PollFlags::HUP) => {
                if self.state.wants.receive.is_some() {
                    self.receive_or_close(cx);
                }
            }
            Ok(_) if self.time_out_receive(cx) => {}
            Ok(ready) if ready.is_empty() && stall <= cx.now => {
                self.fail_send(SendError::TimedOut, cx);
            }
            Ok(_) => {}
            Err(errno) => self.deliver(Event::Failed(errno.into()), cx),
        }
    }

    fn receive_or_close(&mut self, cx: &mut ContextOf<'_, Self>) {
        if !self.receive(RecvFlags::DONTWAIT, cx) {
            self.state.wants.close.get_or_insert(crate::io::Close::Now);
        }
    }

    /// Makes calls return at once from now on.
    pub(super) fn make_duplex(&mut self) -> rustix::io::Result<()> {
        if !self.duplex {
            ioctl_fionbio(self.socket, true)?;
            self.duplex = true;
        }
        Ok(())
    }
}
