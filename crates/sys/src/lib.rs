//! The floor: system calls that rustix does not wrap, or not as safe functions.
//!
//! Of the crates that the server is made of this is the only one with `unsafe`; what only the
//! laboratory needs is in `karez-lab-sys`. Each block names the invariant that makes it sound and
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

mod blocked_signals;
mod cache;
mod clone;
mod linux_aio;
mod lookup;
mod mapping;
mod operation;
mod poll;
#[cfg(target_env = "gnu")]
mod posix_aio;
mod private_mapping;
mod provided_buffers;
mod select;
mod signal;
mod slots;
mod uring;
mod zerocopy;

pub use blocked_signals::BlockedSignals;
pub use cache::{cached_pages, write_out};
pub use clone::clone_range;
pub use linux_aio::{AioPolls, Place, ReadOver};
pub use lookup::{Lookup, Opened};
pub use mapping::{Mapping, page_size};
pub use operation::{Completion, Handle, Key, Operation, Outcome, Received};
pub use poll::{Polled, poll};
#[cfg(target_env = "gnu")]
pub use posix_aio::PosixAio;
pub use private_mapping::PrivateMapping;
pub use provided_buffers::Lent;
pub use select::{FdSet, select};
pub use signal::{ReadinessSignal, Told};
pub use uring::{Ring, RingOptions};
pub use zerocopy::{MSG_ZEROCOPY, Released, allow_zerocopy, take_released};

/// The errno of the system call just made.
fn last_errno() -> rustix::io::Errno {
    let error = std::io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

/// A length of time as the kernel takes it. What is longer than it can say is for ever enough.
fn timespec(time: std::time::Duration) -> libc::timespec {
    let rustix::event::Timespec { tv_sec, tv_nsec } = timespec_of_rustix(time);
    libc::timespec {
        tv_sec: libc::time_t::try_from(tv_sec).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(tv_nsec).unwrap_or(0),
    }
}

fn timespec_of_rustix(time: std::time::Duration) -> rustix::event::Timespec {
    rustix::event::Timespec::try_from(time)
        .unwrap_or(rustix::event::Timespec { tv_sec: 86_400, tv_nsec: 0 })
}
