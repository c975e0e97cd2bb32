//! An exchange: one request and what has become of its answer.

use std::cell::RefCell;
use std::time::Instant;

use karez_http::{Method, Refusal, Request, Status, Version};
use karez_reactor::Peer;
use karez_transfer::{Outbox, Via};

use crate::access::{AccessLog, Entry};
use crate::account::Account;
use crate::answer::{Answer, Answering, Persistence};
use crate::clock;
use crate::site::Listing;

/// One request and what has become of its answer.
pub(crate) struct Exchange {
    /// What was asked, if it was a request.
    request: Result<Request, Refusal>,
    pub(crate) persistence: Persistence,
    /// A listing of which more is to come.
    pub(crate) listing: Option<Box<Listing>>,
    begun: Instant,
    status: Status,
    /// Bytes of head that are to go.
    head: u64,
    /// Bytes that went, head and body.
    moved: u64,
    /// What the connection had sent when this was last appended to.
    sent_before: u64,
    /// The end of the connection is the end of the response, and it is not complete.
    pub(crate) is_delimited_by_close: bool,
}

impl Exchange {
    pub(crate) fn new(
        request: Result<Request, Refusal>,
        persistence: Persistence,
        begun: Instant,
    ) -> Self {
        let status = Status::InternalServerError;
        Self {
            request,
            persistence,
            listing: None,
            begun,
            status,
            head: 0,
            moved: 0,
            sent_before: 0,
            is_delimited_by_close: false,
        }
    }

    /// Gives the answer; what is to be sent comes back.
    pub(crate) fn answer(
        &mut self,
        via: Via,
        account: Option<&mut Account>,
        give: impl FnOnce(&Answering<'_>) -> Answer,
    ) -> Outbox {
        let (request, account) = (self.request(), account.map(RefCell::new));
        let answer = give(&Answering { request, persistence: self.persistence, via, account });
        self.status = answer.status;
        self.head = answer.head;
        answer.outbox
    }

    /// Returns whether the head of an answer has been handed out.
    pub(crate) fn is_answered(&self) -> bool {
        self.head > 0
    }

    /// The client left before there was an answer; nginx logs that as 499, too.
    pub(crate) fn client_left(&mut self) {
        self.status = Status::ClientClosedRequest;
    }

    /// Notes how much has left before what is appended now.
    pub(crate) fn begin_to_send(&mut self, outbox: &Outbox) {
        self.sent_before = outbox.moved();
    }

    /// Counts what has left since.
    pub(crate) fn count(&mut self, outbox: &Outbox) {
        self.moved += outbox.moved() - self.sent_before;
        self.sent_before = outbox.moved();
    }

    pub(crate) fn request(&self) -> Option<&Request> {
        self.request.as_ref().ok()
    }

    /// As it came; what there was of it, if it was no request.
    pub(crate) fn request_line(&self) -> &[u8] {
        match &self.request {
            Ok(request) => request.request_line(),
            Err(refusal) => &refusal.request_line,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.request().is_some_and(|request| request.method() == Method::Head)
    }

    pub(crate) fn is_http10(&self) -> bool {
        self.request().is_some_and(|request| request.version() == Version::Http10)
    }

    /// Writes the line that there is to write of it, with what it cost, if that is known.
    pub(crate) fn log(
        &self,
        access: &AccessLog,
        peer: Peer,
        account: Option<&Account>,
        now: Instant,
    ) {
        access.write(&Entry {
            peer,
            request_line: self.request_line(),
            request: self.request(),
            status: self.status,
            bytes: self.moved.saturating_sub(self.head),
            took: now.saturating_duration_since(self.begun),
            now: clock::now(),
            account,
        });
    }
}
