//! The counts.

use rustix::process::Pid;
use std::collections::BTreeMap;

use super::names::call_name;

/// Counts of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Counts of each process between its marks, in the order of the scope.
    pub processes: Vec<ProcessCounts>,
    /// Bytes sent by devices, by provenance of their pages, at the transition to the driver.
    pub wire: Provenance,
    /// Bytes that TCP retransmitted by devices, not included in `wire`.
    pub retransmitted: Provenance,
    /// Bytes sent by UNIX sockets, counted when the receiver has read them.
    pub local: Provenance,
    /// Disk I/O of the files, through the page cache or direct.
    pub disk: Disk,
}

impl Counts {
    /// Returns all sent bytes, each once, over devices or UNIX sockets.
    #[must_use]
    pub fn sent(&self) -> Provenance {
        let wire = self.wire;
        Provenance {
            packets: wire.packets + self.local.packets,
            headers: wire.headers,
            linear: wire.linear + self.local.linear,
            ours: wire.ours + self.local.ours,
            cache: wire.cache + self.local.cache,
            anonymous: wire.anonymous + self.local.anonymous,
            kernel: wire.kernel + self.local.kernel,
            unsorted: wire.unsorted + self.local.unsorted,
        }
    }
}

/// Counts of a process between its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCounts {
    /// The process.
    pub process: Pid,
    /// System calls by number.
    pub calls: BTreeMap<u64, SystemCall>,
    /// Context switches because it blocked.
    pub voluntary: u64,
    /// Context switches because it was preempted.
    pub involuntary: u64,
    /// Page faults in user mode, with two mode switches each; `None` if there is no tracepoint.
    pub faults_user: Option<u64>,
    /// Page faults in kernel mode, without a mode switch.
    pub faults_kernel: Option<u64>,
    /// Number of copies out of a socket.
    pub receives: u64,
    /// Bytes copied out of a socket into user memory.
    pub received: u64,
    /// Number of page cache lookups in files of the scope; `None` before about Linux 6.5.
    pub lookups: Option<u64>,
    /// Bytes that `filemap_read` reported as copied to user memory; `None` without tier T3.
    pub filemap_read: Option<u64>,
}

impl ProcessCounts {
    /// Returns the counts of a system call by name.
    #[must_use]
    pub fn call(&self, name: &str) -> SystemCall {
        let mut found = SystemCall::default();
        for (number, call) in &self.calls {
            if call_name(*number) == name {
                found = *call;
            }
        }
        found
    }

    /// Returns the total number of system calls.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.calls.values().map(|call| call.calls).sum()
    }

    /// Returns the number of mode switches: two per system call and two per fault in user mode.
    #[must_use]
    pub fn mode_switches(&self) -> u64 {
        2 * (self.total_calls() + self.faults_user.unwrap_or(0))
    }

    /// Returns the bytes returned by read calls.
    #[must_use]
    pub fn read(&self) -> u64 {
        ["read", "pread64", "readv", "preadv2"].iter().map(|name| self.call(name).bytes).sum()
    }
}

/// Counts of a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCall {
    /// Number of calls.
    pub calls: u64,
    /// Sum of positive results: bytes, for calls that move data.
    pub bytes: u64,
    /// Number of `EAGAIN` results.
    pub again: u64,
}

/// Bytes of packets by the kind of their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Number of packets, before later segmentation (TSO, GSO).
    pub packets: u64,
    /// Link, network and transport headers.
    pub headers: u64,
    /// Payload in the linear part of the packet: copied.
    pub linear: u64,
    /// Payload in page cache pages of files in the scope: not copied.
    pub ours: u64,
    /// Payload in page cache pages of other files.
    pub cache: u64,
    /// Payload in user pages: not copied.
    pub anonymous: u64,
    /// Payload in kernel pages, such as socket buffers: copied (or read there by `O_DIRECT`).
    pub kernel: u64,
    /// Payload in fragments of unknown kind.
    pub unsorted: u64,
}

impl Provenance {
    /// Returns all payload.
    #[must_use]
    pub fn payload(&self) -> u64 {
        self.copied() + self.ours + self.cache + self.anonymous + self.unsorted
    }

    /// Returns the payload in kernel memory, which only the CPU fills.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.linear + self.kernel
    }
}

/// Disk I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Number of read requests.
    pub reads: u64,
    /// Bytes of read requests.
    pub read_bytes: u64,
    /// Number of write requests.
    pub writes: u64,
    /// Bytes of write requests.
    pub write_bytes: u64,
}
