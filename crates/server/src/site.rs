//! The site: what a decoded path of a request means among the files beneath one directory.
//!
//! `Site::find` answers with an open file, a listing to be rendered, or a refusal; it speaks no
//! HTTP. It may wait for a disk (openat2(2), statx(2)), so it runs wherever the caller says;
//! `Site::find_cached` answers at once or not at all.
//! Linux 5.6 and later.
//!
//! What it does badly: a directory without an index file costs two walks, one for the index and
//! one for itself, as only files are cached.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::encoding::Codings;

mod cache;
mod clock;
mod listing;
mod media;
mod open_file;
mod resolve;
mod root;
mod sibling;
mod stamps;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use listing::{Format, Listing, ListingStep, View};
pub(crate) use open_file::OpenFile;
pub use stamps::{Stamps, UnequalStamp};
pub(crate) use tally::Tally;

use cache::Cache;
use resolve::{Node, Refusal};
use root::{Effort, Root};

/// What a site serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct SiteOptions {
    /// The file that stands for its directory; empty for none.
    pub(crate) index: Vec<u8>,
    /// Whether directories without an index file are listed.
    pub(crate) listing: bool,
    /// Whether names that begin with a dot exist.
    pub(crate) hidden: bool,
    /// What is replaced in files as they leave.
    pub(crate) stamps: Stamps,
    /// How many files are kept open between requests; `None` for what the descriptor limit allows.
    pub(crate) cached_files: Option<usize>,
}

/// The files beneath one directory.
pub(crate) struct Site {
    root: Arc<Root>,
    cache: Cache,
    grain: Duration,
    options: SiteOptions,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Decoded and relative, "" for the root; no empty, "." or ".." segment, no slash at the end.
    pub(crate) path: Vec<u8>,
    /// The URL ended with a slash.
    pub(crate) directory: bool,
    /// Codings of which a precompressed file will do, best first.
    pub(crate) codings: Codings,
    /// How a listing should look.
    pub(crate) view: View,
}

/// What there is.
pub(crate) enum Found {
    /// It says itself whether it is precompressed.
    File {
        file: Arc<OpenFile>,
    },
    /// A directory, asked for without its slash.
    MissingSlash,
    /// A directory without an index file.
    Directory(Box<Listing>),
    /// The same where listings are off.
    ListingForbidden,
    Missing,
    Denied,
    /// No descriptor is free, or a rename race was lost too often: later it may work.
    Busy,
    /// The text names operation and path.
    Failed(io::Error),
}

impl Site {
    pub(crate) fn open(dir: &Path, options: SiteOptions) -> io::Result<Self> {
        let capacity = options.cached_files.unwrap_or_else(cache::default_capacity);
        Ok(Self {
            root: Arc::new(Root::open(dir)?),
            cache: Cache::new(capacity),
            grain: clock::grain(),
            options,
        })
    }

    /// What there is; it may wait for a disk.
    pub(crate) fn find(&self, wanted: &Wanted) -> Found {
        self.look_for(wanted, Effort::Whole).unwrap_or_else(Found::from)
    }

    /// What there is, if that can be told without waiting for a disk: from files held open and
    /// what the kernel has in its caches (`RESOLVE_CACHED`, Linux 5.12). On a network file system
    /// the statx(2) by which a held file is confirmed may wait all the same.
    pub(crate) fn find_cached(&self, wanted: &Wanted) -> Option<Found> {
        match self.look_for(wanted, Effort::Cached) {
            Ok(found) => Some(found),
            Err(Refusal::WouldWait) => None,
            Err(refusal) => Some(refusal.into()),
        }
    }

    fn look_for(&self, wanted: &Wanted, effort: Effort) -> Result<Found, Refusal> {
        let now = Instant::now();
        self.cache.sweep(now);
        if !self.options.hidden && has_hidden_segment(&wanted.path) {
            return Ok(Found::Missing);
        }
        if wanted.directory || wanted.path.is_empty() {
            self.find_directory(wanted, effort, now)
        } else {
            self.find_file(wanted, effort, now)
        }
    }

    fn find_file(&self, wanted: &Wanted, effort: Effort, now: Instant) -> Result<Found, Refusal> {
        match self.reach(&wanted.path, None, effort, now) {
            Ok(Node::File(file)) => self.found(&wanted.path, file, wanted, effort, now),
            Ok(Node::Directory(_)) => Ok(Found::MissingSlash),
            Ok(Node::Other) => Ok(Found::Missing),
            Err(Refusal::Denied) if effort == Effort::Cached => Err(Refusal::WouldWait),
            // A directory that may be walked through but not read still has a slash to add.
            Err(Refusal::Denied) if self.root.is_directory(&wanted.path) => Ok(Found::MissingSlash),
            Err(refusal) => Err(refusal),
        }
    }

    fn find_directory(
        &self,
        wanted: &Wanted,
        effort: Effort,
        now: Instant,
    ) -> Result<Found, Refusal> {
        if !self.options.index.is_empty() {
            let path = join(&wanted.path, &self.options.index);
            match self.reach(&path, None, effort, now) {
                Ok(Node::File(file)) => return self.found(&path, file, wanted, effort, now),
                // An index that is not a file is no index.
                Ok(_) | Err(Refusal::Missing) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        match self.reach(&wanted.path, None, effort, now)? {
            Node::Directory(_) if !self.options.listing => Ok(Found::ListingForbidden),
            Node::Directory(fd) => {
                let root = Arc::clone(&self.root);
                let path = wanted.path.clone();
                let listing = Listing::new(root, fd, path, self.options.hidden, wanted.view);
                Ok(Found::Directory(Box::new(listing)))
            }
            Node::File(_) | Node::Other => Ok(Found::Missing),
        }
    }

    fn found(
        &self,
        path: &[u8],
        file: Arc<OpenFile>,
        wanted: &Wanted,
        effort: Effort,
        now: Instant,
    ) -> Result<Found, Refusal> {
        let file = self.choose(path, file, &wanted.codings, effort, now)?;
        Ok(Found::File { file })
    }
}

impl From<Refusal> for Found {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::Missing,
            Refusal::Denied => Self::Denied,
            Refusal::Busy | Refusal::WouldWait => Self::Busy,
            Refusal::Failed(error) => Self::Failed(error),
        }
    }
}

fn has_hidden_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b"."))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
