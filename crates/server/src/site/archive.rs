//! A directory as an archive (tar), of which any range can be made without making the rest.
//!
//! A [`Walk`](walk::Walk) reads the tree in bounded steps and makes an [`Archive`]: an index with the attributes of
//! each entry and the offset of its head. From it follow the exact length, a strong entity tag, and the bytes of
//! any range: heads are made from the index, contents are parts of files that an [`ArchiveBody`] opens when it
//! reaches them. So no content is read to begin a response, and an interrupted download resumes where it ended.
//!
//! The order is fixed: names of a directory by their bytes, and the contents of a directory behind its own entry.
//! Only entries are in the archive that a request of the same client could get: no hidden names, no path that is
//! denied, redirected, rewritten or unreadable, no FIFO, socket or device. A symbolic link is in it as a link, if it
//! leads to a file or directory beneath the root that a request could get. File systems that are mounted beneath
//! the directory are left out, as by `tar --one-file-system`.
//!
//! A file whose attributes differ from the index when it is opened, or that is written while it is sent, ends the
//! response by a reset, as [`torn`](crate::torn) files do.
//!
//! Memory: while the tree is walked an entry takes about 230 bytes and its name, and then 90 bytes and its name. One
//! archive takes at most 64 MiB, which is enough for about 250,000 entries, and all archives of a site 128 MiB;
//! above, the answer is 503. Requests that arrive while the same tree is walked share the walk, and equal archives
//! share their index ([`Archives`]).
//!
//! # Limitations
//!
//! Each request but those with `Range` walks the tree: one statx(2) for each entry. A request with `Range` gets an
//! archive that is at most 10 s old, whose files are compared with it as they are opened; only a name that was
//! added or removed since is not noticed. A kept archive holds its memory until the next request for an archive. Hard
//! links are files, holes are zeros, and attributes other than mode and modification time are not kept. Where
//! rules redirect or deny a directory, nothing beneath it is in the archive.

mod body;
mod directory;
mod error;
mod header;
mod index;
mod job;
mod memory;
mod shared;
#[cfg(test)]
mod tests;
mod viewer;
mod walk;

pub(crate) use body::{ArchiveBody, ArchivePart, ArchivePiece, ArchiveStep};
pub(crate) use directory::ArchiveDirectory;
pub(crate) use error::ArchiveError;
pub(crate) use index::Archive;
pub(crate) use job::{IndexJob, IndexStep};
pub(super) use shared::Archives;
pub(crate) use viewer::Viewer;
