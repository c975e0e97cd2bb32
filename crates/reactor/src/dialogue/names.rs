//! Names that a job has to have opened before it can go on: where the model looks them up, nobody
//! waits for a disk, whether there is a pool or not.
//!
//! What it does badly: one name at a time, each two operations and at least a turn; a job that would
//! need several asks for the next when it has the one before.

use karez_sys::{Key, Opened, Operation};
use rustix::io;
use std::mem;
use std::time::Instant;

use super::{Dialogue, Wish};
use crate::completer::Completer;
use crate::order::run_here;
use crate::task::{Event, Job, Task};
use crate::tools::Tools;

impl<T: Task> Dialogue<T> {
    /// Has a job done that the task wants: here if that takes no waiting, else when its names have
    /// been looked up. If that is not it, it is done here nevertheless or, with `pool`, returned to
    /// be handed out.
    pub(super) fn work<C: Completer>(
        &mut self,
        job: T::Job,
        pool: bool,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Option<T::Job> {
        let remote = job.device().remote;
        if !pool && !remote && !C::LOOKS_UP {
            self.task.hear(Event::Worked(run_here(job)), now);
            return None;
        }
        match job.try_run() {
            Ok(done) => {
                self.task.hear(Event::Worked(done), now);
                None
            }
            Err(job) => self.look_up_or_run(job, pool, now, tools),
        }
    }

    /// The same with a job that has learned what one of its names is.
    pub(super) fn look_further<C: Completer>(
        &mut self,
        pool: bool,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Option<T::Job> {
        match mem::replace(&mut self.wish, Wish::Ask) {
            Wish::Found(job) => self.look_up_or_run(*job, pool, now, tools),
            wish => {
                self.wish = wish;
                None
            }
        }
    }

    /// Takes what a name led to.
    pub(super) fn looked_up(&mut self, key: Key, found: io::Result<Opened>, now: Instant) {
        match mem::replace(&mut self.wish, Wish::Ask) {
            // Not of one that timed out.
            Wish::LookUp(job, asked) if asked == key => match job.found(found) {
                Ok(done) => self.task.hear(Event::Worked(done), now),
                Err(job) => self.wish = Wish::Found(Box::new(job)),
            },
            wish => self.wish = wish,
        }
    }

    fn look_up_or_run<C: Completer>(
        &mut self,
        mut job: T::Job,
        pool: bool,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Option<T::Job> {
        let remote = job.device().remote;
        // The kernel has only a few threads for the names that hang.
        if C::LOOKS_UP
            && !remote
            && let Some(lookup) = job.lookup()
        {
            let key = tools.completer.start(self.tag, Operation::LookUp(Box::new(lookup)));
            self.wish = Wish::LookUp(Box::new(job), key);
            self.stand_by(tools); // a reset is to be noticed
            return None;
        }
        if pool || remote {
            self.wish = Wish::Work;
            self.stand_by(tools);
            return Some(job);
        }
        self.task.hear(Event::Worked(run_here(job)), now);
        None
    }
}
