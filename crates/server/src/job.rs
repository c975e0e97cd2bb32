//! The jobs of a connection: calls that may wait for a disk or another host, or compute for long.
//!
//! A name may be looked up by io_uring; a step of a listing always needs a thread, which in topology
//! `single` is the only one.

use std::io;
use std::sync::Arc;

use karez_reactor::{Device, Job, OpenRequest, OpenedFile};
use rustix::io::Errno;

use crate::cost::JobCost;
use crate::metrics::Queued;
use crate::rules::auth::credentials::Credentials;
use crate::rules::auth::user_file::UserFile;
use crate::site::{
    ArchiveBody, ArchiveStep, IndexJob, IndexStep, Listing, ListingStep, LookupResult, PathLookup,
    ResourceRequest, Site,
};

/// A job of a connection.
pub(crate) struct FileJob {
    pub(crate) work: FileWork,
    /// Its cost so far, with `--explain`.
    pub(crate) cost: Option<Box<JobCost>>,
    /// It waits for a worker.
    queued: Queued,
}

/// The work of a job.
pub(crate) enum FileWork {
    /// Looks up the file or directory that a request names.
    Lookup { site: Arc<Site>, lookup: PathLookup },
    /// Continues a listing by one bounded step.
    List { listing: Box<Listing> },
    /// Continues the index of an archive by one bounded step.
    Index { index: IndexJob },
    /// Opens the next files of an archive.
    Archive { body: Box<ArchiveBody> },
    /// Verifies the password for a resource.
    Verify { users: Arc<UserFile>, credentials: Credentials, resource: ResourceRequest },
}

/// A result, and its cost.
pub(crate) struct JobResult {
    pub(crate) result: FileResult,
    pub(crate) cost: Option<Box<JobCost>>,
}

/// The result of a job.
pub(crate) enum FileResult {
    Found {
        found: LookupResult,
        request: ResourceRequest,
    },
    Listed {
        step: io::Result<ListingStep>,
        listing: Box<Listing>,
    },
    Indexed {
        step: IndexStep,
        index: IndexJob,
    },
    Archived {
        step: ArchiveStep,
        body: Box<ArchiveBody>,
    },
    /// `None`: the user or the password is wrong.
    Verified {
        users: Option<Arc<UserFile>>,
        resource: ResourceRequest,
    },
}

impl FileJob {
    pub(crate) fn new(work: FileWork, cost: Option<Box<JobCost>>) -> Self {
        Self { work, cost, queued: Queued::default() }
    }
}

impl Job for FileJob {
    type Done = JobResult;

    fn run(self) -> JobResult {
        let Self { work, mut cost, queued } = self;
        let result = queued.run(|| JobCost::measure(&mut cost, || work.run()));
        JobResult { result, cost }
    }

    fn device(&self) -> Device {
        match &self.work {
            FileWork::Lookup { site, lookup } => site.device_of(lookup),
            FileWork::List { listing } => listing.device(),
            FileWork::Index { index } => index.device(),
            FileWork::Archive { body } => body.device(),
            FileWork::Verify { .. } => PASSWORDS,
        }
    }

    /// Needs no other thread for a file that is held open, or whose name the kernel has in its
    /// caches. A step of a listing reads a directory and asks for each of its entries, so it does.
    fn try_run(self) -> Result<JobResult, Self> {
        let Self { work, mut cost, .. } = self;
        match JobCost::measure(&mut cost, || work.try_run()) {
            Ok(result) => Ok(JobResult { result, cost }),
            Err(work) => Err(Self { work, cost, queued: Queued::begin() }),
        }
    }

    /// A name that the kernel's caches do not have can be opened by io_uring instead of a thread.
    fn open_request(&mut self) -> Option<OpenRequest> {
        match &mut self.work {
            FileWork::Lookup { site, lookup } => site.open_request(lookup),
            FileWork::List { .. }
            | FileWork::Index { .. }
            | FileWork::Archive { .. }
            | FileWork::Verify { .. } => None,
        }
    }

    fn opened(self, opened: Result<OpenedFile, Errno>) -> Result<JobResult, Self> {
        let Self { work, mut cost, queued } = self;
        if let Some(cost) = &mut cost {
            cost.name_opened(&opened);
        }
        match JobCost::measure(&mut cost, || work.opened(opened)) {
            Ok(result) => Ok(JobResult { result, cost }),
            Err(work) => Err(Self { work, cost, queued }),
        }
    }
}

impl FileWork {
    fn run(self) -> FileResult {
        match self {
            Self::Lookup { site, lookup } => site.run_lookup(lookup).into(),
            Self::List { mut listing } => {
                let step = listing.step();
                FileResult::Listed { step, listing }
            }
            Self::Index { index } => {
                let step = index.step();
                FileResult::Indexed { step, index }
            }
            Self::Archive { mut body } => {
                let step = body.step();
                FileResult::Archived { step, body }
            }
            Self::Verify { users, credentials, resource } => {
                let users = users.verify(&credentials).then_some(users);
                FileResult::Verified { users, resource }
            }
        }
    }

    fn try_run(self) -> Result<FileResult, Self> {
        match self {
            Self::Lookup { site, lookup } => match site.run_cached(lookup) {
                Ok(result) => Ok(result.into()),
                Err(lookup) => Err(Self::Lookup { site, lookup }),
            },
            _ => Err(self),
        }
    }

    fn opened(self, opened: Result<OpenedFile, Errno>) -> Result<FileResult, Self> {
        match self {
            Self::Lookup { site, lookup } => match site.opened(lookup, opened) {
                Ok(result) => Ok(result.into()),
                Err(lookup) => Err(Self::Lookup { site, lookup }),
            },
            _ => Err(self),
        }
    }
}

impl From<(LookupResult, ResourceRequest)> for FileResult {
    fn from((found, request): (LookupResult, ResourceRequest)) -> Self {
        Self::Found { found, request }
    }
}

/// In place of a device: verifications have workers of their own, in every topology, so that a flood of
/// them delays no lookup.
const PASSWORDS: Device = Device { number: u64::MAX, remote: true };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::auth::AuthRule;
    use crate::site::ListingView;
    use karez_http::{Codings, Request, Version};

    #[test]
    fn passwords_are_verified_by_workers_of_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rule: AuthRule = file.path().display().to_string().parse().unwrap();
        let users = Arc::new(UserFile::read(rule.file().unwrap()).unwrap());
        let fields = [(&b"authorization"[..], &b"Basic YTpi"[..])];
        let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
        let credentials = Credentials::of(&request).unwrap();
        let resource = ResourceRequest {
            path: Vec::new(),
            directory: true,
            codings: Codings::default(),
            ranged: false,
            view: ListingView::default(),
        };
        let work = FileWork::Verify { users, credentials, resource };
        let mut job = FileJob::new(work, None);
        // In every topology; and no model of the event loop does it.
        assert!(job.device().remote && job.open_request().is_none());
        let Err(job) = job.try_run() else { panic!("it runs on the event loop") };
        let result = job.run().result;
        assert!(matches!(result, FileResult::Verified { users: None, .. }));
    }
}
