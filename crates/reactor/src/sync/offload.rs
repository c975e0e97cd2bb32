//! Blocking work on its way to the pool, and its result on the way back.

use karez_transfer::{Device, PageIn, Tag};
use std::sync::Arc;

use crate::io::JobId;
use crate::panics::contain;
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
    PageIn(Option<Tag>, PageIn),
}

/// Names work of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffloadId {
    Job(JobId),
    PageIn(Option<Tag>),
}

impl<J: Job> Offload<J> {
    /// Returns whether it reads pages of a unit of the outbox.
    pub(crate) fn is_unit_page_in(&self) -> bool {
        matches!(self, Self::PageIn(Some(_), _))
    }

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
pub(crate) struct Tickets(Option<Box<TicketLists>>);

#[derive(Debug, Default)]
struct TicketLists {
    submitted: Vec<(OffloadId, Ticket)>,
    /// Submitted, but the result is not wanted any more.
    unwanted: Vec<Ticket>,
}

impl Tickets {
    pub(crate) fn push(&mut self, id: OffloadId, ticket: Ticket) {
        self.0.get_or_insert_default().submitted.push((id, ticket));
    }

    /// Forgets the first work of this name, which is done.
    pub(crate) fn remove(&mut self, id: OffloadId) {
        let Some(lists) = &mut self.0 else { return };
        if let Some(index) = lists.submitted.iter().position(|(own, _)| *own == id) {
            lists.submitted.swap_remove(index);
        }
        self.0.take_if(|lists| lists.submitted.is_empty() && lists.unwanted.is_empty());
    }

    /// Marks all page-ins as unwanted: the outbox has been emptied.
    pub(crate) fn discard_page_ins(&mut self) {
        let page_in = |entry: &mut (OffloadId, Ticket)| matches!(entry.0, OffloadId::PageIn(_));
        let Some(lists) = self.0.as_deref_mut() else { return };
        lists.unwanted.extend(lists.submitted.extract_if(.., page_in).map(|(_, ticket)| ticket));
    }

    /// Takes the tickets of work that is unwanted, to be abandoned.
    pub(crate) fn drain_unwanted(&mut self) -> impl Iterator<Item = Ticket> {
        self.0.as_deref_mut().into_iter().flat_map(|lists| lists.unwanted.drain(..))
    }

    /// Takes all tickets, to be abandoned: the connection is closed.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Ticket> {
        self.0.take().into_iter().flat_map(|lists| {
            lists.submitted.into_iter().map(|(_, ticket)| ticket).chain(lists.unwanted)
        })
    }

    /// Returns whether pages of units are being read.
    pub(crate) fn has_unit_page_ins(&self) -> bool {
        let of_unit = |entry: &(OffloadId, Ticket)| matches!(entry.0, OffloadId::PageIn(Some(_)));
        self.0.as_ref().is_some_and(|lists| lists.submitted.iter().any(of_unit))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|lists| lists.submitted.is_empty())
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
                let done = contain(|| job.run());
                Notification::JobDone(token, id, done.ok_or(JobError::Panicked))
            }
            Offload::PageIn(tag, part) => {
                // An error of the disk is reported by the next step, which meets it again.
                let _refused = contain(|| part.run());
                Notification::PageInDone(token, tag)
            }
        });
    }
}

/// Runs a job if that does not block, and else returns it.
pub(crate) fn try_inline<J: Job>(job: J) -> Result<J::Done, J> {
    #[cfg(feature = "simulation")]
    if karez_sys::simulation::happens(karez_sys::simulation::Point::JobWouldBlock) {
        return Err(job);
    }
    job.try_run()
}

/// Runs a job on the spot: where there is no pool, all connections wait for it. The one place at which
/// an event loop blocks.
pub(crate) fn run_inline<J: Job>(job: J) -> J::Done {
    job.run()
}
