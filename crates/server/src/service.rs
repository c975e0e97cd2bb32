//! The service: opens the roots, and makes a task for each connection.

use std::sync::{Arc, OnceLock};
use std::time::Instant;
use std::{fmt, io};

use karez_reactor::{Address, Limits, Local, Peer, Server, Service, Shutdown};

use crate::access_log::AccessLog;
use crate::address_limits::AddressLimits;
use crate::connection::Connection;
use crate::context::ServerContext;
use crate::drain::Drain;
use crate::error_log::ErrorLog;
use crate::live::Live;
use crate::metrics::{Metrics, SiteMetrics};
use crate::options::{Options, SiteOptions};
use crate::rules::Rules;
use crate::site::{
    ContentTags, HotFiles, ListingMemory, ListingNotes, Site, SiteSettings, default_cached_files,
    read_page,
};
use crate::sites::Sites;

/// Serves files by HTTP.
pub struct FileService {
    live: Arc<Live>,
    addresses: Arc<OnceLock<Vec<Address>>>,
    stop: Shutdown,
}

/// Replaces the options of a [`FileService`] that runs.
#[derive(Clone)]
pub struct Reloader {
    live: Arc<Live>,
    addresses: Arc<OnceLock<Vec<Address>>>,
}

impl FileService {
    /// Opens the roots. Responses are logged to `access`, and faults of the server and the file system to
    /// `error_log`. After `stop` has been triggered, responses announce that the connection closes.
    ///
    /// # Errors
    /// If a root cannot be opened; the text names it. If two sites have a host in common.
    pub fn open(
        options: Options,
        access: Option<AccessLog>,
        error_log: ErrorLog,
        stop: Shutdown,
    ) -> io::Result<Self> {
        #[cfg(feature = "metrics")]
        let metrics = options.metrics.clone();
        #[cfg(not(feature = "metrics"))]
        let metrics: Option<Metrics> = None;
        if let Some(metrics) = &metrics {
            metrics.observe_transfers();
            metrics.add_log("error", error_log.log().clone());
            access.iter().for_each(|access| metrics.add_log("access", access.log().clone()));
        }
        let context = context(options, access, (error_log, metrics), stop.clone(), None)?;
        Ok(Self { live: Live::new(context), addresses: Arc::default(), stop })
    }

    /// Returns a handle by which the options can be replaced.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader { live: Arc::clone(&self.live), addresses: Arc::clone(&self.addresses) }
    }

    /// Returns a handle by which the server can be made to report that it ends.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.live.current().drain.clone()
    }

    /// Serves until the shutdown is complete.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn run(self, bound: Server, limits: Limits) -> io::Result<()> {
        let addresses = self.addresses.get_or_init(|| bound.addresses().cloned().collect());
        let stop = self.stop.clone();
        let https_port = redirect_port(&self.live.current(), addresses);
        if https_port.is_some() {
            self.live.replace(|before| Ok(ServerContext { https_port, ..before.clone() }))?;
        }
        bound.run(&HttpService(self.live), limits, &stop)
    }
}

impl Reloader {
    /// Opens the roots of these options, and then replaces the current options by them at once. Requests
    /// that have begun end under the former options. Their lines, too, have the form of `access`. The error
    /// log, the metrics, the hashes of contents and `explain` stay.
    ///
    /// # Errors
    /// As [`FileService::open`]; then nothing changes.
    pub fn reload(&self, options: Options, access: Option<AccessLog>) -> io::Result<()> {
        self.live.replace(|before| {
            let kept = (before.error_log.clone(), before.metrics.clone());
            let mut context = context(options, access, kept, before.stop.clone(), Some(before))?;
            context.explain = before.explain;
            let addresses = self.addresses.get().map(Vec::as_slice).unwrap_or_default();
            context.https_port = redirect_port(&context, addresses);
            Ok(context)
        })
    }
}

#[cfg(feature = "simulation")]
impl FileService {
    /// Returns the configuration in use, and the shutdown.
    pub(crate) fn into_live(self) -> (Arc<Live>, Shutdown) {
        (self.live, self.stop)
    }
}

/// Returns the port to which requests on plain listeners are redirected.
fn redirect_port(context: &ServerContext, addresses: &[Address]) -> Option<u16> {
    #[cfg(feature = "tls")]
    return context.tls.as_ref().filter(|tls| tls.redirect)?.port(addresses.iter());
    #[cfg(not(feature = "tls"))]
    {
        let _ = (context, addresses);
        None
    }
}

fn context(
    options: Options,
    access: Option<AccessLog>,
    (error_log, metrics): (ErrorLog, Option<Metrics>),
    stop: Shutdown,
    before: Option<&ServerContext>,
) -> io::Result<ServerContext> {
    let content_tags = before.map_or(options.content_tags, |before| before.content_tags.clone());
    let cached_files = default_cached_files().div_ceil(1 + options.named.len());
    let memory = before.map(|before| before.listing_memory.clone()).unwrap_or_default();
    let listing_memory = memory.with_limit(options.listing_memory);
    let sites = [options.site].into_iter().chain(options.named);
    let sites = sites.map(|mut site| {
        let hosts = std::mem::take(&mut site.hosts);
        let label = hosts.first().map_or("default".to_owned(), ToString::to_string);
        let of_site = metrics.as_ref().map(|metrics| metrics.site(&label));
        let shared = (&listing_memory, &content_tags, &error_log);
        Ok((Arc::new(open(site, cached_files, shared, of_site)?), hosts))
    });
    let sites = Sites::new(sites.collect::<io::Result<_>>()?)?;
    let Options { via, torn, timeouts, proxies, limits, health, explain, http2, .. } = options;
    let torn_responses =
        before.map(|before| Arc::clone(&before.torn_responses)).unwrap_or_default();
    Ok(ServerContext {
        sites,
        via,
        torn,
        torn_responses,
        timeouts,
        listing_memory,
        proxies,
        limits: AddressLimits::new(&limits, before.map(|before| &before.limits)),
        explain,
        http2,
        access,
        error_log,
        health,
        drain: before.map(|before| before.drain.clone()).unwrap_or_default(),
        content_tags,
        metrics,
        stop,
        #[cfg(feature = "tls")]
        tls: options.tls,
        generation: 0,
        https_port: None,
    })
}

fn open(
    options: SiteOptions,
    cached_files: usize,
    (listing_memory, content_tags, error_log): (&ListingMemory, &ContentTags, &ErrorLog),
    metrics: Option<SiteMetrics>,
) -> io::Result<Site> {
    let rules = Rules::new(&options.rules, &options.index);
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut rules = rules.map_err(invalid)?;
    rules.read_access(&options.rules)?;
    rules.keep_error_pages(|status, path, types| {
        let page = read_page(&options.root, path.as_bytes(), types);
        let reason = match page {
            Ok(Some(page)) => return Some(page),
            Ok(None) => "no file of at most 64 KiB".to_owned(),
            Err(error) => error.to_string(),
        };
        error_log.warn(&format!("the page {path} of error {}: {reason}", status.code()));
        None
    });
    let settings = SiteSettings {
        rules: Arc::new(rules),
        index: options.index,
        listing: options.listing,
        archives: options.archives,
        notes: Arc::new(ListingNotes {
            header: options.listing_header,
            footer: options.listing_footer,
        }),
        listing_memory: listing_memory.clone(),
        hidden: options.hidden,
        substitutions: options.substitutions,
        etag: options.etag,
        content_tags: content_tags.clone(),
        compressor: options.compressor,
        cached_files: Some(cached_files),
        error_log: Some(error_log.clone()),
        metrics,
    };
    Site::open(&options.root, settings)
}

/// Makes a [`Connection`] for each accepted socket.
struct HttpService(Arc<Live>);

impl Service for HttpService {
    type Task = Connection;

    fn connect(&self, peer: Peer, now: Instant) -> Connection {
        Connection::new(Arc::clone(&self.0), peer, now)
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        HotFiles::new().map(|files| Box::new(files) as _)
    }
}

impl fmt::Debug for FileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileService").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
