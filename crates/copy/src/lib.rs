//! Copies files and directory trees on Linux: atomically, with their holes, by the first transfer
//! method that the file system supports.
//!
//! [`copy`] takes sources and a target as cp(1) does. Each extent of data of a file is moved by a
//! [`karez_transfer::FileToFile`] (reflink, copy_file_range, sendfile, splice, read and write …, the
//! *via*); holes stay holes. A file is written without a name (`O_TMPFILE`) and gets its name when it
//! is complete, so that the final name is always the old file, no file, or the new file.
//!
//! ```
//! use karez_copy::{Options, Silent, copy};
//!
//! # fn main() -> std::io::Result<()> {
//! let directory = tempfile::tempdir()?;
//! let (from, to) = (directory.path().join("from"), directory.path().join("to"));
//! std::fs::write(&from, "under the desert")?;
//!
//! let summary = copy(&[from], &to, &Options::new().archive(true), &Silent);
//! assert!(summary.is_complete());
//! assert_eq!((summary.files, summary.bytes), (1, 16));
//! assert_eq!(std::fs::read(&to)?, b"under the desert");
//! println!("copied by {}", summary.vias[0].via);
//! # Ok(())
//! # }
//! ```
//!
//! # Differences from cp(1), and choices that cp(1) leaves open
//!
//! - A replaced file is a *new* file under the old name: other hard links to the old file keep the
//!   old content. Permissions, ACL and owner are those of the old file, as far as permitted. The
//!   directory has to be writable, and the file need not be. [`Options::in_place`] writes into the
//!   old file, as cp(1) does: for a mount point, or in a directory that is not writable.
//! - An attribute that cannot be set never loses the file: it is in [`Summary::attribute_failures`],
//!   and [`Summary::is_complete`] is false where `cp -a` would exit with 1 (owner as root, mode, times,
//!   ACL; without privilege not for the owner, and never for other extended attributes).
//! - The result for several sources is as if they were copied one after the other, however many files
//!   are copied at once. Where two trees write to one directory the last wins; with
//!   [`Options::keep_existing`] the first wins, which then also sets the directories' attributes. A
//!   file that the same call made from another source is not overwritten, neither under its own name
//!   nor through a link, a second link to one target, or a name that only the file system takes for
//!   equal.
//! - A source that is, or leads to, the file that would be replaced is not copied: "are the same
//!   file".
//! - Pipes, terminals and devices are read and written where cp(1) does so, by splice(2) where one
//!   end is a pipe. A pipe without a name has no attributes to copy, not even a mode.
//! - A file is copied up to the length it had when it was opened; bytes appended meanwhile are not
//!   copied. A file that is truncated meanwhile is an error, and gets no name. A file that is shorter
//!   than its reported size, as in /sys, is copied to its end; one that reports a size of 0, as in
//!   /proc, is read to its end, by [`Via::Copy`](karez_transfer::Via::Copy).
//! - A file that is written meanwhile is copied as by cp(1): each byte as it was at some moment of
//!   the copy. A hole that is punched meanwhile is not an end.
//! - Symbolic links in a tree are copied as links, and a link at the destination of a file is
//!   replaced, not followed. FIFOs, sockets and devices are made anew. In a new directory no file that
//!   another process makes is replaced.
//! - A directory is not copied into itself; a copy of the root directory skips the copy.
//!
//! # Limitations
//!
//! - Without [`Options::sync`] a copy may be missing or empty after a loss of power.
//! - Bytes that are moved by reference (splice, sendfile) may change until they are written.
//! - One large file is copied by one thread.

mod atomic_file;
mod attribute_failures;
mod attributes;
mod context;
mod copy;
mod created;
mod directory;
mod error;
mod extents;
mod file;
mod hard_links;
mod name;
mod observer;
mod options;
mod pseudo_file;
mod queue;
mod same_file;
mod sink;
mod special_file;
mod stream;
mod summary;
mod sync;
mod target;
mod tree;
mod workers;

pub use copy::copy;
pub use error::Error;
pub use observer::{Observer, Silent};
pub use options::Options;
pub use summary::{AttributeFailure, CacheFallback, FallbackCount, Summary, ViaUsage};

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
