//! What may block, on its way to the pool, and the way back.

use karez_transfer::{ColdPart, Device, Tag};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::io::JobId;
use crate::selector::Token;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::pool::{Admit, Ticket};
use crate::task::{Job, JobError};

/// Work that may block.
pub(crate) enum Offload<J> {
    /// A job of a task.
    Job(JobId, J),
    /// Pages that a connection has to send and that are not in memory: of units with this tag, or of
    /// the file in front of its outbox.
    PageIn(Option<Tag>, ColdPart),
}

/// Names work of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffloadId {
    Job(JobId),
    PageIn(Option<Tag>),
}

impl<J: Job> Offload<J> {
    /// Returns the device whose answer it waits for.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Job(_, job) => job.device(),
            Self::PageIn(_, part) => part.device(),
        }
    }

    /// A page-in is of a response that has begun, which only its own deadline ends.
    pub(crate) fn admit(&self) -> Admit {
        match self {
            Self::Job(..) => Admit::Bounded,
            Self::PageIn(..) => Admit::Always,
        }
    }

    pub(crate) fn id(&self) -> OffloadId {
        match self {
            Self::Job(id, _) => OffloadId::Job(*id),
            Self::PageIn(tag, _) => OffloadId::PageIn(*tag),
        }
    }
}

/// The work of a connection that is with the pool.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Vec<(OffloadId, Ticket)>);

impl Tickets {
    pub(crate) fn push(&mut self, id: OffloadId, ticket: Ticket) {
        self.0.push((id, ticket));
    }

    /// Forgets the first work of this name, which is done.
    pub(crate) fn remove(&mut self, id: OffloadId) {
        if let Some(index) = self.0.iter().position(|(own, _)| *own == id) {
            self.0.swap_remove(index);
        }
    }

    /// Takes the tickets of page-ins.
    pub(crate) fn take_page_ins(&mut self) -> impl Iterator<Item = Ticket> {
        let page_in = |entry: &mut (OffloadId, Ticket)| matches!(entry.0, OffloadId::PageIn(_));
        self.0.extract_if(.., page_in).map(|(_, ticket)| ticket)
    }

    /// Takes all tickets.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Ticket> {
        self.0.drain(..).map(|(_, ticket)| ticket)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many jobs there are.
    pub(crate) fn jobs(&self) -> usize {
        self.0.iter().filter(|(id, _)| matches!(id, OffloadId::Job(_))).count()
    }
}

/// Work, the connection that waits for it, and the event loop of that.
pub(crate) struct PoolTask<J: Job> {
    pub(crate) offload: Offload<J>,
    pub(crate) token: Token,
    pub(crate) inbox: Arc<Inbox<J::Done>>,
}

impl<J: Job> PoolTask<J> {
    /// Runs it and notifies the event loop.
    pub(crate) fn run(self) {
        let Self { offload, token, inbox } = self;
        inbox.push(match offload {
            Offload::Job(id, job) => {
                let done = catch_unwind(AssertUnwindSafe(|| job.run()));
                Notification::JobDone(token, id, done.map_err(|_| JobError::Panicked))
            }
            Offload::PageIn(tag, part) => {
                // What the disk refuses now it refuses the next step, too, and that one reports it.
                let _refused = part.warm();
                Notification::PageInDone(token, tag)
            }
        });
    }
}

/// Runs a job on the spot: where there is no pool, all connections wait for it. The one place at which
/// an event loop blocks.
pub(crate) fn run_inline<J: Job>(job: J) -> J::Done {
    job.run()
}
