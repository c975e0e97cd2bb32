//! Names that a job has to have opened before it can go on: where the driver opens them, no thread of
//! ours waits for a disk, whether there is a pool or not.
//!
//! # Limitations
//!
//! A job has one name opened at a time, each by two operations and at least a turn.

use karez_sys::{Key, Opened, Operation};
use rustix::io;

use super::connection::{CompletionConnection, Opening, TurnContext};
use crate::driver::Completer;
use crate::io::JobId;
use crate::sync::offload::{Offload, run_inline};
use crate::task::{Job, Task};

impl<T: Task> CompletionConnection<T> {
    /// Has the name opened for which a job would wait, or has the job run.
    pub(super) fn open_or_run<C: Completer>(
        &mut self,
        id: JobId,
        mut job: T::Job,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        let remote = job.device().remote;
        // The kernel has only a few threads for the names that hang.
        if C::LOOKS_UP
            && !remote
            && let Some(request) = job.open_request()
        {
            let key = cx.backend.driver.start(self.tag(), Operation::LookUp(Box::new(request)));
            self.opening.push(Opening { id, key, job });
        } else if cx.pool || remote {
            cx.offloads.push(Offload::Job(id, job));
        } else {
            self.finish_job(id, run_inline(job));
        }
    }

    /// Takes the file that was opened.
    pub(super) fn name_opened<C: Completer>(
        &mut self,
        key: Key,
        opened: io::Result<Opened>,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        let Some(index) = self.opening.iter().position(|opening| opening.key == key) else {
            return;
        };
        let Opening { id, job, .. } = self.opening.swap_remove(index);
        match job.opened(opened) {
            Ok(done) => self.finish_job(id, done),
            Err(job) => self.open_or_run(id, job, cx),
        }
    }
}
