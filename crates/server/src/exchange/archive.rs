//! Archives: the index of the directory, the response, and the pieces of its body, each made by jobs.

use std::time::Duration;

use karez_http::{BodyPart, Status};

use super::{Action, Exchange, Unfinished};
use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::http_clock;
use crate::job::FileWork;
use crate::response::ResponseBuilder;
use crate::site::{
    ArchiveBody, ArchiveDirectory, ArchiveError, ArchivePart, ArchiveStep, IndexJob, IndexStep,
    Viewer,
};
use std::sync::Arc;

impl Exchange {
    /// Asks for the index of a directory, as far as the client may see it.
    pub(super) fn index(
        &self,
        directory: ArchiveDirectory,
        ranged: bool,
        context: &ServerContext,
    ) -> Action {
        let viewer = Viewer { client: self.client, passed: self.passed.clone() };
        let index = Arc::clone(context.sites.get(self.site)).index(directory, viewer, ranged);
        Action::Run(FileWork::Index { index })
    }

    /// Continues with the result of a step of the index.
    pub(super) fn indexed(
        &mut self,
        step: IndexStep,
        index: IndexJob,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        let archive = match step {
            IndexStep::Working => return Action::Run(FileWork::Index { index }),
            IndexStep::Ready(archive) => archive,
            IndexStep::Failed(ArchiveError::Full) => {
                let reason = "the directory, or all archives together, have too many files";
                return self.respond(context, cost, |it| it.unavailable(reason, FULL));
            }
            IndexStep::Failed(ArchiveError::Busy) => {
                let reason = "no descriptor is free, try again";
                return self.respond(context, cost, |it| it.unavailable(reason, Duration::ZERO));
            }
            IndexStep::Failed(ArchiveError::Failed(error)) => {
                context.log_error(&error);
                return self.respond(context, cost, |it| it.text(Status::InternalServerError, ""));
            }
        };
        let mut pieces = None;
        let action = self.respond(context, cost, |it| {
            let (response, wanted) = it.archive(&archive);
            pieces = wanted;
            response
        });
        self.unfinished = pieces.filter(|_| !self.is_head()).map(|pieces| {
            Unfinished::Archive(Box::new(ArchiveBody::new(
                Arc::clone(index.site()),
                archive,
                pieces,
                context.torn,
            )))
        });
        action
    }

    /// Continues with the next pieces of the body.
    pub(super) fn archived(
        &mut self,
        step: ArchiveStep,
        body: Box<ArchiveBody>,
        context: &ServerContext,
    ) -> Action {
        match step {
            ArchiveStep::Parts(parts) => {
                let rules = context.sites.get(self.site).rules();
                let (via, torn, now) = (context.via, context.torn, http_clock::now().unix);
                let builder =
                    ResponseBuilder { request: None, rules, via, torn, cost: None, content: None };
                let parts = parts.into_iter().map(|part| match part {
                    ArchivePart::Bytes(bytes) => BodyPart::Bytes(bytes),
                    ArchivePart::File(file, range) => {
                        let length = range.end - range.start;
                        BodyPart::File(builder.file_part(&file, range.start, length, now))
                    }
                });
                let parts = parts.collect();
                self.unfinished = Some(Unfinished::Archive(body));
                Action::Append(parts)
            }
            ArchiveStep::Changed => {
                let reset = if self.id.is_only() { "connection" } else { "stream" };
                context.log_torn(self.request_line(), reset);
                Action::Reset
            }
            // The head has been sent, so only the end of the connection can report it.
            ArchiveStep::Failed(error) => {
                context.log_error(&error);
                Action::Abort
            }
        }
    }
}

/// When a client may ask again for an archive for which there was no memory.
const FULL: Duration = Duration::from_secs(30);
