//! Where each counter lies in the maps of `bpf/probe.bpf.c`, which has the same lists.

/// Processes that can be told apart.
pub(crate) const SLOTS: usize = 4;
/// System calls by number, up to here.
pub(crate) const CALLS: usize = 512;
/// Numbers by system call: how many, bytes returned, `EAGAIN`.
pub(crate) const BY_CALL: usize = 3;
/// Counters that belong to no process.
pub(crate) const SUMS: usize = 48;
/// Counters by process.
pub(crate) const OWN: usize = 8;

pub(crate) const VOLUNTARY: usize = 0;
pub(crate) const INVOLUNTARY: usize = 1;
pub(crate) const FAULTS_USER: usize = 2;
pub(crate) const FAULTS_KERNEL: usize = 3;
pub(crate) const RECEIVES: usize = 4;
pub(crate) const RECEIVED: usize = 5;
pub(crate) const LOOKUPS: usize = 6;
pub(crate) const FUNCTION_BYTES: usize = 7;

/// Within a group: packets, headers, linear, ours, cache, anonymous, kernel, unsorted.
const GROUP: usize = 8;
pub(crate) const WIRE: usize = 0;
pub(crate) const AGAIN: usize = GROUP;
pub(crate) const LOCAL: usize = 2 * GROUP;
pub(crate) const READS: usize = 3 * GROUP;
pub(crate) const READ_BYTES: usize = READS + 1;
pub(crate) const WRITES: usize = READS + 2;
pub(crate) const WRITE_BYTES: usize = READS + 3;
