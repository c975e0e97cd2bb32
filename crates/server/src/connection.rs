//! One HTTP connection: the task that turns what the peer sent into wishes.
//!
//! It reads a request, has a job find the file, sends the answer, and begins again. It makes no
//! call itself, so it is the same on every model. One exchange is open at a time: pipelined
//! requests wait in the decoder and are answered in their order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::{Decoder, Limits, Refusal, Request, Status, response, target};
use karez_reactor::{Event, NoMail, Obstacle, Peer, Task, Want};
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
    wish: Want<SiteJob>,
    exchange: Option<Exchange>,
    /// What is told of what answers cost, if it is to be told.
    account: Option<Box<Account>>,
    /// When the head that has begun must be complete.
    head_due: Option<Instant>,
    /// FIN sent: what still comes is thrown away until then.
    lingers_until: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer, now: Instant) -> Self {
        let until = now + shared.patience.head;
        let account = shared.explain.map(|model| Box::new(Account::new(model)));
        Self {
            shared,
            peer,
            decoder: Decoder::new(Limits::default()),
            wish: Want::Receive { until, idle: true },
            exchange: None,
            account,
            head_due: None,
            lingers_until: None,
        }
    }
}

impl Task for Connection {
    type Job = SiteJob;
    type Mail = NoMail;

    fn taken_up(&mut self) {
        if let Some(account) = &mut self.account {
            account.begin();
        }
    }

    fn put_down(&mut self) {
        if let Some(account) = &mut self.account {
            account.rest();
        }
    }

    fn want(&mut self) -> Want<SiteJob> {
        std::mem::replace(&mut self.wish, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, Done>, now: Instant) {
        // Whatever is not answered by a new wish closes the connection.
        match event {
            Event::Received(bytes) => self.received(bytes, now),
            Event::TimedOut => self.timed_out(now),
            Event::Rejected => self.rejected(now),
            Event::Failed(_) => self.client_left(now),
            Event::PeerClosed | Event::Relayed(_) => {}
            Event::Sent(outbox) => self.sent(outbox, now),
            Event::Unsent(outbox, obstacle) => self.unsent(outbox, &obstacle, now),
            Event::Worked(done) => self.worked(done, now),
            Event::Finished => {
                self.lingers_until = Some(now + LINGER);
                self.linger();
            }
        }
    }
}

/// Between requests.
impl Connection {
    fn received(&mut self, bytes: &[u8], now: Instant) {
        if self.lingers_until.is_some() {
            return self.linger();
        }
        if let Some(account) = &mut self.account {
            account.received();
        }
        self.decoder.push(bytes);
        self.next_request(now);
    }

    /// Throws away what still comes, until the peer has seen our FIN and closes. Others may have
    /// the place, but a stop waits: the answer may still be on its way.
    fn linger(&mut self) {
        if let Some(until) = self.lingers_until {
            let idle = !self.shared.stop.has_begun();
            self.wish = Want::Receive { until, idle };
        }
    }

    fn next_request(&mut self, now: Instant) {
        match self.decoder.next() {
            Ok(Some(request)) => self.begin(request, now),
            Ok(None) => self.receive_more(now),
            Err(refusal) => self.refuse(refusal, now),
        }
    }

    fn receive_more(&mut self, now: Instant) {
        let patience = &self.shared.patience;
        let idle = self.decoder.is_empty();
        let until = if idle {
            self.head_due = None;
            now + patience.idle
        } else {
            *self.head_due.get_or_insert(now + patience.head)
        };
        self.wish = Want::Receive { until, idle };
    }

    fn timed_out(&mut self, now: Instant) {
        if self.exchange.is_some() {
            return self.lookup_timed_out(now);
        }
        if self.lingers_until.is_none() && !self.decoder.is_empty() {
            let refusal = self.decoder.time_out();
            self.refuse(refusal, now);
        }
    }
}

/// One exchange.
impl Connection {
    fn begin(&mut self, request: Request, now: Instant) {
        self.head_due = None;
        let persistence = Persistence::of(&request, self.shared.stop.has_begun());
        let plan = Plan::of(&request);
        self.exchange = Some(Exchange::new(Ok(request), persistence, now));
        match plan {
            Plan::Find(wanted) => {
                let site = Arc::clone(&self.shared.site);
                let search = site.search(wanted);
                self.work(SiteTask::Find { site, search }, now);
            }
            Plan::Options => self.answer(|answering| answering.options()),
            Plan::NotAllowed => self.answer(|answering| answering.not_allowed()),
            Plan::Refuse(status, why) => self.answer(|answering| answering.plain(status, &why)),
        }
    }

    fn refuse(&mut self, refusal: Refusal, now: Instant) {
        let Refusal { status, reason, .. } = refusal;
        self.exchange = Some(Exchange::new(Err(refusal), Persistence::Closes, now));
        self.answer(|answering| answering.plain(status, reason));
    }

    fn work(&mut self, task: SiteTask, now: Instant) {
        let spent = self.account.is_some().then(Spent::nothing);
        let until = now + self.shared.patience.lookup;
        self.wish = Want::Work { job: SiteJob { task, spent }, until };
    }

    /// The file system has not answered within the time allowed.
    fn lookup_timed_out(&mut self, now: Instant) {
        let Some(exchange) = &self.exchange else { return };
        let what = exchange.request_line().escape_ascii();
        let patience = self.shared.patience.lookup;
        self.shared
            .notice(&format!("\"{what}\": the file system has not answered within {patience:?}"));
        self.is_unavailable("the file system does not answer", now);
    }

    /// As many jobs as may wait for this device.
    fn rejected(&mut self, now: Instant) {
        self.is_unavailable(
            "the file system does not answer, or too many requests wait for it",
            now,
        );
    }

    /// Says so where there is no head yet; in the middle of a listing all that can be done is to stop.
    fn is_unavailable(&mut self, why: &str, now: Instant) {
        let retry_after = self.shared.patience.lookup;
        match &mut self.exchange {
            Some(exchange) if !exchange.is_answered() => {
                exchange.persistence = Persistence::Closes;
                self.answer(|answering| answering.unavailable(why, retry_after));
            }
            _ => {
                self.close_exchange(now);
            }
        }
    }

    /// The peer has reset the connection.
    fn client_left(&mut self, now: Instant) {
        if let Some(exchange) = &mut self.exchange
            && !exchange.is_answered()
        {
            exchange.client_left();
        }
        self.close_exchange(now);
    }

    fn worked(&mut self, done: Done, now: Instant) {
        if let Some(account) = &mut self.account {
            account.worked(done.spent);
        }
        match done.answer {
            SiteAnswer::Found { found, wanted } => self.found(found, &wanted),
            SiteAnswer::Listed { step: Ok(step), listing } => self.listed(step, listing, now),
            SiteAnswer::Listed { step: Err(error), .. } => self.listing_failed(&error, now),
        }
    }

    fn found(&mut self, found: Found, wanted: &Wanted) {
        match found {
            Found::File { file, .. } => self.answer(|answering| answering.file(&file)),
            Found::MissingSlash => self.redirect(wanted),
            Found::Directory(listing) => self.begin_listing(listing),
            Found::ListingForbidden => self.answer(|answering| {
                answering.plain(Status::Forbidden, "directories are not listed here")
            }),
            Found::Missing => self.answer(|answering| answering.plain(Status::NotFound, "")),
            Found::Denied => self.answer(|answering| answering.plain(Status::Forbidden, "")),
            Found::Busy => self.answer(|answering| {
                answering.unavailable("no descriptor is free, try again", Duration::ZERO)
            }),
            Found::Failed(error) => {
                self.shared.notice(&error.to_string());
                self.answer(|answering| answering.plain(Status::InternalServerError, ""));
            }
        }
    }

    fn redirect(&mut self, wanted: &Wanted) {
        let request = self.exchange.as_ref().and_then(Exchange::request);
        let query = request.and_then(|request| {
            let query = target::parse(request.target()).ok()?.query?;
            request.target().get(query)
        });
        let location = target::directory_reference(&wanted.path, query);
        self.answer(|answering| answering.redirect(&location));
    }

    fn answer(&mut self, give: impl FnOnce(&Answering<'_>) -> Answer) {
        let Some(exchange) = &mut self.exchange else { return };
        let outbox = exchange.answer(self.shared.via, self.account.as_deref_mut(), give);
        self.send(outbox);
    }

    fn send(&mut self, mut outbox: Outbox) {
        if self.account.is_some() {
            outbox.keep_ledger();
        }
        self.wish = Want::Send { outbox, stall: self.shared.patience.send };
    }

    fn sent(&mut self, outbox: Outbox, now: Instant) {
        self.count(outbox);
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(listing) = exchange.listing.take() {
            self.work(SiteTask::List { listing }, now);
        } else {
            self.end_exchange(now);
        }
    }

    /// Counts what has become of an outbox.
    fn count(&mut self, mut outbox: Outbox) {
        if let Some(exchange) = &mut self.exchange {
            exchange.count(&outbox);
        }
        if let Some(account) = &mut self.account {
            account.sent(&mut outbox);
        }
    }

    fn end_exchange(&mut self, now: Instant) {
        let Some(exchange) = self.close_exchange(now) else { return };
        if exchange.persistence == Persistence::Closes {
            // The peer may be sending still, and a reset would take the answer with it.
            self.wish = Want::Finish;
        } else {
            self.next_request(now);
        }
    }

    fn unsent(&mut self, outbox: Outbox, obstacle: &Obstacle, now: Instant) {
        self.count(outbox);
        let Some(exchange) = &mut self.exchange else { return };
        let what = exchange.request_line().escape_ascii().to_string();
        match obstacle {
            Obstacle::Truncated { missing } => {
                self.shared.notice(&format!(
                    "\"{what}\": the file became shorter while it was sent; {missing} bytes are \
                     missing, connection closed"
                ));
                // What there was shall arrive, so no reset.
                self.wish = Want::Finish;
            }
            Obstacle::Failed(error) if is_ours(error) => {
                self.shared.notice(&format!("\"{what}\": send: {error}"));
            }
            // The peer left or sleeps: its affair.
            Obstacle::Failed(_) | Obstacle::TimedOut | Obstacle::Stopped => {}
        }
        self.close_exchange(now);
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
    fn begin_listing(&mut self, listing: Box<Listing>) {
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.is_http10() {
            // No length and no chunks: the end of the connection is the end of the listing.
            exchange.persistence = Persistence::Closes;
        }
        let chunked = !exchange.is_http10();
        let content_type = listing.content_type();
        if !exchange.is_head() {
            exchange.listing = Some(listing);
        }
        self.answer(|answering| answering.listing(content_type, chunked));
    }

    fn listed(&mut self, step: ListingStep, listing: Box<Listing>, now: Instant) {
        let Some(exchange) = &mut self.exchange else { return };
        let http10 = exchange.is_http10();
        match step {
            ListingStep::Working => self.work(SiteTask::List { listing }, now),
            ListingStep::Chunk(bytes) => {
                exchange.listing = Some(listing);
                self.send(Outbox::from(if http10 { bytes } else { chunk(&bytes) }));
            }
            ListingStep::Done if http10 => self.end_exchange(now),
            ListingStep::Done => {
                let mut end = Vec::new();
                response::last_chunk(&mut end);
                self.send(Outbox::from(end));
            }
        }
    }

    /// The head is out, so the only way to say it is to stop in the middle.
    fn listing_failed(&mut self, error: &std::io::Error, now: Instant) {
        self.shared.notice(&error.to_string());
        self.close_exchange(now);
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
