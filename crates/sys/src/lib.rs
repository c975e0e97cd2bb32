//! Safe wrappers for Linux system calls that rustix lacks, or has only as unsafe functions: io_uring and
//! Linux AIO operations that own their buffers, file mappings without references, ppoll, pselect6,
//! `MSG_ZEROCOPY` completions, kernel TLS, options of TCP sockets.
//!
//! All `unsafe` code of the server is in this crate; system calls that only the laboratory needs are in
//! `karez-lab-sys`. A SAFETY comment at each block gives the invariant and the code that keeps it. Every
//! function is safe to call with any arguments.
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

#[cfg(not(target_os = "linux"))]
compile_error!("karez makes system calls of Linux, so its crates build for Linux targets only");

mod anonymous_buffer;
mod blocked_signals;
mod clone_range;
#[cfg(feature = "fault-injection")]
pub mod faults;
mod fork;
mod inherited;
mod ktls;
#[cfg(feature = "aio")]
mod linux_aio;
mod mapping;
mod open_request;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
mod operation;
mod page_cache;
mod poll;
#[cfg(all(feature = "aio", target_env = "gnu"))]
mod posix_aio;
mod private_mapping;
#[cfg(feature = "uring")]
mod provided_buffers;
mod readiness_signal;
mod select;
mod send_queue;
mod shared_fd;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
mod slots;
#[cfg(any(feature = "fault-injection", feature = "simulation"))]
mod split_mix;
mod tcp_options;
#[cfg(feature = "uring")]
mod uring;
mod zerocopy;

pub use anonymous_buffer::AnonymousBuffer;
pub use blocked_signals::BlockedSignals;
pub use clone_range::clone_range;
pub use fork::{Fork, fork};
pub use inherited::inherited_descriptors;
pub use ktls::{
    TlsCipher, TlsDirection, TlsKeys, TlsVersion, enable_ktls, receive_tls_record, send_tls_record,
    set_tls_keys, start_ktls,
};
#[cfg(feature = "aio")]
pub use linux_aio::{AioContext, CompletedRead, Slot};
pub use mapping::{Mapping, page_size};
pub use open_request::{OpenRequest, OpenedFile};
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
pub use operation::{Completion, Key, Operation, Outcome, Received};
pub use page_cache::{cached_pages, write_out};
pub use poll::{PollEntry, poll};
#[cfg(all(feature = "aio", target_env = "gnu"))]
pub use posix_aio::PosixAio;
pub use private_mapping::PrivateMapping;
#[cfg(feature = "uring")]
pub use provided_buffers::ProvidedBuffer;
pub use readiness_signal::{ReadinessSignal, SignalEvent};
pub use select::{FdSet, select};
pub use send_queue::unacknowledged;
pub use shared_fd::SharedFd;
pub use tcp_options::{max_pacing_rate, notsent_lowat, set_max_pacing_rate, set_notsent_lowat};
#[cfg(feature = "uring")]
pub use uring::{Ring, RingOptions};
pub use zerocopy::{MSG_ZEROCOPY, ZerocopyCompletion, enable_zerocopy, next_zerocopy_completion};

/// Returns the count in the result of an operation, or its errno: the kernel returns `-errno` or more.
#[cfg(any(feature = "uring", feature = "aio"))]
fn counted(result: i32) -> rustix::io::Result<usize> {
    usize::try_from(result).map_err(|_| rustix::io::Errno::from_raw_os_error(-result))
}

/// Returns the errno of the last system call.
fn last_errno() -> rustix::io::Errno {
    let error = std::io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

/// Returns a duration as the kernel takes it, at most the longest that it can represent.
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

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
