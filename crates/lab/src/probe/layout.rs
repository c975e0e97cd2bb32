//! Layout of the counters in the maps of `bpf/probe.bpf.c`, which contains the same lists.

/// Maximum number of processes.
pub(crate) const SLOTS: usize = 4;
/// System calls with numbers below this are counted.
pub(crate) const CALLS: usize = 512;
/// Counters per system call: calls, returned bytes, `EAGAIN`.
pub(crate) const BY_CALL: usize = 3;
/// Counters that belong to no process.
pub(crate) const SUMS: usize = 48;
/// Counters per process.
pub(crate) const OWN: usize = 8;

pub(crate) const VOLUNTARY: usize = 0;
pub(crate) const INVOLUNTARY: usize = 1;
pub(crate) const FAULTS_USER: usize = 2;
pub(crate) const FAULTS_KERNEL: usize = 3;
pub(crate) const RECEIVES: usize = 4;
pub(crate) const RECEIVED: usize = 5;
pub(crate) const LOOKUPS: usize = 6;
pub(crate) const FUNCTION_BYTES: usize = 7;

/// Counters of a group: packets, headers, linear, ours, cache, anonymous, kernel, unsorted.
const GROUP: usize = 8;
pub(crate) const WIRE: usize = 0;
pub(crate) const RETRANSMITTED: usize = GROUP;
pub(crate) const LOCAL: usize = 2 * GROUP;
pub(crate) const READS: usize = 3 * GROUP;
pub(crate) const READ_BYTES: usize = READS + 1;
pub(crate) const WRITES: usize = READS + 2;
pub(crate) const WRITE_BYTES: usize = READS + 3;
