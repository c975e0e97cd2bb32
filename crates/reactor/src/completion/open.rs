//! Names that a job has to have opened before it can go on: where the driver opens them, no thread of
//! ours waits for a disk, whether there is a pool or not.
//!
//! # Limitations
//!
//! A job has one name opened at a time, each by two operations and at least a turn.

use karez_sys::{Key, OpenedFile, Operation};
use rustix::io;

use super::connection::{CompletionConnection, Opening};
use crate::connection::ContextOf;
use crate::driver::Driver;
use crate::io::JobId;
use crate::sync::offload::{Offload, run_inline};
use crate::task::{Job, Task};

impl<T: Task, C: Driver> CompletionConnection<T, C> {
    /// Has the name opened for which a job would wait, or has the job run.
    pub(super) fn open_or_run(&mut self, id: JobId, mut job: T::Job, cx: &mut ContextOf<'_, Self>) {
        let remote = job.device().remote;
        // The kernel has only a few threads for the names that hang.
        if C::ASYNC_OPEN
            && !remote
            && let Some(request) = job.open_request()
        {
            let key = cx.resources.driver.start(self.tag(), Operation::Open(Box::new(request)));
            self.opening.push(Opening { id, key, job });
        } else if cx.pool || remote {
            cx.offloads.push(Offload::Job(id, job));
        } else {
            self.state.job_done(id, Ok(run_inline(job)));
        }
    }

    /// Takes the file that was opened.
    pub(super) fn name_opened(
        &mut self,
        key: Key,
        opened: io::Result<OpenedFile>,
        cx: &mut ContextOf<'_, Self>,
    ) {
        let Some(index) = self.opening.iter().position(|opening| opening.key == key) else {
            return;
        };
        let Opening { id, job, .. } = self.opening.swap_remove(index);
        match job.opened(opened) {
            Ok(done) => self.state.job_done(id, Ok(done)),
            Err(job) => self.open_or_run(id, job, cx),
        }
    }
}
