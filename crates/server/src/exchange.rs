//! An exchange: one request to one response. It knows no framing and makes no call.
//!
//! An exchange returns [`Action`]s, which the connection carries out: it routes the request, asks for the
//! lookup of a name, and turns the result into a response.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::{BodyPart, Method, Request, RequestError, Status, target};
use karez_reactor::Peer;
use karez_transfer::Via;

use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::file_part::FilePart;
use crate::job::{FileResult, FileWork};
use crate::metrics::InFlight;
use crate::protocol::ExchangeId;
use crate::response::{Response, ResponseBuilder};
use crate::route::{self, Route};
use crate::rules::Decision;
use crate::rules::auth::user_file::UserFile;
use crate::rules::stage::Stage;
use crate::site::{ArchiveBody, Listing, ResourceRequest};
use crate::sites::SiteIndex;

mod accounting;
mod archive;
#[cfg(feature = "tls")]
mod challenge;
mod counting;
mod guard;
mod health;
mod hot;
mod listing;
mod refusal;
mod results;

pub(crate) use hot::Hot;

/// One request and the progress of its response.
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    request: Result<Request, RequestError>,
    site: SiteIndex,
    /// The connection was made for another site.
    misdirected: bool,
    /// The address of the client; `None` on a UNIX socket.
    client: Option<IpAddr>,
    /// The file of users that has the client's password.
    passed: Option<Arc<UserFile>>,
    /// Its password is being verified.
    verifying: bool,
    /// It asks for the health of the server.
    is_health: bool,
    /// The reason of the lookup that runs.
    stage: Stage,
    /// A resource to be found when the other connections have received.
    deferred: Option<ResourceRequest>,
    /// A body with more pieces to come.
    unfinished: Option<Unfinished>,
    started: Instant,
    /// When there was a response head.
    responded_at: Option<Instant>,
    _in_flight: InFlight,
    status: Status,
    /// Length of the response head, in bytes; 0 before there is one.
    head_length: u64,
    /// Bytes that have been sent, head and body.
    sent: u64,
    /// The counter of the connection's outbox up to which `sent` is counted.
    counted: u64,
    /// The via of the last file that was sent.
    via: Option<Via>,
}

/// A body whose next piece is made by a job.
enum Unfinished {
    Listing(Box<Listing>),
    Archive(Box<ArchiveBody>),
}

/// The next step of the connection for an exchange.
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation per request")]
pub(crate) enum Action {
    /// Wait for the other connections, and call [`Exchange::deferred`].
    Defer,
    /// Run a job, and pass its result to [`Exchange::job_done`].
    Run(FileWork),
    /// Send a response.
    Respond(Response),
    /// Send pieces of a body.
    Append(Vec<BodyPart<FilePart>>),
    /// End the body whose pieces have been sent.
    Finish,
    /// End the exchange: its response has been sent.
    Complete,
    /// End the connection in the middle of the response.
    Abort,
    /// The same by a reset, because files have changed.
    Reset,
}

impl Exchange {
    /// Returns the exchange of a request that has begun.
    pub(crate) fn new(id: ExchangeId, request: Request, now: Instant) -> Self {
        Self::with(id, Ok(request), now)
    }

    /// Returns the exchange of received bytes that are no request.
    pub(crate) fn of_error(id: ExchangeId, error: RequestError, now: Instant) -> Self {
        Self::with(id, Err(error), now)
    }

    fn with(id: ExchangeId, request: Result<Request, RequestError>, started: Instant) -> Self {
        let status = Status::InternalServerError;
        let _in_flight = InFlight::begin(id.is_only());
        let (deferred, unfinished, head_length, sent, counted) = (None, None, 0, 0, 0);
        let (site, misdirected, stage) = (SiteIndex::default(), false, Stage::default());
        let (client, passed, verifying) = (None, None, false);
        let (is_health, responded_at, via) = (false, None, None);
        #[rustfmt::skip]
        let exchange = Self {
            id, request, site, misdirected, client, passed, verifying, is_health, stage, deferred, unfinished, started, responded_at, _in_flight, status, head_length, sent, counted, via,
        };
        exchange
    }

    /// Chooses the site by the host that the request names, and finds the client. `server_name`: that of the
    /// handshake.
    pub(crate) fn choose_site(
        &mut self,
        context: &ServerContext,
        peer: Peer,
        server_name: Option<&str>,
    ) {
        self.client = peer.address.map(|address| address.ip());
        if let Ok(request) = &self.request {
            self.client = context.proxies.client(request, self.client);
            let site = context.sites.choose(request, server_name);
            (self.site, self.misdirected) = (site.unwrap_or_default(), site.is_none());
        }
    }

    /// Starts on a request that is complete.
    pub(crate) fn start(
        &mut self,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: Hot<'_>,
        now: Instant,
    ) -> Action {
        self.started = now;
        #[cfg(feature = "tls")]
        if let Some(answer) = self.challenge(context) {
            return self.respond(context, cost, |it| it.key_authorization(&answer));
        }
        if self.asks_health(context) {
            return self.health(context, cost);
        }
        let Ok(request) = &self.request else { return Action::Abort };
        if self.misdirected {
            let reason = "this connection was made for another host";
            return self.respond(context, cost, |it| it.text(Status::MisdirectedRequest, reason));
        }
        if let Some(refusal) = self.refusal(request, context, now) {
            return self.refuse_client(refusal, context, cost);
        }
        match Route::of(request) {
            Route::Resource(resource) => {
                match context.sites.get(self.site).rules().decide(request, resource) {
                    Decision::Find(resource) => self.resource(resource, context, cost, hot, now),
                    Decision::Redirect(status, location) => {
                        self.respond(context, cost, |it| it.redirect_by_rule(status, location))
                    }
                }
            }
            Route::Options => self.respond(context, cost, |it| it.options()),
            Route::NotAllowed => self.respond(context, cost, |it| it.not_allowed()),
            Route::Error(status, reason) => {
                self.respond(context, cost, |it| it.text(status, &reason))
            }
        }
    }

    /// Redirects a request that is complete to HTTPS on this port of the same host.
    pub(crate) fn redirect(
        &mut self,
        port: u16,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        now: Instant,
    ) -> Action {
        self.started = now;
        #[cfg(feature = "tls")]
        if let Some(answer) = self.challenge(context) {
            return self.respond(context, cost, |it| it.key_authorization(&answer));
        }
        if self.asks_health(context) {
            return self.health(context, cost);
        }
        let Ok(request) = &self.request else { return Action::Abort };
        if let Some(refusal) = self.refusal(request, context, now) {
            return self.refuse_client(refusal, context, cost);
        }
        match route::https_location(request, port) {
            Some(location) => self.respond(context, cost, |it| it.redirect_to(location)),
            None => self.respond(context, cost, |it| {
                it.text(Status::BadRequest, "the request names no host, and only HTTPS serves it")
            }),
        }
    }

    /// Continues when the other connections have received.
    pub(crate) fn deferred(
        &mut self,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        mut hot: Hot<'_>,
        now: Instant,
    ) -> Action {
        match self.deferred.take() {
            Some(resource) => self.find(resource, context, cost, &mut hot, now),
            None => Action::Abort,
        }
    }

    /// Answers from the hot files, after the other connections have received, so that one poll of the
    /// watches serves all of them; or by a lookup.
    fn resource(
        &mut self,
        resource: ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        mut hot: Hot<'_>,
        now: Instant,
    ) -> Action {
        if hot.defers(context.sites.get(self.site), &resource) {
            self.deferred = Some(resource);
            return Action::Defer;
        }
        self.find(resource, context, cost, &mut hot, now)
    }

    /// Rejects a request that cannot be served.
    pub(crate) fn reject(
        &self,
        status: Status,
        reason: &str,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        self.respond(context, cost, |it| it.text(status, reason))
    }

    /// Gives up on the file system: responds with 503 if there is no response yet. In the middle of a
    /// listing the connection has to end.
    pub(crate) fn unavailable(
        &self,
        reason: &str,
        retry_after: Duration,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        if self.has_response() {
            return Action::Abort;
        }
        self.respond(context, cost, |it| it.unavailable(reason, retry_after))
    }

    /// Continues with the result of a job.
    pub(crate) fn job_done(
        &mut self,
        result: FileResult,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        mut hot: Hot<'_>,
        now: Instant,
    ) -> Action {
        match result {
            FileResult::Found { found, request } => {
                hot.keep(context.sites.get(self.site), &request, &found, now);
                self.found(found, &request, context, cost, &mut hot, now)
            }
            FileResult::Verified { users, resource } => {
                self.verified(users, resource, context, cost, &mut hot, now)
            }
            FileResult::Listed { step, listing } => self.listed(step, listing, context, cost),
            FileResult::Indexed { step, index } => self.indexed(step, index, context, cost),
            FileResult::Archived { step, body } => self.archived(step, body, context),
        }
    }

    /// Continues after everything that was appended has been sent.
    pub(crate) fn sent(&mut self) -> Action {
        match self.unfinished.take() {
            Some(Unfinished::Listing(listing)) => Action::Run(FileWork::List { listing }),
            Some(Unfinished::Archive(body)) if body.is_complete() => Action::Finish,
            Some(Unfinished::Archive(body)) => Action::Run(FileWork::Archive { body }),
            None => Action::Complete,
        }
    }

    fn respond(
        &self,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        with: impl FnOnce(&ResponseBuilder<'_>) -> Response,
    ) -> Action {
        self.respond_with(None, context, cost, with)
    }

    fn respond_with(
        &self,
        content: Option<Arc<[u8]>>,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        with: impl FnOnce(&ResponseBuilder<'_>) -> Response,
    ) -> Action {
        let (request, via, torn, cost) =
            (self.request.as_ref().ok(), context.via, context.torn, cost.map(RefCell::new));
        let rules = context.sites.get(self.site).rules();
        Action::Respond(with(&ResponseBuilder { request, rules, via, torn, cost, content }))
    }

    /// Returns the relative reference that adds the slash of a directory; the query stays.
    fn location_with_slash(&self, resource: &ResourceRequest) -> Vec<u8> {
        let query = self.request.as_ref().ok().and_then(|request| {
            let query = target::parse(request.target()).ok()?.query?;
            request.target().get(query)
        });
        target::directory_reference(&resource.path, query)
    }

    /// Returns the name of that which the job of the exchange asks, for messages.
    pub(crate) fn waits_for(&self) -> &'static str {
        if self.verifying { "the verification of passwords" } else { "the file system" }
    }

    /// Returns whether the head of a response has been appended to the outbox.
    pub(crate) fn has_response(&self) -> bool {
        self.head_length > 0
    }

    /// Ends with the exchange, and gives the buffer of its request back.
    pub(crate) fn recycle(self) {
        if let Ok(request) = self.request {
            request.recycle();
        }
    }

    /// Returns whether the request was HEAD, whose response has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.request.as_ref().is_ok_and(|request| request.method() == Method::Head)
    }

    /// Returns the request line, or the part of it that was received.
    pub(crate) fn request_line(&self) -> &[u8] {
        match &self.request {
            Ok(request) => request.request_line(),
            Err(error) => &error.request_line,
        }
    }
}
