//! Loading of a BPF object of `bpf/`: relocation, and attachment to the tracepoints that the kernel
//! has.
//!
//! # Limitations
//! A missing tracepoint is distinguished from a refusal only by the missing BTF type.

use aya::maps::{HashMap, Map, MapData};
use aya::programs::{BtfTracePoint, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfLoader};
use rustix::io::Errno;
use std::fmt;

use crate::error::{Error, ErrorContext as _, Result};

/// Why BPF counters are unavailable.
#[derive(Debug)]
pub enum Unavailable {
    /// The kernel has no BTF (`/sys/kernel/btf/vmlinux`).
    NoBtf(String),
    /// The process is neither root nor has `cap_bpf` and `cap_perfmon`, or a policy forbids it.
    NotPermitted(String),
    /// The kernel rejected a program for another reason.
    Refused(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBtf(why) => write!(f, "this kernel has no BTF: {why}"),
            Self::NotPermitted(why) => {
                write!(f, "it needs root, or cap_bpf and cap_perfmon: {why}")
            }
            Self::Refused(why) => write!(f, "the kernel rejected a program: {why}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// Loads the kernel's types and an object relocated to them.
pub(crate) fn load(object: &[u8]) -> std::result::Result<(Btf, Ebpf), Unavailable> {
    let btf = Btf::from_sys_fs().map_err(|error| Unavailable::NoBtf(deepest(&error)))?;
    let loaded = EbpfLoader::new().btf(Some(&btf)).load(object);
    let programs = loaded.map_err(|error| unavailable(&error))?;
    Ok((btf, programs))
}

/// Attaches a program to a tracepoint; returns `false` if this kernel has no such tracepoint.
pub(crate) fn tracepoint(
    programs: &mut Ebpf,
    program: &'static str,
    name: &'static str,
    btf: &Btf,
) -> std::result::Result<bool, Unavailable> {
    match try_to_attach(programs, program, name, btf) {
        Err(error) if names_no_type(&*error) => Ok(false),
        attached => attached.map(|()| true).map_err(|error| match unavailable(&*error) {
            Unavailable::Refused(why) => Unavailable::Refused(format!("{program}: {why}")),
            other => other,
        }),
    }
}

pub(crate) fn map_mut<'a, M: TryFrom<&'a mut Map, Error: fmt::Display>>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<M> {
    let map = programs.map_mut(name).ok_or_else(|| no_map(name))?;
    M::try_from(map).context("open", name)
}

/// Returns device and inode of the PID namespace that the process ids of a scope belong to.
pub(crate) fn own_pid_space() -> Result<[u64; 2]> {
    let stat = rustix::fs::stat("/proc/self/ns/pid").context("stat", "/proc/self/ns/pid")?;
    Ok([stat.st_dev, stat.st_ino])
}

pub(crate) fn no_map(name: &'static str) -> Error {
    Error::new("open", name, "the object lacks the map")
}

/// Replaces the contents of a map.
pub(crate) fn fill<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<&mut MapData, K, V>,
    entries: impl Iterator<Item = (K, V)>,
) -> Result<()> {
    let old: Vec<_> = map.keys().filter_map(std::result::Result::ok).collect();
    for key in old {
        map.remove(&key).context("clear", "the scope")?;
    }
    for (key, value) in entries {
        map.insert(key, value, 0).context("set", "the scope")?;
    }
    Ok(())
}

/// Returns whether the kernel has no BTF type for the tracepoint.
fn names_no_type(error: &(dyn std::error::Error + 'static)) -> bool {
    let unknown =
        |program| matches!(program, &ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }));
    error.downcast_ref().is_some_and(unknown)
}

fn try_to_attach(
    programs: &mut Ebpf,
    program: &str,
    name: &str,
    btf: &Btf,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let program: Option<&mut Program> = programs.program_mut(program);
    let program: &mut BtfTracePoint = program.ok_or("the object lacks the program")?.try_into()?;
    program.load(name, btf)?;
    program.attach()?;
    Ok(())
}

/// Returns the innermost cause, without the verifier's log.
pub(crate) fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string().lines().next().unwrap_or_default().to_owned()
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Unavailable {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(io) = one.downcast_ref::<std::io::Error>()
            && matches!(Errno::from_io_error(io), Some(Errno::PERM | Errno::ACCESS))
        {
            return Unavailable::NotPermitted(io.to_string());
        }
        cause = one.source();
    }
    Unavailable::Refused(deepest(error))
}
