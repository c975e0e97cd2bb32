//! The state of a site: its root, its cache of open files, and its options.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error_log::ErrorLog;
use crate::metrics::SiteMetrics;
use crate::rules::Rules;

use super::archive::Archives;
use super::cache::{self, Cache};
use super::closer::Closers;
use super::compressed::{Compressed, Compressor};
use super::content_tags::ContentTags;
use super::document_root::DocumentRoot;
use super::identity::FileEtag;
use super::listing::{ListingMemory, ListingNotes};
use super::mounts::Mounts;
use super::racy_mtime;
use super::substitute::Substitutions;

/// The settings of a site.
#[derive(Debug, Clone, Default)]
pub(crate) struct SiteSettings {
    /// The name of a directory's index file; empty for none.
    pub(crate) index: Vec<u8>,
    /// Whether directories without an index file are listed.
    pub(crate) listing: bool,
    /// Whether a directory that is listed can be had as an archive.
    pub(crate) archives: bool,
    /// The files that are shown with a listing.
    pub(crate) notes: Arc<ListingNotes>,
    /// The memory of all listings of the server.
    pub(crate) listing_memory: ListingMemory,
    /// Whether names that begin with a dot are served.
    pub(crate) hidden: bool,
    /// Replacements in the content of files.
    pub(crate) substitutions: Substitutions,
    /// How versions of a file are distinguished.
    pub(crate) etag: FileEtag,
    /// The hashes of contents.
    pub(crate) content_tags: ContentTags,
    /// Rules by path.
    pub(crate) rules: Arc<Rules>,
    /// The number of files kept open between requests; `None` for an eighth of the descriptor limit.
    pub(crate) cached_files: Option<usize>,
    /// The log for a root that cannot be reached.
    pub(crate) error_log: Option<ErrorLog>,
    /// Compresses files for clients that accept it.
    pub(crate) compressor: Option<Compressor>,
    pub(crate) metrics: Option<SiteMetrics>,
}

/// The files beneath one directory.
pub(crate) struct Site {
    pub(super) root: Arc<DocumentRoot>,
    pub(super) cache: Cache,
    pub(super) mounts: Mounts,
    pub(super) closers: Closers,
    pub(super) compressed: Option<Compressed>,
    pub(super) archives: Archives,
    /// The granularity of the file system's time stamps.
    pub(super) granularity: Duration,
    pub(super) options: SiteSettings,
    /// Its number, which no other site of the process has.
    pub(super) number: u32,
}

/// The number of the next site.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Site {
    pub(crate) fn open(dir: &Path, options: SiteSettings) -> io::Result<Self> {
        let capacity = options.cached_files.unwrap_or_else(cache::default_capacity);
        let root = DocumentRoot::open(dir, options.error_log.clone())?;
        Ok(Self {
            mounts: Mounts::of(&root.held()),
            closers: Closers::default(),
            compressed: options.compressor.map(Compressed::new),
            archives: Archives::default(),
            root: Arc::new(root),
            cache: Cache::new(capacity),
            granularity: racy_mtime::granularity(),
            options,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }
    pub(crate) fn rules(&self) -> &Rules {
        &self.options.rules
    }

    pub(crate) fn metrics(&self) -> Option<&SiteMetrics> {
        self.options.metrics.as_ref()
    }

    /// Closes the cached files that no response is using.
    pub(crate) fn close_files(&self) {
        self.cache.shed();
    }
}
