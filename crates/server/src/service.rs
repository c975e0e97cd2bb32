//! The service: what all connections share, and the making of one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use karez_reactor::{Bound, Limits, Model, Peer, Service, Stop};
use karez_transfer::Via;

use crate::access::AccessLog;
use crate::connection::Connection;
use crate::log::Log;
use crate::site::{FileEtag, Site, SiteOptions, Stamps};

/// What a file server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that is served. Its name is looked up anew for each request, so it may be a
    /// symbolic link that is swapped, and the directory may be replaced, or missing for a while.
    pub root: PathBuf,
    /// The name of the file that stands for its directory; empty for none.
    pub index: Vec<u8>,
    /// Whether directories without that file are listed.
    pub listing: bool,
    /// Whether names that begin with a dot exist.
    pub hidden: bool,
    /// What is replaced in files as they leave.
    pub stamps: Stamps,
    /// How files are told from their other versions.
    pub etag: FileEtag,
    /// How files leave.
    pub via: Via,
    /// How long a peer may take.
    pub patience: Patience,
    /// Whether each answer tells what it costs, in `Server-Timing` and in the access log; and the
    /// model that it is run on, which says what of that can be known.
    pub explain: Option<Model>,
}

/// How long a peer may take, and the file system.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request to the last of its head and body.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking a byte of an answer.
    pub send: Duration,
    /// For the file system to look a name up, or to read the next entries of a directory.
    pub lookup: Duration,
}

/// Serves the files below one directory.
pub struct FileService {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) site: Arc<Site>,
    pub(crate) via: Via,
    pub(crate) patience: Patience,
    pub(crate) explain: Option<Model>,
    pub(crate) access: Option<AccessLog>,
    pub(crate) notices: Log,
    pub(crate) stop: Stop,
}

impl FileService {
    /// Opens the root. Answers are logged to `access`, what the operator should know to
    /// `notices`; after `stop` has begun, answers say that the connection closes.
    ///
    /// # Errors
    /// If the root cannot be opened; the text names it.
    pub fn open(
        options: Options,
        access: Option<AccessLog>,
        notices: Log,
        stop: Stop,
    ) -> io::Result<Self> {
        let site = SiteOptions {
            index: options.index,
            listing: options.listing,
            hidden: options.hidden,
            stamps: options.stamps,
            etag: options.etag,
            cached_files: None,
            notices: Some(notices.clone()),
        };
        let site = Arc::new(Site::open(&options.root, site)?);
        let Options { via, patience, explain, .. } = options;
        let shared = Shared { site, via, patience, explain, access, notices, stop };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Serves until the stop is complete.
    ///
    /// # Errors
    /// As [`Bound::run`].
    pub fn run(self, bound: Bound, limits: Limits) -> io::Result<()> {
        let stop = self.shared.stop.clone();
        bound.run(&Connections(self.shared), limits, &stop)
    }
}

/// Makes the connections.
struct Connections(Arc<Shared>);

impl Service for Connections {
    type Task = Connection;

    fn connect(&self, peer: Peer, _: Instant) -> Connection {
        Connection::new(Arc::clone(&self.0), peer)
    }
}

impl Shared {
    /// Tells the operator.
    pub(crate) fn notice(&self, text: &str) {
        self.notices.notice(text);
    }
}

impl fmt::Debug for FileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileService").finish_non_exhaustive()
    }
}
