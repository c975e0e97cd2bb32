//! Precompressed files: writes `NAME.zst`, `NAME.br` and `NAME.gz` beside the files of a site, so that a
//! server sends them to clients that accept the coding (RFC 9110 §12.5.3) and spends no CPU time on it.
//!
//! ```
//! use karez_compress::{Options, Silent, precompress};
//! # fn main() -> std::io::Result<()> {
//! let site = tempfile::tempdir()?;
//! let page = site.path().join("page.html");
//! std::fs::write(&page, "under the desert ".repeat(100))?;
//!
//! let summary = precompress(site.path(), &Options::new(), &Silent);
//! assert!(summary.is_complete());
//! assert_eq!(summary.codings.iter().map(|of| of.written).sum::<u64>(), 3);
//!
//! let (compressed, original) = (site.path().join("page.html.zst"), page);
//! assert_eq!(compressed.metadata()?.modified()?, original.metadata()?.modified()?);
//! # Ok(())
//! # }
//! ```
//!
//! # What is written
//!
//! - A compressed file is written only if it is at least 5 % smaller than the original. It has the
//!   modification time and the permissions of the original.
//! - A compressed file that is not older than its original is current: it is left as it is, also if another
//!   tool made it. One that is older is replaced, or removed if it would not be smaller.
//! - It is written under a temporary name, synchronized (fsync(2)) and renamed (rename(2)): a server sees the
//!   old one, none, or the new one, also after a crash. A file that changes while it is read is an error.
//! - Files in formats that are compressed by definition, and those whose names begin with a dot, are skipped.
//!   Symbolic links are not followed.
//!
//! The window of zstd is at most 8 MiB, which RFC 9659 §3 asks for where it is a content coding.
//!
//! # Limitations
//!
//! A compressed file without an original is not removed: it may be a download of its own. Hard links to an
//! original are compressed once each.

mod encode;
mod error;
mod name;
mod observer;
mod options;
mod precompress;
mod sibling;
mod summary;
mod walk;

pub use encode::{Level, encode};
pub use error::Error;
pub use karez_http::Coding;
pub use observer::{Action, Observer, Silent};
pub use options::Options;
pub use precompress::precompress;
pub use summary::{CodingSummary, Summary};
