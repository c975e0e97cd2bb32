//! The counters: attaches the object of `bpf/` to the kernel, and reads and clears its maps.
//!
//! BPF on BTF tracepoints: bpf(2), Linux 5.8; root, or `cap_bpf` and `cap_perfmon`. The object is
//! built from C (`bpf/build`) and stored next to its source, so running it needs no clang; aya
//! relocates it to the running kernel. Tracepoints that this kernel lacks are omitted.
//!
//! # Limitations
//! Each event costs about 50 to 200 ns, so timed runs do not use the counters. At most four
//! processes can be distinguished. On a busy machine events of a burst of packets can be lost, so
//! callers compare the sum with the number of sent bytes.

use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{FExit, Program};
use aya::{Btf, Ebpf};
use std::collections::BTreeMap;
use std::fmt;

use super::attach::{self, Unavailable, deepest, fill, no_map};
use super::counts::{Counts, Disk, ProcessCounts, Provenance, SystemCall};
use super::layout;
use super::mark;
use super::scope::Scope;
use crate::error::{Error, ErrorContext as _, Result};

/// The built-in programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/probe.bpf.o");

/// The tracepoints, each with a program of the same name.
const TRACEPOINTS: [&str; 11] = [
    "sys_enter",
    "sys_exit",
    "sched_switch",
    "page_fault_user",
    "page_fault_kernel",
    "skb_copy_datagram_iovec",
    "mm_filemap_get_pages",
    "net_dev_start_xmit",
    "consume_skb",
    "block_rq_issue",
    "block_rq_requeue",
];

/// The function hook of tier T3.
const FUNCTION: &str = "filemap_read";

/// Initial state of a socket.
const NEW_SOCKET: [u64; 19] = [0; 19];

/// A counter that this kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The tracepoint or function.
    pub name: &'static str,
    /// Whether it is a function hook of tier T3.
    pub is_function: bool,
    /// The reason.
    pub why: String,
}

/// Attached counters, detached on drop.
pub struct Counters {
    programs: Ebpf,
    scope: Scope,
    missing: Vec<Missing>,
}

impl Counters {
    /// Attaches the built-in counters for `scope`.
    ///
    /// # Errors
    /// The reason why the counters are unavailable.
    pub fn attach(scope: &Scope) -> std::result::Result<Self, Unavailable> {
        Self::attach_from(OBJECT, scope)
    }

    /// Attaches the counters of another object, such as a newly built one.
    ///
    /// # Errors
    /// The reason why the counters are unavailable.
    pub fn attach_from(object: &[u8], scope: &Scope) -> std::result::Result<Self, Unavailable> {
        let (btf, mut programs) = attach::load(object)?;
        let mut missing = Vec::new();
        for name in TRACEPOINTS {
            if !attach::tracepoint(&mut programs, name, name, &btf)? {
                let why = "this kernel lacks the tracepoint".to_owned();
                missing.push(Missing { name, is_function: false, why });
            }
        }
        if let Err(error) = attach_function(&mut programs, &btf) {
            let why = deepest(&*error);
            missing.push(Missing { name: FUNCTION, is_function: true, why });
        }
        let mut counters = Self { programs, scope: Scope::default(), missing };
        counters.aim(scope).map_err(|error| Unavailable::Refused(error.to_string()))?;
        Ok(counters)
    }

    /// Returns the counters that this kernel lacks.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    fn has(&self, name: &str) -> bool {
        !self.missing.iter().any(|missing| missing.name == name)
    }

    /// Counts events in `scope` from now on, starting from 0.
    ///
    /// # Errors
    /// If the scope exceeds the capacity of the maps.
    pub fn aim(&mut self, scope: &Scope) -> Result<()> {
        if scope.processes.len() > layout::SLOTS {
            return Err(Error::new("aim", "the counters", "too many processes"));
        }
        let mut marks: Array<_, u64> = self.map_mut("MARKS")?;
        marks.set(0, mark::begin_number(), 0).context("set", "a mark")?;
        marks.set(1, mark::end_number(), 0).context("set", "a mark")?;
        let mut space: Array<_, [u64; 2]> = self.map_mut("SPACE")?;
        space.set(0, attach::own_pid_space()?, 0).context("set", "the PID namespace")?;
        let slots = scope.processes.iter().zip(0_u64..);
        let pids = slots.map(|(pid, slot)| (pid.as_raw_nonzero().get().cast_unsigned(), slot));
        fill(&mut self.map_mut("PROCESSES")?, pids)?;
        fill(
            &mut self.map_mut("SOCKETS")?,
            scope.sockets.iter().map(|&cookie| (cookie, NEW_SOCKET)),
        )?;
        fill(&mut self.map_mut("NETWORKS")?, scope.networks.iter().map(|&inode| (inode, 0_u64)))?;
        let files = scope.files.iter().map(|file| ([file.inode, file.device], 0_u64));
        fill(&mut self.map_mut("FILES")?, files)?;
        self.scope = scope.clone();
        self.clear()
    }

    /// Adds the socket with this cookie to the scope without clearing the counters: a process that
    /// has passed its begin mark continues to be counted.
    ///
    /// # Errors
    /// If the map is full.
    pub fn watch(&mut self, cookie: u64) -> Result<()> {
        self.scope.sockets.push(cookie);
        let mut sockets: HashMap<_, u64, [u64; 19]> = self.map_mut("SOCKETS")?;
        sockets.insert(cookie, NEW_SOCKET, 0).context("set", "the scope")
    }

    /// Returns the counts since the last call and clears them.
    ///
    /// # Errors
    /// Those of reading the kernel's maps.
    pub fn take(&mut self) -> Result<Counts> {
        let sums: [u64; layout::SUMS] = self.sum("SUMS_OF_ALL", 0)?;
        let mut processes = Vec::new();
        for (process, slot) in self.scope.processes.iter().zip(0..) {
            let own: [u64; layout::OWN] = self.sum("SUMS_OF_OWN", slot)?;
            let calls: [u64; layout::CALLS * layout::BY_CALL] = self.sum("SYSTEM_CALLS", slot)?;
            let if_there = |name, at: usize| self.has(name).then_some(own[at]);
            processes.push(ProcessCounts {
                process: *process,
                calls: by_number(&calls),
                voluntary: own[layout::VOLUNTARY],
                involuntary: own[layout::INVOLUNTARY],
                faults_user: if_there("page_fault_user", layout::FAULTS_USER),
                faults_kernel: if_there("page_fault_kernel", layout::FAULTS_KERNEL),
                receives: own[layout::RECEIVES],
                received: own[layout::RECEIVED],
                lookups: if_there("mm_filemap_get_pages", layout::LOOKUPS),
                filemap_read: if_there(FUNCTION, layout::FUNCTION_BYTES),
            });
        }
        self.clear()?;
        Ok(Counts {
            processes,
            wire: provenance(&sums, layout::WIRE),
            retransmitted: provenance(&sums, layout::RETRANSMITTED),
            local: provenance(&sums, layout::LOCAL),
            disk: Disk {
                reads: sums[layout::READS],
                read_bytes: sums[layout::READ_BYTES],
                writes: sums[layout::WRITES],
                write_bytes: sums[layout::WRITE_BYTES],
            },
        })
    }

    fn clear(&mut self) -> Result<()> {
        self.zero::<{ layout::SUMS }>("SUMS_OF_ALL", 1)?;
        self.zero::<{ layout::OWN }>("SUMS_OF_OWN", layout::SLOTS)?;
        self.zero::<{ layout::CALLS * layout::BY_CALL }>("SYSTEM_CALLS", layout::SLOTS)
    }

    fn zero<const N: usize>(&mut self, name: &'static str, entries: usize) -> Result<()> {
        let cores = aya::util::nr_cpus().map_err(|(_, error)| error).context("count", "cores")?;
        let mut map: PerCpuArray<_, [u64; N]> = self.map_mut(name)?;
        for entry in (0..).take(entries) {
            let zeros = PerCpuValues::try_from(vec![[0; N]; cores]).context("clear", name)?;
            map.set(entry, zeros, 0).context("clear", name)?;
        }
        Ok(())
    }

    /// Returns an entry, summed over all cores.
    fn sum<const N: usize>(&self, name: &'static str, entry: u32) -> Result<[u64; N]> {
        let map = self.programs.map(name).ok_or_else(|| no_map(name))?;
        let map: PerCpuArray<&MapData, [u64; N]> =
            PerCpuArray::try_from(map).context("open", name)?;
        let mut total = [0_u64; N];
        for core in map.get(&entry, 0).context("read", name)?.iter() {
            for (sum, one) in total.iter_mut().zip(core) {
                // A core may subtract what another one has counted.
                *sum = sum.wrapping_add(*one);
            }
        }
        Ok(total)
    }

    fn map_mut<'a, M: TryFrom<&'a mut aya::maps::Map, Error: fmt::Display>>(
        &'a mut self,
        name: &'static str,
    ) -> Result<M> {
        attach::map_mut(&mut self.programs, name)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn attach_function(
    programs: &mut Ebpf,
    btf: &Btf,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let program: Option<&mut Program> = programs.program_mut(FUNCTION);
    let program: &mut FExit = program.ok_or("the object lacks the program")?.try_into()?;
    program.load(FUNCTION, btf)?;
    program.attach()?;
    Ok(())
}

fn provenance(sums: &[u64; layout::SUMS], group: usize) -> Provenance {
    Provenance {
        packets: sums[group],
        headers: sums[group + 1],
        linear: sums[group + 2],
        ours: sums[group + 3],
        cache: sums[group + 4],
        anonymous: sums[group + 5],
        kernel: sums[group + 6],
        unsorted: sums[group + 7],
    }
}

fn by_number(calls: &[u64]) -> BTreeMap<u64, SystemCall> {
    let chunks = calls.chunks_exact(layout::BY_CALL).zip(0..);
    let made = chunks.filter(|(call, _)| call[0] > 0);
    let named = made.map(|(call, number)| {
        (number, SystemCall { calls: call[0], bytes: call[1], again: call[2] })
    });
    named.collect()
}
