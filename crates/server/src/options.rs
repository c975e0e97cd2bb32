//! The options of a file server.

use std::path::PathBuf;
use std::time::Duration;

use karez_reactor::Model;
use karez_transfer::Via;

use crate::address_limits::AddressLimitOptions;
use crate::health::HealthOptions;
use crate::host::HostName;
use crate::proxies::ProxyOptions;
use crate::rules::RuleOptions;
use crate::site::{Compressor, ContentTags, DEFAULT_LISTING_MEMORY, FileEtag, Substitutions};
use crate::torn::Torn;

/// The options of a file server. [`Options::new`] sets the defaults; change the fields that differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The site for requests that name no host, or one that no other site has.
    pub site: SiteOptions,
    /// The other sites, chosen by the host that a request names. Default: none.
    pub named: Vec<SiteOptions>,
    /// Via: how bytes are moved (transfer method). Default: [`Via::Auto`].
    pub via: Via,
    /// How a response ends whose file is written while it is sent. Default: [`Torn::Abort`].
    pub torn: Torn,
    /// Timeouts of clients and of the file system.
    pub timeouts: Timeouts,
    /// The bytes of memory that all listings together may use. One that gets none is answered by 503. Default: 64 MiB.
    pub listing_memory: u64,
    /// The proxies in front of the server. Default: none.
    pub proxies: ProxyOptions,
    /// Limits by the address of the client. Default: none.
    pub limits: AddressLimitOptions,
    /// The path that reports the health of the server. Default: none.
    pub health: HealthOptions,
    /// The hashes of contents, for sites with [`FileEtag::Content`]. Default: in memory only.
    pub content_tags: ContentTags,
    /// TLS; without it every listener is plain. Default: `None`.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::TlsOptions>,
    /// Whether the cost of each response is reported in `Server-Timing` and in the access log; and the
    /// model that runs the service, on which the known costs depend. Default: `None`.
    pub explain: Option<Model>,
    /// Counts what the server does. Default: `None`.
    #[cfg(feature = "metrics")]
    pub metrics: Option<crate::metrics::Metrics>,
    /// Whether HTTP/2 is spoken to clients that begin with its preface (prior knowledge, RFC 9113 §3.3).
    /// Default: true.
    pub http2: bool,
}

/// The options of a site. [`SiteOptions::new`] sets the defaults; change the fields that differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SiteOptions {
    /// Its names. Default: none.
    pub hosts: Vec<HostName>,
    /// The directory to serve. Its name is looked up again for each request, so it may be a symbolic
    /// link that is swapped, and the directory may be replaced, or missing for a while.
    pub root: PathBuf,
    /// The name of the file that is served for its directory; empty for none. Default: `index.html`.
    pub index: Vec<u8>,
    /// Whether directories without an index file are listed. Default: true.
    pub listing: bool,
    /// Whether a directory that is listed can be had as a tar archive, by the query `format=tar`. Default: false.
    pub archives: bool,
    /// The names of files that are shown above the listing of their directory: the first that it has. HTML (`.html`, `.htm`)
    /// is inserted as it is, any other as text. Default: none.
    pub listing_header: Vec<Vec<u8>>,
    /// The same, below the listing. Default: none.
    pub listing_footer: Vec<Vec<u8>>,
    /// Whether names that begin with a dot are served. Default: false.
    pub hidden: bool,
    /// Replacements in the content of files as they are sent. Default: none.
    pub substitutions: Substitutions,
    /// How versions of a file are distinguished. Default: [`FileEtag::Local`].
    pub etag: FileEtag,
    /// Rules by path. Default: none.
    pub rules: RuleOptions,
    /// Compresses text and similar files of 1 KiB to 10 MiB for clients that accept it, on a worker, where no
    /// precompressed file is. Default: `None`, no file is compressed.
    pub compressor: Option<Compressor>,
}

/// Timeouts of clients and of the file system. `Timeouts::default()` sets the defaults; change the
/// fields that differ.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the first byte of a request to the last of its head and body. Default: 10 s.
    pub head: Duration,
    /// Between two requests. Default: 60 s.
    pub idle: Duration,
    /// For the client to take no byte of a response, or less than `min_rate` on average. Default: 30 s.
    pub send: Duration,
    /// The bytes per second that the client must take of a response, on average over the time `send`; 0: any byte
    /// is enough. Default: 1024.
    pub min_rate: u64,
    /// For the file system to look a name up, or to read the next entries of a directory.
    /// Default: 10 s.
    pub lookup: Duration,
}

impl Timeouts {
    /// Returns how long the client may take for so many bytes of a response.
    pub(crate) fn credit(&self, bytes: u64) -> Duration {
        match (bytes, self.min_rate) {
            (0, _) => Duration::ZERO,
            (_, 0) => self.send,
            (bytes, rate) => Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate),
        }
    }
}

impl Options {
    /// Returns the default options for a directory.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            site: SiteOptions::new(root),
            named: Vec::new(),
            via: Via::Auto,
            torn: Torn::default(),
            timeouts: Timeouts::default(),
            listing_memory: DEFAULT_LISTING_MEMORY,
            proxies: ProxyOptions::default(),
            limits: AddressLimitOptions::default(),
            health: HealthOptions::default(),
            content_tags: ContentTags::default(),
            #[cfg(feature = "tls")]
            tls: None,
            explain: None,
            #[cfg(feature = "metrics")]
            metrics: None,
            http2: true,
        }
    }
}

impl SiteOptions {
    /// Returns the default options for a directory.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            hosts: Vec::new(),
            root: root.into(),
            index: b"index.html".to_vec(),
            listing: true,
            archives: false,
            listing_header: Vec::new(),
            listing_footer: Vec::new(),
            hidden: false,
            substitutions: Substitutions::default(),
            etag: FileEtag::default(),
            rules: RuleOptions::default(),
            compressor: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            send: Duration::from_secs(30),
            min_rate: 1024,
            lookup: Duration::from_secs(10),
        }
    }
}
