//! The job of a connection on a completion model, between its start and its result, its deadline or
//! the peer's reset, which the receive that is armed meanwhile reports.
//!
//! # Limitations
//!
//! A receive that has reported a FIN, or more bytes than are buffered, is over, so a reset after that
//! is noticed when the answer is sent.

use rustix::io::Errno;
use std::time::Instant;

use super::{Dialogue, Rest, Wish};
use crate::completer::Completer;
use crate::task::{Event, Job, Task};
use crate::tools::Tools;

impl<T: Task> Dialogue<T> {
    pub(super) fn hand_out(&mut self, job: T::Job) -> Rest<T::Job> {
        self.serial = self.serial.wrapping_add(1);
        Rest::Working(job, self.job_due)
    }

    /// Whether its job is with a worker.
    pub(crate) fn awaits_worker(&self) -> bool {
        matches!(self.wish, Wish::Work)
    }

    /// Whether it waits for the job with this serial number.
    pub(crate) fn awaits_job(&self, serial: u32) -> bool {
        self.awaits_worker() && self.serial == serial
    }

    /// Its job was not accepted.
    pub(crate) fn rejected(&mut self, now: Instant) {
        if self.awaits_worker() {
            self.wish = Wish::Ask;
            self.task.hear(Event::Rejected, now);
        }
    }

    /// The job with this serial number is done. One that timed out is not waited for any more.
    pub(crate) fn worked(&mut self, serial: u32, done: <T::Job as Job>::Done, now: Instant) {
        if !self.awaits_job(serial) {
            return;
        }
        self.ticket = None;
        self.wish = Wish::Ask;
        self.task.taken_up();
        self.task.hear(Event::Worked(done), now);
    }

    pub(super) fn runs_job(&self) -> bool {
        matches!(self.wish, Wish::LookUp(..) | Wish::Found(_) | Wish::Work)
    }

    /// The peer has reset the connection, so the job is in vain.
    pub(super) fn lose_peer<C: Completer>(
        &mut self,
        errno: Errno,
        now: Instant,
        tools: &mut Tools<C>,
    ) {
        if let Wish::LookUp(_, key) = &self.wish {
            tools.completer.abort(*key);
        }
        self.wish = Wish::Ask;
        self.task.hear(Event::Failed(errno.into()), now);
    }
}
