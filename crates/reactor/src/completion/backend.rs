//! The driver of an event loop, and the free lists of its connections: buffers, pipes and the places of
//! operations.

use karez_sys::{Completion, Key, Operation, Outcome};
use rustix::io;
use std::time::Duration;

use super::pipes::Pipes;
use super::stage::Stage;
use crate::driver::Driver;

/// Buffers that are kept for later operations.
const KEPT: usize = 64;

/// Places of operations that are kept, about 200 bytes each.
const KEPT_STAGES: usize = 256;

/// Boxes that move between the free list and a connection.
type Stages = Vec<Box<Stage>>;

/// A driver, and its free lists.
pub(crate) struct Backend<C> {
    pub(crate) driver: C,
    pub(crate) pipes: Pipes,
    buffers: Vec<Vec<u8>>,
    pub(super) stages: Stages,
    /// Operations in flight that have a buffer.
    buffers_in_use: usize,
}

impl<C: Driver> Backend<C> {
    pub(crate) fn new(driver: C) -> Self {
        let (buffers, stages) = (Vec::new(), Vec::new());
        Self { driver, pipes: Pipes::default(), buffers, stages, buffers_in_use: 0 }
    }

    /// Starts an operation.
    pub(super) fn start(&mut self, tag: u64, operation: Operation) -> Key {
        let has_buffer = matches!(
            operation,
            Operation::Send { .. } | Operation::Read { .. } | Operation::ReadThenSend { .. }
        );
        self.buffers_in_use += usize::from(has_buffer);
        self.driver.start(tag, operation)
    }

    /// Waits for completions and appends them to `done`.
    ///
    /// # Errors
    /// As [`Driver::wait`].
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = done.len();
        let waited = self.driver.wait(timeout, done);
        let had_buffer = |completion: &&Completion| {
            let outcome = &completion.outcome;
            let read = matches!(outcome, Outcome::Read { .. } | Outcome::ReadThenSent { .. });
            read || matches!(outcome, Outcome::Sent { .. })
        };
        let returned = done[before..].iter().filter(had_buffer).count();
        self.buffers_in_use = self.buffers_in_use.saturating_sub(returned);
        waited
    }

    /// Returns how many operations in flight have a buffer.
    pub(super) fn buffers_in_use(&self) -> usize {
        self.buffers_in_use
    }

    /// Returns a buffer, with any contents.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps a buffer, with any contents.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < KEPT && buffer.capacity() > 0 {
            self.buffers.push(buffer);
        }
    }

    /// Keeps a place, which has to be unused.
    pub(super) fn give_back_stage(&mut self, stage: Box<Stage>) {
        if self.stages.len() < KEPT_STAGES {
            self.stages.push(stage);
        }
    }
}
