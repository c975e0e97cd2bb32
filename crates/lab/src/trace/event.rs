//! EventKind happens in a request, in the words of the reports.

use serde_json::{Value, json};
use std::fmt;

use super::syscalls;
pub use super::syscalls::TracedCall;
use crate::probe::Provenance;

/// Where something happens: the rows of the figures in textbooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The server's own code.
    User,
    /// The boundary that the server crosses.
    Call,
    /// EventKind the kernel does for it.
    Kernel,
    /// EventKind leaves for a network or comes from a disk.
    Device,
    /// Who asked.
    Receiver,
}

impl Lane {
    /// All, from above to below.
    pub const ALL: [Self; 5] = [Self::User, Self::Call, Self::Kernel, Self::Device, Self::Receiver];

    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user space",
            Self::Call => "system call",
            Self::Kernel => "kernel",
            Self::Device => "device",
            Self::Receiver => "receiver",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it began, in nanoseconds since the wake-up.
    pub begun: i64,
    /// When it ended; the same for what has no length.
    pub ended: i64,
    /// Where.
    pub lane: Lane,
    /// In which thread, by its place among the [threads](super::Trace::threads); `None` in none.
    pub thread: Option<usize>,
    /// During which system call, by its place among the events.
    pub within: Option<usize>,
    /// EventKind.
    pub kind: EventKind,
}

/// EventKind happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// The thread ran its own code.
    RunsUserCode,
    /// A system call.
    Syscall(TracedCall),
    /// The thread slept.
    Sleeps {
        /// Who woke it; `None` if it still slept at the end or nobody was seen.
        woken: Option<WakeSource>,
    },
    /// The thread could go on and had no core.
    Runnable {
        /// It was sent away from one for another; else it had been woken.
        preempted: bool,
    },
    /// The CPU copied bytes.
    Copies {
        /// Out of what.
        from: Memory,
        /// Into what.
        to: Memory,
        /// How many.
        bytes: u64,
        /// It was not seen but follows from the answer of the call.
        derived: bool,
    },
    /// A page was not there.
    Faults {
        /// In user mode, with two mode switches; else inside the kernel.
        in_user_mode: bool,
        /// To write.
        to_write: bool,
    },
    /// Pages of the file were looked for in the page cache.
    CacheLookup {
        /// How many.
        pages: u64,
    },
    /// Pages of the file that are in memory were mapped around a fault.
    FaultAround {
        /// How many.
        pages: u64,
    },
    /// A packet left, sorted by where its bytes lie. For a UNIX socket: was taken in.
    Packet {
        /// By which device.
        device: String,
        /// By what.
        bytes: Provenance,
        /// It is the request, or says that something has come.
        to_server: bool,
        /// TCP has sent it before.
        again: bool,
    },
    /// A request to a disk.
    Disk {
        /// To write.
        writes: bool,
        /// How many bytes.
        bytes: u64,
    },
    /// An operation of io_uring.
    Operation {
        /// Its name.
        name: &'static str,
        /// EventKind it answered.
        result: i64,
    },
    /// An operation of io_uring would have blocked, and went to a worker of the kernel's.
    IoWorker {
        /// Its name.
        name: &'static str,
    },
}

/// EventKind bytes are copied from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// The page cache of a file.
    PageCache,
    /// A process.
    User,
    /// Pages of a socket.
    Socket,
}

impl Memory {
    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageCache => "page cache",
            Self::User => "user",
            Self::Socket => "socket",
        }
    }
}

/// Who woke a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeSource {
    /// The name of the thread that was interrupted for it, or did it itself.
    pub name: String,
    /// Its place among the threads of the trace, if it is one of them.
    pub thread: Option<usize>,
    /// In which softirq.
    pub softirq: Option<&'static str>,
    /// In an interrupt: its line, or none for the timer of a core.
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
            (Some(Some(line)), _) => write!(f, "interrupt {line}"),
            (Some(None), _) => f.write_str("the timer"),
            // Whom it interrupted has nothing to do with it, unless he is of the trace.
            (None, Some(softirq)) if self.thread.is_none() => write!(f, "softirq {softirq}"),
            (None, Some(softirq)) => write!(f, "{on} in softirq {softirq}"),
            (None, None) => f.write_str(on),
        }
    }
}

impl Event {
    /// How many nanoseconds it took.
    #[must_use]
    pub fn took(&self) -> i64 {
        self.ended - self.begun
    }

    /// How many bytes it was about, where it was about bytes.
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

    /// Whether it reads a file for sure, and not a socket or a waker's eventfd: at an offset.
    pub(super) fn reads_at_an_offset(&self) -> bool {
        match &self.kind {
            EventKind::Syscall(call) => call.name.starts_with("pread"),
            EventKind::Operation { name, .. } => syscalls::reads_file(name),
            _ => false,
        }
    }

    /// One word for what it is.
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

    /// The fields of its kind, for JSON.
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

/// Nanoseconds as microseconds, for reports.
#[allow(clippy::cast_precision_loss, reason = "a time of an experiment")]
pub(super) fn microseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// Nanoseconds, in microseconds.
pub(super) fn time(nanoseconds: i64) -> String {
    format!("{:.1}", microseconds(nanoseconds))
}
