//! The site: what a decoded path of a request means among the files beneath one directory.
//!
//! A [`Search`] ends with an open file, a listing to be rendered, or a refusal; it speaks no HTTP.
//! `Site::find` may wait for a disk (openat2(2), statx(2)), so it runs wherever the caller says;
//! `Site::find_cached` answers at once or not at all, and then says what io_uring could look up.
//! Linux 5.6 and later.
//!
//! What it does badly: a directory without an index file costs two walks, one for the index and
//! one for itself, as only files are cached.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use karez_http::encoding::Codings;
use rustix::fd::AsFd as _;

use crate::log::Log;

mod cache;
mod clock;
mod closing;
mod document_root;
mod listing;
mod media;
mod mounts;
mod open_file;
mod resolve;
mod root;
mod search;
mod sibling;
mod stamps;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use listing::{Format, Listing, ListingStep, View};
pub use open_file::FileEtag;
pub(crate) use open_file::OpenFile;
pub(crate) use search::Search;
pub use stamps::{Stamps, UnequalStamp};
pub(crate) use tally::Tally;

use cache::Cache;
use closing::Closers;
use document_root::DocumentRoot;
use mounts::Mounts;
use resolve::Refusal;

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
    /// How files are told from their other versions.
    pub(crate) etag: FileEtag,
    /// How many files are kept open between requests; `None` for what the descriptor limit allows.
    pub(crate) cached_files: Option<usize>,
    /// Where the operator is told that the directory is gone.
    pub(crate) notices: Option<Log>,
}

/// The files beneath one directory.
pub(crate) struct Site {
    root: Arc<DocumentRoot>,
    cache: Cache,
    mounts: Mounts,
    closers: Closers,
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
        let root = DocumentRoot::open(dir, options.notices.clone())?;
        Ok(Self {
            mounts: Mounts::of(root.held().as_fd()),
            closers: Closers::default(),
            root: Arc::new(root),
            cache: Cache::new(capacity),
            grain: clock::grain(),
            options,
        })
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

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
