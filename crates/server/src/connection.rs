//! One HTTP connection: the task that turns what the peer sent into responses.
//!
//! It reads a request, has a job find the file, appends the response, and begins again. It makes no
//! call itself, so it is the same on every model. One exchange is open at a time: pipelined
//! requests wait in the decoder and are answered in their order.
//!
//! # Limitations
//!
//! Nothing is received while a response is sent, so that model blocking never has to wait for two
//! things at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::{Decoder, Limits, Refusal, Request, Status, response, target};
use karez_reactor::{Event, Io, JobError, JobId, Mark, Peer, SendError, Task};
use karez_transfer::Outbox;

use crate::account::{Account, Spent};
use crate::answer::{Answer, Answering, Persistence};
use crate::exchange::Exchange;
use crate::job::{Done, SiteAnswer, SiteJob, SiteTask};
use crate::plan::Plan;
use crate::service::Shared;
use crate::site::{Found, Listing, ListingStep, Wanted};

/// After the last answer: how long the peer may take to notice.
const LINGER: Duration = Duration::from_secs(5);

/// A connection between its first byte and its last.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    decoder: Decoder,
    exchange: Option<Exchange>,
    /// The job that it waits for, or the last.
    job: u64,
    /// What is told of what answers cost, if it is to be told.
    account: Option<Box<Account>>,
    /// When the head that has begun must be complete.
    head_due: Option<Instant>,
    /// FIN sent: what still comes is thrown away until then.
    lingers_until: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        let account = shared.explain.map(|model| Box::new(Account::new(model)));
        Self {
            shared,
            peer,
            decoder: Decoder::new(Limits::default()),
            exchange: None,
            job: 0,
            account,
            head_due: None,
            lingers_until: None,
        }
    }
}

impl Task for Connection {
    type Job = SiteJob;
    type Message = Infallible;

    fn on_resume(&mut self) {
        if let Some(account) = &mut self.account {
            account.begin();
        }
    }

    fn on_yield(&mut self) {
        if let Some(account) = &mut self.account {
            account.rest();
        }
    }

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, SiteJob>) {
        match event {
            Event::Opened(_) => {
                io.send_timeout(self.shared.patience.send);
                io.receive(io.now() + self.shared.patience.head, true, None);
            }
            Event::Received(bytes, _) => self.received(bytes, io),
            Event::ReceiveTimedOut => self.timed_out(io),
            Event::Sent(_) => self.sent(io),
            Event::SendFailed(error) => self.send_failed(&error, io),
            Event::JobDone(JobId(job), _) if job != self.job => {} // it came too late
            Event::JobDone(_, Ok(done)) => self.job_done(done, io),
            Event::JobDone(_, Err(JobError::Rejected)) => self.rejected(io),
            Event::JobDone(_, Err(_)) => self.abort(io),
            Event::Timer => self.lookup_timed_out(io),
            Event::Failed(_) => self.client_left(io),
            Event::PeerClosed => io.close(),
            // A shutdown is noticed where a request begins, and an idle connection just goes.
            _ => {}
        }
    }
}

/// Between requests.
impl Connection {
    fn received(&mut self, bytes: &[u8], io: &mut Io<'_, SiteJob>) {
        if self.lingers_until.is_some() {
            return self.linger(io);
        }
        if let Some(account) = &mut self.account {
            account.received();
        }
        self.decoder.push(bytes);
        self.next_request(io);
    }

    /// Sends a FIN behind the last response, and gives the peer some time to notice: it may be sending
    /// still, and a reset would take the response with it.
    fn finish(&mut self, io: &mut Io<'_, SiteJob>) {
        io.shutdown_write();
        self.lingers_until = Some(io.now() + LINGER);
        self.linger(io);
    }

    /// Throws away what still comes, until the peer has seen our FIN and closes. Others may have
    /// the place, but a stop waits: the answer may still be on its way.
    fn linger(&mut self, io: &mut Io<'_, SiteJob>) {
        if let Some(until) = self.lingers_until {
            io.receive(until, !self.shared.stop.has_begun(), None);
        }
    }

    fn next_request(&mut self, io: &mut Io<'_, SiteJob>) {
        match self.decoder.next() {
            Ok(Some(request)) => self.begin(request, io),
            Ok(None) => self.receive_more(io),
            Err(refusal) => self.refuse(refusal, io),
        }
    }

    fn receive_more(&mut self, io: &mut Io<'_, SiteJob>) {
        let (patience, now) = (&self.shared.patience, io.now());
        let idle = self.decoder.is_empty();
        let until = if idle {
            self.head_due = None;
            now + patience.idle
        } else {
            *self.head_due.get_or_insert(now + patience.head)
        };
        io.receive(until, idle, None);
    }

    fn timed_out(&mut self, io: &mut Io<'_, SiteJob>) {
        if self.lingers_until.is_some() || self.decoder.is_empty() {
            return io.close();
        }
        let refusal = self.decoder.time_out();
        self.refuse(refusal, io);
    }
}

/// One exchange.
impl Connection {
    fn begin(&mut self, request: Request, io: &mut Io<'_, SiteJob>) {
        self.head_due = None;
        let persistence = Persistence::of(&request, self.shared.stop.has_begun());
        let plan = Plan::of(&request);
        self.exchange = Some(Exchange::new(Ok(request), persistence, io.now()));
        match plan {
            Plan::Find(wanted) => {
                let site = Arc::clone(&self.shared.site);
                let search = site.search(wanted);
                self.run(SiteTask::Find { site, search }, io);
            }
            Plan::Options => self.answer(io, |answering| answering.options()),
            Plan::NotAllowed => self.answer(io, |answering| answering.not_allowed()),
            Plan::Refuse(status, why) => {
                self.answer(io, |answering| answering.plain(status, &why));
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, io: &mut Io<'_, SiteJob>) {
        let Refusal { status, reason, .. } = refusal;
        self.exchange = Some(Exchange::new(Err(refusal), Persistence::Closes, io.now()));
        self.answer(io, |answering| answering.plain(status, reason));
    }

    fn run(&mut self, task: SiteTask, io: &mut Io<'_, SiteJob>) {
        let spent = self.account.is_some().then(Spent::nothing);
        self.job += 1;
        io.set_timer(Some(io.now() + self.shared.patience.lookup));
        if io.run(JobId(self.job), SiteJob { task, spent }).is_err() {
            self.rejected(io); // of those before, none was waited for
        }
    }

    /// The file system has not answered within the time allowed.
    fn lookup_timed_out(&mut self, io: &mut Io<'_, SiteJob>) {
        self.job += 1;
        let Some(exchange) = &self.exchange else { return };
        let what = exchange.request_line().escape_ascii();
        let patience = self.shared.patience.lookup;
        self.shared
            .notice(&format!("\"{what}\": the file system has not answered within {patience:?}"));
        self.is_unavailable("the file system does not answer", io);
    }

    /// As many jobs as may wait for this device.
    fn rejected(&mut self, io: &mut Io<'_, SiteJob>) {
        io.set_timer(None);
        self.is_unavailable(
            "the file system does not answer, or too many requests wait for it",
            io,
        );
    }

    /// Says so where there is no head yet; in the middle of a listing all that can be done is to stop.
    fn is_unavailable(&mut self, why: &str, io: &mut Io<'_, SiteJob>) {
        let retry_after = self.shared.patience.lookup;
        match &mut self.exchange {
            Some(exchange) if !exchange.is_answered() => {
                exchange.persistence = Persistence::Closes;
                self.answer(io, |answering| answering.unavailable(why, retry_after));
            }
            _ => self.abort(io),
        }
    }

    /// The peer has reset the connection.
    fn client_left(&mut self, io: &mut Io<'_, SiteJob>) {
        if let Some(exchange) = &mut self.exchange
            && !exchange.is_answered()
        {
            exchange.client_left();
        }
        self.close_exchange(io.now());
        io.close();
    }

    fn job_done(&mut self, done: Done, io: &mut Io<'_, SiteJob>) {
        io.set_timer(None);
        if let Some(account) = &mut self.account {
            account.worked(done.spent);
        }
        match done.answer {
            SiteAnswer::Found { found, wanted } => self.found(found, &wanted, io),
            SiteAnswer::Listed { step: Ok(step), listing } => self.listed(step, listing, io),
            SiteAnswer::Listed { step: Err(error), .. } => self.listing_failed(&error, io),
        }
    }

    fn found(&mut self, found: Found, wanted: &Wanted, io: &mut Io<'_, SiteJob>) {
        match found {
            Found::File { file, .. } => self.answer(io, |answering| answering.file(&file)),
            Found::MissingSlash => self.redirect(wanted, io),
            Found::Directory(listing) => self.begin_listing(listing, io),
            Found::ListingForbidden => self.answer(io, |answering| {
                answering.plain(Status::Forbidden, "directories are not listed here")
            }),
            Found::Missing => self.answer(io, |answering| answering.plain(Status::NotFound, "")),
            Found::Denied => self.answer(io, |answering| answering.plain(Status::Forbidden, "")),
            Found::Busy => self.answer(io, |answering| {
                answering.unavailable("no descriptor is free, try again", Duration::ZERO)
            }),
            Found::Failed(error) => {
                self.shared.notice(&error.to_string());
                self.answer(io, |answering| answering.plain(Status::InternalServerError, ""));
            }
        }
    }

    fn redirect(&mut self, wanted: &Wanted, io: &mut Io<'_, SiteJob>) {
        let request = self.exchange.as_ref().and_then(Exchange::request);
        let query = request.and_then(|request| {
            let query = target::parse(request.target()).ok()?.query?;
            request.target().get(query)
        });
        let location = target::directory_reference(&wanted.path, query);
        self.answer(io, |answering| answering.redirect(&location));
    }

    fn answer(&mut self, io: &mut Io<'_, SiteJob>, give: impl FnOnce(&Answering<'_>) -> Answer) {
        let Some(exchange) = &mut self.exchange else { return };
        let outbox = exchange.answer(self.shared.via, self.account.as_deref_mut(), give);
        self.send(outbox, io);
    }

    fn send(&mut self, content: Outbox, io: &mut Io<'_, SiteJob>) {
        if self.account.is_some() {
            io.outbox().keep_ledger();
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.begin_to_send(io.outbox());
        }
        io.outbox().append(content);
        io.notify_sent(Mark(0));
    }

    fn sent(&mut self, io: &mut Io<'_, SiteJob>) {
        self.count(io);
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(listing) = exchange.listing.take() {
            self.run(SiteTask::List { listing }, io);
        } else {
            self.end_exchange(io);
        }
    }

    /// Counts what has left since the last [`send`](Self::send).
    fn count(&mut self, io: &mut Io<'_, SiteJob>) {
        if let Some(exchange) = &mut self.exchange {
            exchange.count(io.outbox());
        }
        if let Some(account) = &mut self.account {
            account.sent(io.outbox());
        }
    }

    fn end_exchange(&mut self, io: &mut Io<'_, SiteJob>) {
        let Some(exchange) = self.close_exchange(io.now()) else { return io.close() };
        if exchange.persistence == Persistence::Closes {
            self.finish(io);
        } else {
            self.next_request(io);
        }
    }

    fn send_failed(&mut self, error: &SendError, io: &mut Io<'_, SiteJob>) {
        self.count(io);
        let Some(exchange) = &mut self.exchange else { return io.close() };
        let what = exchange.request_line().escape_ascii().to_string();
        match error {
            SendError::Truncated { missing } => {
                self.shared.notice(&format!(
                    "\"{what}\": the file became shorter while it was sent; {missing} bytes are \
                     missing, connection closed"
                ));
                self.close_exchange(io.now());
                // What there was shall arrive, so no reset.
                return self.finish(io);
            }
            SendError::Failed(error) if is_ours(error) => {
                self.shared.notice(&format!("\"{what}\": send: {error}"));
            }
            // The peer left or sleeps, or the grace period is over.
            _ => {}
        }
        self.abort(io);
    }

    /// Ends the connection in the middle of a response. Where only that end would tell where the
    /// response ends, it must not look like a regular one.
    fn abort(&mut self, io: &mut Io<'_, SiteJob>) {
        match self.close_exchange(io.now()) {
            Some(exchange) if exchange.is_delimited_by_close => io.reset(),
            _ => io.close(),
        }
    }

    /// Logs the exchange.
    fn close_exchange(&mut self, now: Instant) -> Option<Exchange> {
        let exchange = self.exchange.take()?;
        let account = self.account.as_mut().map(|account| account.close());
        if let Some(access) = &self.shared.access {
            exchange.log(access, self.peer, account.as_ref(), now);
        }
        Some(exchange)
    }
}

/// Listings: a job renders some entries, they are sent, and so on.
impl Connection {
    fn begin_listing(&mut self, listing: Box<Listing>, io: &mut Io<'_, SiteJob>) {
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.is_http10() {
            // No length and no chunks: the end of the connection is the end of the listing.
            exchange.persistence = Persistence::Closes;
            exchange.is_delimited_by_close = !exchange.is_head();
        }
        let chunked = !exchange.is_http10();
        let content_type = listing.content_type();
        if !exchange.is_head() {
            exchange.listing = Some(listing);
        }
        self.answer(io, |answering| answering.listing(content_type, chunked));
    }

    fn listed(&mut self, step: ListingStep, listing: Box<Listing>, io: &mut Io<'_, SiteJob>) {
        let Some(exchange) = &mut self.exchange else { return };
        let http10 = exchange.is_http10();
        match step {
            ListingStep::Working => self.run(SiteTask::List { listing }, io),
            ListingStep::Chunk(bytes) => {
                exchange.listing = Some(listing);
                self.send(Outbox::from(if http10 { bytes } else { chunk(&bytes) }), io);
            }
            ListingStep::Done if http10 => self.end_exchange(io),
            ListingStep::Done => {
                let mut end = Vec::new();
                response::last_chunk(&mut end);
                self.send(Outbox::from(end), io);
            }
        }
    }

    /// The head is out, so the only way to say it is to stop in the middle.
    fn listing_failed(&mut self, error: &std::io::Error, io: &mut Io<'_, SiteJob>) {
        self.shared.notice(&error.to_string());
        self.abort(io);
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    response::chunk(&mut out, bytes);
    out
}

/// Whether an error of sending has its cause on our side of the socket.
fn is_ours(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut,
    };
    !matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}

#[cfg(test)]
mod tests;
