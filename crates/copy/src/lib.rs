//! Copying files and trees: the application beside the server.
//!
//! A file is copied as the extents of data that it has, each by a [`karez_transfer::FileToFile`];
//! what lies between them stays a hole. It is written under no name, and is given its name when it
//! is whole: under the final name there is the old file, or nothing, or the new one.
//!
//! ```
//! use karez_copy::{Options, Silent, copy};
//!
//! # fn main() -> std::io::Result<()> {
//! let directory = tempfile::tempdir()?;
//! let (from, to) = (directory.path().join("from"), directory.path().join("to"));
//! std::fs::write(&from, "under the desert")?;
//!
//! let account = copy(&[from], &to, &Options::default(), &Silent);
//! assert_eq!((account.files, account.bytes, account.failed), (1, 16, 0));
//! assert_eq!(std::fs::read(&to)?, b"under the desert");
//! println!("it went by {}", account.vias[0].via);
//! # Ok(())
//! # }
//! ```
//!
//! What it decides where cp(1) leaves a choice, or where it differs:
//!
//! - A file that is replaced is a *new* file under the old name: other hard links to the old one
//!   keep the old content. Its permissions, its ACL and its owner are those of the old one, as
//!   far as that is permitted. So the directory has to be writable, and the file need not be.
//! - A refused attribute never loses the file: it is in [`Account::unkept`], and
//!   [`Account::is_complete`] is false where `cp -a` would end with exit code 1 (owner as root, mode,
//!   times, ACL; without privilege not for the owner, and never for other extended attributes).
//!   [`Options::in_place`] writes into the old one, as cp(1) does: where it is a mount point or its
//!   directory is not writable there is no other way, and an interrupted copy leaves a part.
//! - Sources are copied as if one after the other, however many files are copied at once. Of trees
//!   that meet in one directory the last wins, with [`Options::keep_existing`] the first, which
//!   then also gives the directories their attributes. A file that the same run made of another
//!   source is not overwritten, neither under its own name nor through a link; of several links to
//!   one target, and of names that the file system alone takes for one, the same is true.
//! - What is, or leads to, the file that would be replaced is not copied: "are the same file".
//! - Pipes, terminals and devices are read and written where cp(1) does so, by splice(2) where one
//!   is a pipe. A pipe without a name gives the copy no attributes, not even its mode.
//! - A file is as long as it was when it was opened: what is appended meanwhile is left out. A file
//!   that was cut off meanwhile is an error, and is not placed. One that has less to read than it
//!   says, as in /sys, ends where it ends; one that says it is empty, as in /proc, is read to its
//!   end, by [`Via::Copy`](karez_transfer::Via::Copy).
//! - A file that is written to meanwhile is copied as cp(1) could have copied it: each of its bytes
//!   as it was at some moment of the copy. A hole that is punched meanwhile ends nothing.
//! - Symbolic links in a tree are copied as links, and one that stands where a file is to be
//!   placed is replaced, not followed. FIFOs, sockets and devices are made anew. Nothing that
//!   another process makes meanwhile in a directory of the run is replaced.
//! - A directory within itself is not copied; of the root directory the copy is left out.
//! - Whole after the end of the program is not whole after the loss of power, unless
//!   [`Options::sync`] is set.

mod account;
mod attributes;
mod created;
mod crew;
mod directory;
mod entry;
mod error;
mod extents;
mod file;
mod generated;
mod links;
mod name;
mod observer;
mod options;
mod refusals;
mod run;
mod same_file;
mod sink;
mod stream;
mod sync;
mod target;
mod tree;
mod unplaced;

pub use account::{Account, Refused, Uncached, Unkept, Went};
pub use error::Error;
pub use observer::{Observer, Silent};
pub use options::Options;
pub use run::copy;
