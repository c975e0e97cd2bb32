//! The floor: system calls that rustix does not wrap, or not as safe functions.
//!
//! This is the only crate with `unsafe`. Each block names the invariant that makes it sound and
//! who keeps it; what comes out is safe to call with any arguments.
//!
//! ```
//! use karez_sys::Mapping;
//! use rustix::net::SendFlags;
//! use std::io::{Read, Write};
//! use std::os::fd::AsFd;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"water")?;
//! let mapping = Mapping::of(file.as_fd(), 0, 5)?;
//!
//! let (out, mut peer) = std::os::unix::net::UnixStream::pair()?;
//! assert_eq!(mapping.send(out.as_fd(), 0..5, SendFlags::empty())?, 5);
//! let mut received = [0; 5];
//! peer.read_exact(&mut received)?;
//! assert_eq!(&received, b"water");
//! # Ok(())
//! # }
//! ```

mod mapping;

pub use mapping::{Mapping, page_size};
