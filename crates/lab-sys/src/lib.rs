//! Safe wrappers for the system calls that only the laboratory makes: ptrace(2), rtnetlink(7),
//! namespaces(7), ethtool and getrusage(2).
//!
//! They are apart from `karez-sys`, so that the code the server trusts contains no tracer and no
//! code that changes a network. Every `unsafe` block names the invariant that makes it sound.

mod link;
mod namespaces;
mod netlink;
mod timeline;
mod tracee;
mod tracees;
mod usage;

pub use link::set_scatter_gather;
pub use namespaces::{enter_own, own_network, own_network_inode};
pub use netlink::{cable, dummy, give_address, up};
pub use timeline::{TimedCall, calls_in_time};
pub use tracee::calls_of;
pub use tracees::calls_of_threads;
pub use usage::{Usage, process_usage, thread_usage};

/// Returns the errno of the system call just made.
fn last_errno() -> rustix::io::Errno {
    let error = std::io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}
