//! Safe wrappers for the system calls that only the laboratory makes: ptrace(2), rtnetlink(7),
//! namespaces(7), ethtool, getrusage(2), busy polling, options of io_uring(7), page faults; and an
//! allocator that counts.
//!
//! They are apart from `karez-sys`, so that the code the server trusts contains no tracer and no
//! code that changes a network. Every `unsafe` block names the invariant that makes it sound.

mod bench_ring;
mod busy_poll;
mod counting_allocator;
mod ethtool;
#[cfg(feature = "exploit-tests")]
mod exploits;
mod namespaces;
mod netlink;
mod ptrace;
mod ptrace_threads;
mod rusage;
mod syscall_trace;
mod tcp_info;
mod touched_memory;

pub use bench_ring::{BenchRing, BenchRingOptions, RingSend};
pub use busy_poll::{incoming_napi_id, set_epoll_busy_poll, set_socket_busy_poll};
pub use counting_allocator::CountingAllocator;
pub use ethtool::{set_receive_offload, set_scatter_gather, set_segmentation_offload};
#[cfg(feature = "exploit-tests")]
pub use exploits::{
    ExploitAttempt, ExploitTargets, attempt_exploits, attempt_harmless_exploits, is_denied,
};
pub use namespaces::{enter_private_network, network_namespace_inode, unshare_network};
pub use netlink::{add_address, add_dummy, add_veth, set_link_up, set_mtu};
pub use ptrace::count_syscalls;
pub use ptrace_threads::count_thread_syscalls;
pub use rusage::{Usage, process_usage, thread_usage};
pub use syscall_trace::{TracedSyscall, trace_syscalls};
pub use tcp_info::data_segments_sent;
pub use touched_memory::{TouchedMemory, faults_of_touching, pipe_refers_to_memory};

/// Returns the errno of the system call just made.
fn last_errno() -> rustix::io::Errno {
    let error = std::io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}
