//! What was counted.

use rustix::process::Pid;
use std::collections::BTreeMap;

use super::names::call_name;

/// What happened in a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What each process did between its marks, in the order of the scope.
    pub processes: Vec<ProcessCounts>,
    /// What left by a device, sorted by where its pages come from, where a driver takes it over.
    pub wire: Provenance,
    /// What TCP sent again, by the same device; it is not among the other.
    pub retransmitted: Provenance,
    /// What a UNIX socket handed over, once the receiver had taken it.
    pub local: Provenance,
    /// What a disk read and wrote of the files, through the page cache or past it.
    pub disk: Disk,
}

impl Counts {
    /// What left, each byte once: by a device or by a UNIX socket.
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

/// What one process did between its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCounts {
    /// Which.
    pub process: Pid,
    /// Its system calls by number.
    pub calls: BTreeMap<u64, SystemCall>,
    /// Context switches because it waited.
    pub voluntary: u64,
    /// Context switches because its time was over or another was more urgent.
    pub involuntary: u64,
    /// Page faults in user mode, each with two mode switches; `None` where there is no tracepoint.
    pub faults_user: Option<u64>,
    /// Page faults taken inside a system call, without a mode switch.
    pub faults_kernel: Option<u64>,
    /// How often bytes were copied out of a socket.
    pub receives: u64,
    /// Bytes copied out of a socket into its memory.
    pub received: u64,
    /// How often it looked for pages of our files in the page cache; `None` before Linux 6.5 or so.
    pub lookups: Option<u64>,
    /// Bytes that `filemap_read` said it had copied into its memory; `None` without tier T3.
    pub filemap_read: Option<u64>,
}

impl ProcessCounts {
    /// One system call by name.
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

    /// All system calls together.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.calls.values().map(|call| call.calls).sum()
    }

    /// Changes between user mode and kernel mode: two a system call, two a fault in user mode.
    #[must_use]
    pub fn mode_switches(&self) -> u64 {
        2 * (self.total_calls() + self.faults_user.unwrap_or(0))
    }

    /// Bytes that calls which read said they had read.
    #[must_use]
    pub fn read(&self) -> u64 {
        ["read", "pread64", "readv", "preadv2"].iter().map(|name| self.call(name).bytes).sum()
    }
}

/// How often a system call was made, and what it answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCall {
    /// How often.
    pub calls: u64,
    /// The sum of what it returned where that was more than 0: bytes, for calls that move some.
    pub bytes: u64,
    /// How often it said `EAGAIN`.
    pub again: u64,
}

/// Bytes of packets by what their memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How many packets; one may be a large one that is cut up later (TSO, GSO).
    pub packets: u64,
    /// Headers: link, network, transport.
    pub headers: u64,
    /// Payload in the packet's own memory: copied.
    pub linear: u64,
    /// In pages of the page cache of our files: not copied.
    pub ours: u64,
    /// In pages of the page cache of other files.
    pub cache: u64,
    /// In pages of a process: not copied.
    pub anonymous: u64,
    /// In pages of the kernel's own, a socket's buffer: copied. (Or read there by `O_DIRECT`.)
    pub kernel: u64,
    /// In no fragment that could be sorted.
    pub unsorted: u64,
}

impl Provenance {
    /// All payload.
    #[must_use]
    pub fn payload(&self) -> u64 {
        self.copied() + self.ours + self.cache + self.anonymous + self.unsorted
    }

    /// Payload in memory of the kernel's, where only the CPU puts it.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.linear + self.kernel
    }
}

/// What a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Requests to read.
    pub reads: u64,
    /// Bytes they asked for.
    pub read_bytes: u64,
    /// Requests to write.
    pub writes: u64,
    /// Bytes they asked for.
    pub write_bytes: u64,
}
