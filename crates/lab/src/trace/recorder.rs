//! Recorder of the kernel events of a request: the object `bpf/trace.bpf.o`, its ring buffer (Linux
//! 5.8) and its scope.
//!
//! # Limitations
//! The ring buffer is read only at the end, so it may overflow during a long request; lost events
//! are counted.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, RingBuf};
use rustix::process::Pid;

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::FileId;
use crate::probe::attach::{self, Unavailable, fill};

/// The built-in programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/trace.bpf.o");

/// The tracepoints, each with a program of the same name.
const TRACEPOINTS: [&str; 22] = [
    "sys_enter",
    "sys_exit",
    "sched_switch",
    "sched_waking",
    "softirq_entry",
    "softirq_exit",
    "irq_handler_entry",
    "irq_handler_exit",
    "local_timer_entry",
    "local_timer_exit",
    "page_fault_user",
    "page_fault_kernel",
    "mm_filemap_get_pages",
    "mm_filemap_map_pages",
    "net_dev_start_xmit",
    "consume_skb",
    "skb_copy_datagram_iovec",
    "block_rq_issue",
    "block_rq_complete",
    "io_uring_submit_req",
    "io_uring_submit_sqe",
    "io_uring_queue_async_work",
];

/// Alternatives of which one loads on this kernel.
const COMPLETIONS: [&str; 2] = ["io_uring_complete_by_value", "io_uring_complete_by_entry"];

/// Tracepoints of some architectures or versions, whose absence loses nothing.
const OPTIONAL: [&str; 4] =
    ["local_timer_entry", "local_timer_exit", "io_uring_submit_req", "io_uring_submit_sqe"];

/// Kind of a record, in the order of bpf/trace.bpf.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Call,
    SwitchOut,
    SwitchIn,
    WakeUp,
    Fault,
    Lookup,
    FaultAround,
    Packet,
    Receive,
    Disk,
    Uring,
    IoWorker,
}

const RECORD_KINDS: [RecordKind; 12] = [
    RecordKind::Call,
    RecordKind::SwitchOut,
    RecordKind::SwitchIn,
    RecordKind::WakeUp,
    RecordKind::Fault,
    RecordKind::Lookup,
    RecordKind::FaultAround,
    RecordKind::Packet,
    RecordKind::Receive,
    RecordKind::Disk,
    RecordKind::Uring,
    RecordKind::IoWorker,
];

/// A record of the ring buffer: `struct event`.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) time: u64,
    pub(super) begun: u64,
    pub(super) kind: RecordKind,
    pub(super) process: u32,
    pub(super) thread: u32,
    pub(super) arguments: [u64; 10],
    pub(super) name: String,
}

/// A system call that had not returned at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenCall {
    pub(super) process: u32,
    pub(super) thread: u32,
    pub(super) begun: u64,
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
}

/// A recording, ordered by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    pub(super) events: Vec<Record>,
    pub(super) open: Vec<OpenCall>,
    pub(super) lost: u64,
}

/// Attached programs, detached on drop.
pub(super) struct Recorder {
    programs: Ebpf,
    ring: RingBuf<MapData>,
    missing: Vec<&'static str>,
}

impl Recorder {
    /// Attaches the built-in programs, or those of another object.
    pub(super) fn attach(object: Option<&[u8]>) -> std::result::Result<Self, Unavailable> {
        let (btf, mut programs) = attach::load(object.unwrap_or(OBJECT))?;
        let mut missing = Vec::new();
        for name in TRACEPOINTS {
            if !attach::tracepoint(&mut programs, name, name, &btf)? && !OPTIONAL.contains(&name) {
                missing.push(name);
            }
        }
        let mut completes = |name| {
            let attached = attach::tracepoint(&mut programs, name, "io_uring_complete", &btf);
            attached.unwrap_or(false)
        };
        if !COMPLETIONS.into_iter().any(&mut completes) {
            missing.push("io_uring_complete");
        }
        let refused = |error: Error| Unavailable::Refused(error.to_string());
        let ring = programs.take_map("EVENTS").ok_or_else(|| refused(attach::no_map("EVENTS")))?;
        let ring = RingBuf::try_from(ring).context("open", "EVENTS").map_err(refused)?;
        Ok(Self { programs, ring, missing })
    }

    /// Returns the tracepoints that this kernel lacks.
    pub(super) fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// Restricts the events to these processes, this file, and the connection with these ports of
    /// server and client.
    pub(super) fn set_scope(
        &mut self,
        processes: [Pid; 2],
        file: FileId,
        ports: [u16; 2],
    ) -> Result<()> {
        let mut space: Array<_, [u64; 2]> = self.map("SPACE")?;
        space.set(0, attach::own_pid_space()?, 0).context("set", "the PID namespace")?;
        let pids = processes.map(|pid| (pid.as_raw_nonzero().get().cast_unsigned(), 0_u64));
        fill(&mut self.map("PROCESSES")?, pids.into_iter())?;
        let files = [([file.inode, file.device], 0_u64)];
        fill(&mut self.map("FILES")?, files.into_iter())?;
        let mut both: Array<_, [u16; 2]> = self.map("PORTS")?;
        both.set(0, ports, 0).context("set", "the ports")
    }

    /// Starts recording.
    pub(super) fn start(&mut self) -> Result<()> {
        self.set_state([1, 0])
    }

    /// Stops recording and returns the records.
    pub(super) fn stop(&mut self) -> Result<Recording> {
        let state: Array<_, [u64; 2]> = self.map("STATE")?;
        let [_, lost] = state.get(&0, 0).context("read", "the state")?;
        self.set_state([0, 0])?;
        let mut recording = Recording { lost, ..Recording::default() };
        while let Some(bytes) = self.ring.next() {
            recording.events.extend(Record::parse(&bytes));
        }
        recording.events.sort_by_key(|event| event.time);
        let threads: HashMap<_, u32, [u64; 10]> = self.map("THREADS")?;
        for entry in &threads {
            let (_, [numbers, begun, number, is_in_call, arguments @ ..]) =
                entry.context("read", "the threads")?;
            let [process, thread] = [numbers, numbers >> 32].map(low);
            if is_in_call != 0 {
                recording.open.push(OpenCall { process, thread, begun, number, arguments });
            }
        }
        Ok(recording)
    }

    fn set_state(&mut self, value: [u64; 2]) -> Result<()> {
        let mut state: Array<_, [u64; 2]> = self.map("STATE")?;
        state.set(0, value, 0).context("set", "the state")
    }

    fn map<'a, M: TryFrom<&'a mut aya::maps::Map, Error: std::fmt::Display>>(
        &'a mut self,
        name: &'static str,
    ) -> Result<M> {
        attach::map_mut(&mut self.programs, name)
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

impl Record {
    /// Parses a record; `None` if its kind is unknown.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |place: usize| {
            let field = bytes.get(8 * place..8 * place + 8)?;
            Some(u64::from_ne_bytes(field.try_into().ok()?))
        };
        let half = |place: usize| {
            let field = bytes.get(4 * place..4 * place + 4)?;
            Some(u32::from_ne_bytes(field.try_into().ok()?))
        };
        let mut arguments = [0; 10];
        for (place, one) in arguments.iter_mut().enumerate() {
            *one = word(4 + place)?;
        }
        let name = bytes.get(112..128)?.split(|&byte| byte == 0).next()?;
        Some(Self {
            time: word(0)?,
            begun: word(1)?,
            kind: *RECORD_KINDS.get(usize::try_from(half(4)?).ok()?)?,
            process: half(5)?,
            thread: half(6)?,
            arguments,
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_layout_matches_the_bpf_programs() {
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(5_u64.to_ne_bytes());
        bytes.extend([3_u32, 10, 11, 1].iter().flat_map(|half| half.to_ne_bytes()));
        bytes.extend((20..30_u64).flat_map(u64::to_ne_bytes));
        bytes.extend(b"karez-0\0\0\0\0\0\0\0\0\0");
        let event = Record::parse(&bytes).unwrap();
        assert_eq!((event.time, event.begun, event.kind), (7, 5, RecordKind::WakeUp));
        assert_eq!((event.process, event.thread), (10, 11));
        assert_eq!(event.arguments, [20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
        assert_eq!(event.name, "karez-0");
        assert!(Record::parse(&bytes[..100]).is_none());
    }
}
