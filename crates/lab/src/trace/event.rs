//! Events of a request.

use serde_json::{Value, json};
use std::fmt;

use super::syscalls;
pub use super::syscalls::TracedCall;
use crate::language::{msg, text};
use crate::probe::Provenance;

/// Location of an event: the rows of the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The server's own code.
    User,
    /// The system call boundary.
    Call,
    /// Work of the kernel for the server.
    Kernel,
    /// Network and disk devices.
    Device,
    /// The client.
    Receiver,
}

impl Lane {
    /// All lanes from top to bottom.
    pub const ALL: [Self; 5] = [Self::User, Self::Call, Self::Kernel, Self::Device, Self::Receiver];

    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => msg!("user space"),
            Self::Call => msg!("system call"),
            Self::Kernel => msg!("kernel"),
            Self::Device => msg!("device"),
            Self::Receiver => msg!("receiver"),
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Start, in nanoseconds since the wake-up.
    pub begun: i64,
    /// End; equal to the start for an instant.
    pub ended: i64,
    /// Its lane.
    pub lane: Lane,
    /// Index of its thread among the [threads](super::Trace::threads), if it has one.
    pub thread: Option<usize>,
    /// Index of the enclosing system call among the events.
    pub within: Option<usize>,
    /// Its kind.
    pub kind: EventKind,
}

/// Kind of an event.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// The thread ran its own code.
    RunsUserCode,
    /// A system call.
    Syscall(TracedCall),
    /// The thread slept.
    Sleeps {
        /// The source of the wake-up; `None` if it still slept at the end or the source was not
        /// seen.
        woken: Option<WakeSource>,
    },
    /// The thread was runnable but had no core.
    Runnable {
        /// Whether it was preempted; otherwise it had been woken.
        preempted: bool,
    },
    /// The CPU copied bytes.
    Copies {
        /// Source.
        from: Memory,
        /// Destination.
        to: Memory,
        /// Number of bytes.
        bytes: u64,
        /// Whether it is derived from the result of the call instead of observed.
        derived: bool,
    },
    /// A page fault.
    Faults {
        /// Whether in user mode, with two mode switches; otherwise in the kernel.
        in_user_mode: bool,
        /// Whether for a write.
        to_write: bool,
    },
    /// A lookup of pages of the file in the page cache.
    CacheLookup {
        /// Number of pages.
        pages: u64,
    },
    /// Cached pages around a fault were mapped (fault-around).
    FaultAround {
        /// Number of pages.
        pages: u64,
    },
    /// A packet was sent, with its bytes by provenance; on a UNIX socket, a packet was received.
    Packet {
        /// The device.
        device: String,
        /// Bytes by provenance.
        bytes: Provenance,
        /// Whether it goes to the server: the request or an acknowledgement.
        to_server: bool,
        /// Whether it is a retransmission of TCP.
        again: bool,
    },
    /// A disk request.
    Disk {
        /// Whether it writes.
        writes: bool,
        /// Number of bytes.
        bytes: u64,
    },
    /// An operation of io_uring.
    Operation {
        /// Its name.
        name: &'static str,
        /// Its result.
        result: i64,
    },
    /// An operation of io_uring would have blocked and was passed to an io-wq worker thread.
    IoWorker {
        /// Its name.
        name: &'static str,
    },
}

/// Source or destination of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// Page cache of a file.
    PageCache,
    /// User memory.
    User,
    /// Pages of a socket.
    Socket,
}

impl Memory {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageCache => msg!("page cache"),
            Self::User => msg!("user"),
            Self::Socket => msg!("socket"),
        }
    }
}

/// Source of a wake-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeSource {
    /// Name of the thread that caused it, or was interrupted by it.
    pub name: String,
    /// Index of that thread among the threads of the trace, if it is one.
    pub thread: Option<usize>,
    /// The softirq.
    pub softirq: Option<&'static str>,
    /// The interrupt: its line, or `None` for the timer of a core.
    pub interrupt: Option<Option<u64>>,
}

impl WakeSource {
    fn to_json(&self) -> Value {
        let line = self.interrupt.map(|line| line.map_or(json!("timer"), |line| json!(line)));
        json!({
            "name": self.name, "thread": self.thread, "softirq": self.softirq, "interrupt": line,
        })
    }
}

impl fmt::Display for WakeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = &self.name;
        match (self.interrupt, self.softirq) {
            (Some(Some(line)), _) => f.write_str(&text!("interrupt {line}", line = line)),
            (Some(None), _) => f.write_str(&text!("the timer")),
            // The interrupted thread is irrelevant, unless it belongs to the trace.
            (None, Some(softirq)) if self.thread.is_none() => {
                f.write_str(&text!("softirq {softirq}", softirq = softirq))
            }
            (None, Some(softirq)) => {
                f.write_str(&text!("{on} in softirq {softirq}", on = on, softirq = softirq))
            }
            (None, None) => f.write_str(on),
        }
    }
}

impl Event {
    /// Returns the duration in nanoseconds.
    #[must_use]
    pub fn took(&self) -> i64 {
        self.ended - self.begun
    }

    /// Returns the number of bytes, if the event has one.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match &self.kind {
            EventKind::Syscall(call) => syscalls::bytes(call),
            EventKind::Copies { bytes, .. } | EventKind::Disk { bytes, .. } => Some(*bytes),
            EventKind::Packet { bytes, .. } => Some(bytes.payload()),
            EventKind::Operation { name, result } if syscalls::moves(name) => {
                u64::try_from(*result).ok()
            }
            _ => None,
        }
    }

    /// Returns whether it certainly reads a file, not a socket or eventfd: reads with an offset.
    pub(super) fn reads_at_an_offset(&self) -> bool {
        match &self.kind {
            EventKind::Syscall(call) => call.name.starts_with("pread"),
            EventKind::Operation { name, .. } => syscalls::reads_file(name),
            _ => false,
        }
    }

    /// Returns the name of its kind.
    pub(super) fn word(&self) -> &'static str {
        match &self.kind {
            EventKind::RunsUserCode => "run",
            EventKind::Syscall(_) => "call",
            EventKind::Sleeps { .. } => "sleep",
            EventKind::Runnable { .. } => "runnable",
            EventKind::Copies { .. } => "copy",
            EventKind::Faults { .. } => "fault",
            EventKind::CacheLookup { .. } => "lookup",
            EventKind::FaultAround { .. } => "fault-around",
            EventKind::Packet { .. } => "packet",
            EventKind::Disk { .. } => "disk",
            EventKind::Operation { .. } => "operation",
            EventKind::IoWorker { .. } => "io-worker",
        }
    }

    /// Returns the JSON fields of its kind.
    pub(super) fn fields(&self) -> Value {
        match &self.kind {
            EventKind::RunsUserCode => json!({}),
            EventKind::Syscall(call) => json!({
                "name": call.name, "descriptor": syscalls::descriptor(call), "result": call.result,
                "error": call.result.and_then(syscalls::error), "flags": syscalls::flags(call),
                "arguments": call.arguments,
            }),
            EventKind::Sleeps { woken } => {
                json!({ "woken_by": woken.as_ref().map(WakeSource::to_json) })
            }
            EventKind::Runnable { preempted } => json!({ "preempted": preempted }),
            EventKind::Copies { from, to, derived, .. } => {
                json!({ "from": from.name(), "to": to.name(), "derived": derived })
            }
            EventKind::Faults { in_user_mode, to_write } => {
                json!({ "in_user_mode": in_user_mode, "to_write": to_write })
            }
            EventKind::CacheLookup { pages } | EventKind::FaultAround { pages } => {
                json!({ "pages": pages })
            }
            EventKind::Packet { device, bytes, to_server, again } => json!({
                "device": device, "to_server": to_server, "retransmission": again,
                "headers": bytes.headers, "linear": bytes.linear, "page_cache": bytes.ours,
                "other_cache": bytes.cache, "user_pages": bytes.anonymous,
                "kernel_pages": bytes.kernel, "unsorted": bytes.unsorted,
            }),
            EventKind::Disk { writes, .. } => json!({ "writes": writes }),
            EventKind::Operation { name, result } => json!({ "name": name, "result": result }),
            EventKind::IoWorker { name } => json!({ "name": name }),
        }
    }
}

/// Converts nanoseconds to microseconds.
#[allow(clippy::cast_precision_loss, reason = "a time of an experiment")]
pub(super) fn microseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// Formats nanoseconds in microseconds.
pub(super) fn time(nanoseconds: i64) -> String {
    format!("{:.1}", microseconds(nanoseconds))
}
