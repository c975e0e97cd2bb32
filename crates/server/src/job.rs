//! The jobs of a connection: what may wait for a disk. A name may be looked up by a ring; a listing
//! always needs a thread, in topology single the only one.

use std::io;
use std::sync::Arc;

use karez_reactor::{Device, Job, Lookup, Opened};
use rustix::io::Errno;

use crate::account::Spent;
use crate::site::{Found, Listing, ListingStep, Search, Site, Wanted};

/// What a connection has others do.
pub(crate) struct SiteJob {
    pub(crate) task: SiteTask,
    /// What it has cost so far, where that is to be told.
    pub(crate) spent: Option<Box<Spent>>,
}

pub(crate) enum SiteTask {
    /// Find out what a name means.
    Find { site: Arc<Site>, search: Search },
    /// Go on with a listing by one bounded step.
    List { listing: Box<Listing> },
}

/// What they found, and what it cost.
pub(crate) struct Done {
    pub(crate) answer: SiteAnswer,
    pub(crate) spent: Option<Box<Spent>>,
}

pub(crate) enum SiteAnswer {
    Found { found: Found, wanted: Wanted },
    Listed { step: io::Result<ListingStep>, listing: Box<Listing> },
}

impl Job for SiteJob {
    type Done = Done;

    fn run(self) -> Done {
        let Self { task, mut spent } = self;
        let answer = Spent::add(&mut spent, || task.run());
        Done { answer, spent }
    }

    fn device(&self) -> Device {
        match &self.task {
            SiteTask::Find { site, search } => site.device_of(search),
            SiteTask::List { listing } => listing.device(),
        }
    }

    /// A file that is held open, or whose name the kernel has in its caches, needs no other
    /// thread. A step of a listing reads a directory and asks for each of its entries.
    fn try_run(self) -> Result<Done, Self> {
        let Self { task, mut spent } = self;
        match Spent::add(&mut spent, || task.try_run()) {
            Ok(answer) => Ok(Done { answer, spent }),
            Err(task) => Err(Self { task, spent }),
        }
    }

    /// The kernel's caches not having a name, a ring may wait for it instead of a thread.
    fn open_request(&mut self) -> Option<Lookup> {
        match &mut self.task {
            SiteTask::Find { site, search } => site.lookup(search),
            SiteTask::List { .. } => None,
        }
    }

    fn opened(self, opened: Result<Opened, Errno>) -> Result<Done, Self> {
        let Self { task, mut spent } = self;
        if let Some(spent) = &mut spent {
            spent.looked_up(&opened);
        }
        match Spent::add(&mut spent, || task.found(opened)) {
            Ok(answer) => Ok(Done { answer, spent }),
            Err(task) => Err(Self { task, spent }),
        }
    }
}

impl SiteTask {
    fn run(self) -> SiteAnswer {
        match self {
            Self::Find { site, search } => site.find(search).into(),
            Self::List { mut listing } => {
                let step = listing.step();
                SiteAnswer::Listed { step, listing }
            }
        }
    }

    fn try_run(self) -> Result<SiteAnswer, Self> {
        match self {
            Self::Find { site, search } => match site.find_cached(search) {
                Ok(answer) => Ok(answer.into()),
                Err(search) => Err(Self::Find { site, search }),
            },
            Self::List { .. } => Err(self),
        }
    }

    fn found(self, opened: Result<Opened, Errno>) -> Result<SiteAnswer, Self> {
        match self {
            Self::Find { site, search } => match site.looked_up(search, opened) {
                Ok(answer) => Ok(answer.into()),
                Err(search) => Err(Self::Find { site, search }),
            },
            Self::List { .. } => Err(self),
        }
    }
}

impl From<(Found, Wanted)> for SiteAnswer {
    fn from((found, wanted): (Found, Wanted)) -> Self {
        Self::Found { found, wanted }
    }
}
