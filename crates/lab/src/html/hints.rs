//! Tooltips of table columns: how the figures were counted.

use crate::language::msg;

/// Columns, and how their figures were counted.
const HINTS: [(&[&str], &str); 14] = [
    (
        &["mode switches", "mode switches, measured"],
        msg!(
            "2 per system call (raw_syscalls:sys_enter) and 2 per page fault in user mode (exceptions:page_fault_user)"
        ),
    ),
    (
        &["calls", "system calls, measured"],
        msg!(
            "tracepoint raw_syscalls:sys_enter of the sender's process; marked ~: the transfer's own count"
        ),
    ),
    (
        &["CPU copies, measured", "copied before receiver"],
        msg!(
            "bytes read into user memory, plus bytes in pages of the kernel when a packet is handed to the driver (tracepoint net_dev_start_xmit)"
        ),
    ),
    (
        &["DMA copies, measured", "disk bytes (requests)"],
        msg!("tracepoint block_rq_issue, reads of this file only"),
    ),
    (
        &["late copies among them"],
        msg!("completions of MSG_ZEROCOPY that report SO_EE_CODE_ZEROCOPY_COPIED"),
    ),
    (&["by receiver"], msg!("tracepoint skb_copy_datagram_iovec of the receiver's process")),
    (&["waits/preempted"], msg!("tracepoint sched_switch: the thread slept, or it was preempted")),
    (&["faults user+kernel"], msg!("tracepoints exceptions:page_fault_user and page_fault_kernel")),
    (
        &["CPU ms/GB", "CPU us/wake-up", "CPU us/request", "CPU us/response"],
        msg!("getrusage: user and system time, in runs without counters; median [range]"),
    ),
    (
        &["GB/s", "us/wake-up", "us/request"],
        msg!("clock_gettime(CLOCK_MONOTONIC), in runs without counters; median [range]"),
    ),
    (
        &["calls/wake-up", "calls/request", "in detail"],
        msg!("every system call, under ptrace, in a run of its own"),
    ),
    (
        &["CPU ns per idle descriptor [95 %]"],
        msg!(
            "slope of the CPU time over the number of idle descriptors, least squares; bootstrap interval"
        ),
    ),
    (
        &["p50 us", "p99 us", "p99.9 us", "max us"],
        msg!("latency at the client, from the request to the last byte"),
    ),
    (
        &[
            "mode switches, claimed",
            "CPU copies, claimed",
            "DMA copies, claimed",
            "system calls, claimed",
        ],
        msg!("the figure that textbooks and blogs repeat, for one transfer"),
    ),
];

/// Returns how the figures of a column were counted.
pub(super) fn how_counted(heading: &str) -> Option<&'static str> {
    HINTS.iter().find(|(columns, _)| columns.contains(&heading)).map(|(_, how)| *how)
}
