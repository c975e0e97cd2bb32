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
//! - A file is as long as it was when it was opened: what is appended meanwhile is left out. A file
//!   that was cut off meanwhile is an error, and is not placed. One that has less to read than it
//!   says, as in /sys, ends where it ends; one that says it is empty, as in /proc, is read to its
//!   end, by [`Via::Copy`](karez_transfer::Via::Copy).
//! - Symbolic links in a tree are copied as links, and one that stands where a file is to be
//!   placed is replaced, not followed. FIFOs, sockets and devices are made anew.
//! - Nothing is synchronised: whole after the end of the program is not whole after the loss of
//!   power (sync(1)).

mod account;
mod attributes;
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
mod run;
mod target;
mod tree;
mod unplaced;

pub use account::{Account, Refused, Uncached, Unkept, Went};
pub use error::Error;
pub use observer::{Observer, Silent};
pub use options::Options;
pub use run::copy;
