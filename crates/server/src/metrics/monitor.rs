//! The listener of metrics and of the live page: a thread that accepts, and one for each of few connections, apart from
//! the event loops.
//!
//! | path | content |
//! |---|---|
//! | `/metrics` | a scrape, with `--metrics` |
//! | `/` | the page, with `--status` |
//! | `/events` | its state once a second (server-sent events) |
//!
//! # Limitations
//!
//! A connection has one request. During an upgrade either process may accept it. There is neither TLS nor a password:
//! listen on an address that only the right hosts reach.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use karez_http::{Method, Request, Status, target};
use karez_reactor::{Address, Handover, InheritedListener, Listener, Shutdown};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::time::Timespec;
use serde_json::Value;

use super::exposition::MEDIA_TYPE;
use super::lock::lock;
use super::rates::Rates;
use super::{Metrics, page};
use exchange::Exchange;

mod exchange;

/// The most connections at a time; others are closed at once.
const CONNECTIONS: usize = 16;
/// The most of them that receive events.
const LIVE: usize = 8;
/// The time between two states of the page.
const TICK: Duration = Duration::from_secs(1);
/// How long a connection receives events; a browser then connects again.
const LIVE_TIME: Duration = Duration::from_secs(600);
/// The time between two looks at whether the shutdown has begun.
const STOP_CHECK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The pause after an error of accept(2), such as no free descriptor.
const BACKOFF: Duration = Duration::from_millis(100);

/// The policy of the page: nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// A listener for metrics and the live page, which is bound and does not accept yet.
#[derive(Debug)]
pub struct Monitor {
    metrics: Metrics,
    listeners: Vec<(Listener, Pages)>,
    /// The addresses that they were bound for.
    requested: Vec<Address>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug)]
struct Pages {
    metrics: bool,
    status: bool,
}

/// What all connections share.
struct Shared {
    metrics: Metrics,
    connections: AtomicUsize,
    live: AtomicUsize,
    /// The number of the last state, and the state.
    state: Mutex<(u64, Arc<Value>)>,
    changed: Condvar,
}

impl Monitor {
    /// Binds the address of `/metrics` and that of the live page, if there are such. One listener serves both if the
    /// addresses are equal. A socket of another process for an address is taken out of `inherited` instead.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(
        metrics: Metrics,
        scrape: Option<&Address>,
        status: Option<&Address>,
        inherited: &mut Vec<InheritedListener>,
    ) -> io::Result<Self> {
        let mut wanted = Vec::new();
        wanted.extend(scrape.map(|at| (at, Pages { metrics: true, status: status == scrape })));
        let other = status.filter(|_| status != scrape);
        wanted.extend(other.map(|at| (at, Pages { metrics: false, status: true })));
        let requested = wanted.iter().map(|(address, _)| (*address).clone()).collect();
        let mut listeners = Vec::new();
        for (address, pages) in wanted {
            listeners.push((InheritedListener::take_or_bind(inherited, address)?, pages));
        }
        Ok(Self { metrics, listeners, requested })
    }

    /// Adds its listeners to those that a successor of the process is given.
    pub fn hand_over(&self, handover: &mut Handover) {
        for ((listener, _), requested) in self.listeners.iter().zip(&self.requested) {
            handover.add(listener, requested);
        }
    }

    /// Returns what is served where: `metrics` or `status`, and the URL.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, String)> {
        let mut urls = Vec::new();
        for (listener, pages) in &self.listeners {
            let url = |path| match listener.address() {
                Address::Tcp(address) => format!("http://{address}{path}"),
                address @ Address::Unix(_) => address.to_string(),
            };
            urls.extend(pages.metrics.then(|| ("metrics", url("/metrics"))));
            urls.extend(pages.status.then(|| ("status", url("/"))));
        }
        urls
    }

    /// Starts to serve, until the shutdown begins.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub fn start(self, shutdown: Shutdown) -> io::Result<()> {
        let shows_status = self.listeners.iter().any(|(_, pages)| pages.status);
        self.metrics.0.samples.store(shows_status, Ordering::Relaxed);
        let mut rates = Rates::new(self.metrics.clone());
        let first = Arc::new(rates.tick(Instant::now()));
        let shared = Arc::new(Shared {
            metrics: self.metrics,
            connections: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            state: Mutex::new((0, first)),
            changed: Condvar::new(),
        });
        if shows_status {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("karez-rates".to_owned())
                .spawn(move || shared.tick(rates))?;
        }
        let accept = move || shared.accept(&self.listeners, &shutdown);
        thread::Builder::new().name("karez-monitor".to_owned()).spawn(accept)?;
        Ok(())
    }
}

impl Shared {
    /// Makes a state each second.
    fn tick(&self, mut rates: Rates) {
        loop {
            thread::sleep(TICK);
            let state = Arc::new(rates.tick(Instant::now()));
            let mut current = lock(&self.state);
            *current = (current.0 + 1, state);
            drop(current);
            self.changed.notify_all();
        }
    }

    fn accept(self: &Arc<Self>, listeners: &[(Listener, Pages)], shutdown: &Shutdown) {
        while !shutdown.is_triggered() {
            let mut ready: Vec<_> =
                listeners.iter().map(|(it, _)| PollFd::new(it, PollFlags::IN)).collect();
            // On an error each listener is tried.
            let _some = poll(&mut ready, Some(&STOP_CHECK));
            for (listener, pages) in listeners {
                match accept_with(listener.as_fd(), SocketFlags::CLOEXEC) {
                    Ok(socket) => self.start(TcpStream::from(socket), *pages),
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                    Err(_) => thread::sleep(BACKOFF),
                }
            }
        }
    }

    /// Serves a connection on a thread of its own; closes it if there are too many.
    fn start(self: &Arc<Self>, socket: TcpStream, pages: Pages) {
        let Some(place) = Place::take(self, |shared| &shared.connections, CONNECTIONS) else {
            return;
        };
        let serve = move || {
            // The client has closed, or is too slow.
            let _ended = place.0.serve(socket, pages);
        };
        // Without a thread the connection is closed.
        let _started = thread::Builder::new().name("karez-scrape".to_owned()).spawn(serve);
    }

    fn serve(self: &Arc<Self>, socket: TcpStream, pages: Pages) -> io::Result<()> {
        let mut exchange = Exchange::new(socket);
        let Some(request) = exchange.receive()? else { return Ok(()) };
        if !matches!(request.method(), Method::Get | Method::Head) {
            let fields = [("Allow", "GET, HEAD")];
            return exchange.respond(
                Status::MethodNotAllowed,
                "text/plain",
                &fields,
                "GET or HEAD only\n",
            );
        }
        match path(&request).as_deref() {
            Some(b"metrics") if pages.metrics => {
                let text = self.metrics.scrape().map_err(io::Error::other)?;
                exchange.respond(Status::Ok, MEDIA_TYPE, &[], &text)
            }
            Some(b"") if pages.status => {
                let page = page::render(&self.state().1);
                let fields = [("Content-Security-Policy", POLICY)];
                exchange.respond(Status::Ok, "text/html; charset=utf-8", &fields, &page)
            }
            Some(b"events") if pages.status => self.send_events(exchange, request.method()),
            _ => exchange.respond(
                Status::NotFound,
                "text/plain",
                &[],
                "there is no such page here\n",
            ),
        }
    }

    fn state(&self) -> (u64, Arc<Value>) {
        lock(&self.state).clone()
    }

    /// Sends each state until the client closes.
    fn send_events(self: &Arc<Self>, mut exchange: Exchange, method: Method) -> io::Result<()> {
        let Some(_place) = Place::take(self, |shared| &shared.live, LIVE) else {
            let fields = [("Retry-After", "10")];
            let text = "too many pages are open\n";
            return exchange.respond(Status::ServiceUnavailable, "text/plain", &fields, text);
        };
        exchange.start_events()?;
        if method == Method::Head {
            return Ok(());
        }
        let until = Instant::now() + LIVE_TIME;
        let mut seen = None;
        while Instant::now() < until {
            let current = lock(&self.state);
            let same = |current: &mut (u64, Arc<Value>)| seen == Some(current.0);
            let waited = self.changed.wait_timeout_while(current, 2 * TICK, same);
            let (number, state) = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
            seen = Some(number);
            exchange.send_event(&state.to_string())?;
        }
        exchange.end_events()
    }
}

/// Returns the path of a request, without its first slash.
fn path(request: &Request) -> Option<Vec<u8>> {
    let target = target::parse(request.target()).ok()?;
    let is_root = target.path.is_empty();
    // A slash behind a name makes it another one.
    (is_root || !target.directory).then(|| target.path.to_vec())
}

/// One of a bounded number of places.
struct Place(Arc<Shared>, fn(&Shared) -> &AtomicUsize);

impl Place {
    fn take(shared: &Arc<Shared>, taken: fn(&Shared) -> &AtomicUsize, most: usize) -> Option<Self> {
        let before = taken(shared).fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(shared), taken);
        // One too many gives its place back.
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}
