//! The site: the files and directories beneath one directory, by the decoded paths of requests.
//!
//! A [`PathLookup`] ends with an open file, a listing, a directory to be archived, or an error; it knows no HTTP. It may wait for a
//! disk (openat2(2), statx(2)), so the caller decides where it runs: [`Site::run_lookup`] on a thread
//! that may block, [`Site::run_cached`] on one that may not, and [`Site::open_request`] describes the
//! open for io_uring. Linux 5.6 and later.
//!
//! # Limitations
//!
//! A directory without an index file costs two walks, one for the index and one for the directory
//! itself, because only files are cached.

mod archive;
mod cache;
mod closer;
mod compressed;
mod compression;
mod content;
mod content_tags;
mod document_root;
mod hot_files;
mod identity;
mod listing;
mod lookup;
mod lookup_error;
mod mime;
mod mounts;
mod open_file;
mod paths;
mod precompressed;
mod racy_mtime;
mod remote_fs;
mod request;
mod resolve;
mod root;
mod small_file;
mod state;
mod substitute;
mod syscall_counts;
#[cfg(test)]
mod tests;

pub(crate) use archive::{
    Archive, ArchiveBody, ArchiveDirectory, ArchiveError, ArchivePart, ArchivePiece, ArchiveStep,
    IndexJob, IndexStep, Viewer,
};
pub(crate) use cache::default_capacity as default_cached_files;
pub use compressed::Compressor;
pub use content_tags::ContentTags;
pub(crate) use hot_files::{Hit, HotFiles};
pub use identity::FileEtag;
pub(crate) use listing::{
    DEFAULT_LIMIT as DEFAULT_LISTING_MEMORY, Listing, ListingFormat, ListingMemory, ListingNotes,
    ListingStep, ListingView, MemoryRefusal,
};
pub(crate) use lookup::PathLookup;
pub(crate) use open_file::OpenFile;
pub(crate) use request::{LookupResult, ResourceRequest};
pub(crate) use small_file::read_page;
pub(crate) use state::{Site, SiteSettings};
pub use substitute::{SubstitutionError, Substitutions};
pub(crate) use syscall_counts::SyscallCounts;
