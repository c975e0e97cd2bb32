//! Listings: the names are read before the response begins, so that a fault until then has a status; then its
//! body is made by jobs, one piece after the other.

use std::io;
use std::time::Duration;

use karez_http::{BodyPart, Status};

use super::{Action, Exchange, Unfinished};
use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::job::FileWork;
use crate::site::{Listing, ListingStep, MemoryRefusal};

/// After which time to try again when other listings use all memory.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

impl Exchange {
    /// Begins with the listing of a directory. A response to HEAD needs no names.
    pub(super) fn list(
        &self,
        listing: Box<Listing>,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        if self.is_head() {
            let content_type = listing.content_type();
            return self.respond(context, cost, |it| it.listing(content_type));
        }
        Action::Run(FileWork::List { listing })
    }

    /// Continues with the result of a step.
    pub(super) fn listed(
        &mut self,
        step: io::Result<ListingStep>,
        listing: Box<Listing>,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        match step {
            Ok(ListingStep::Working) => Action::Run(FileWork::List { listing }),
            Ok(ListingStep::Ready) => {
                let content_type = listing.content_type();
                self.unfinished = Some(Unfinished::Listing(listing));
                self.respond(context, cost, |it| it.listing(content_type))
            }
            Ok(ListingStep::Refused(refusal)) => self.refuse_listing(refusal, context, cost),
            Ok(ListingStep::Chunk(bytes)) => {
                self.unfinished = Some(Unfinished::Listing(listing));
                Action::Append(vec![BodyPart::Bytes(bytes)])
            }
            Ok(ListingStep::Done) => Action::Finish,
            Err(error) => {
                context.log_error(&error.to_string());
                if self.has_response() {
                    // Only the end of the connection can report it.
                    return Action::Abort;
                }
                self.respond(context, cost, |it| it.text(Status::InternalServerError, ""))
            }
        }
    }

    /// Responds to a listing that gets no memory.
    fn refuse_listing(
        &self,
        refusal: MemoryRefusal,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        match refusal {
            MemoryRefusal::InUse => self.respond(context, cost, |it| {
                it.unavailable("other listings use all memory for listings", MEMORY_RETRY)
            }),
            // Not before the limit or the directory is another.
            MemoryRefusal::TooLarge => {
                let request = self.request_line().escape_ascii();
                context.log_error(&format!(
                    "\"{request}\": the listing needs more memory than all listings may use"
                ));
                let reason = "the directory is too large to be listed";
                self.respond(context, cost, |it| it.text(Status::ServiceUnavailable, reason))
            }
        }
    }
}
