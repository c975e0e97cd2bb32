//! System calls of one thread of another process: ptrace(2) with `PTRACE_SEIZE` (Linux 3.4) and
//! `PTRACE_GET_SYSCALL_INFO` (5.3), like strace(1).
//!
//! ptrace sees every call independently of all other counters, so it can validate them.
//!
//! # Limitations
//! Each call takes two stops and four context switches, so timed runs cannot use it. Other threads
//! of the process are not followed (`ptrace_threads.rs` does that). A process has at most one
//! tracer, and Yama or a sandbox may forbid tracing of processes other than children.

use rustix::io::{self, Errno};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use std::collections::BTreeMap;
use std::ptr::{null_mut, without_provenance_mut};

use crate::last_errno;

/// Signal of a system call stop; `PTRACE_O_TRACESYSGOOD` distinguishes it from a real SIGTRAP.
pub(crate) const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// `PTRACE_SYSCALL_INFO_ENTRY` and `_EXIT` of linux/ptrace.h.
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// Requests as numbered by linux/ptrace.h; libc gives them a different type for each C library.
pub(crate) const SYSCALL: u32 = 24;
pub(crate) const DETACH: u32 = 17;
pub(crate) const SEIZE: u32 = 0x4206;
pub(crate) const INTERRUPT: u32 = 0x4207;
const GET_SYSCALL_INFO: u32 = 0x420e;

/// `struct ptrace_syscall_info`: its first byte tells the meaning of the data after the first 24
/// bytes.
#[repr(C, align(8))]
struct Info([u8; 128]);

/// Counts the system calls, by number, that the main thread of the child `pid` enters between the
/// call numbered `begin` and the one numbered `end`, both excluded.
///
/// Calls `attached` once the child is seized, so that no later call is missed. Blocks until the
/// call `end` or the end of the child.
///
/// # Errors
/// `EPERM` if tracing is not permitted or another process traces it, `ESRCH` for no such process;
/// `EIO` before Linux 5.3.
pub fn count_syscalls(
    pid: Pid,
    begin: u64,
    end: u64,
    attached: impl FnOnce(),
) -> io::Result<BTreeMap<u64, u64>> {
    let options = without_provenance_mut(libc::PTRACE_O_TRACESYSGOOD.cast_unsigned() as usize);
    request(SEIZE, pid, null_mut(), options)?;
    request(INTERRUPT, pid, null_mut(), null_mut())?;
    let mut calls = BTreeMap::new();
    let mut stopped = wait(pid)?;
    attached();
    let mut counting = false;
    while let Some(signal) = stopped {
        if signal == SYSCALL_STOP
            && let SyscallStop::Entry(number, _) = syscall_stop(pid)?
        {
            if number == end {
                request(DETACH, pid, null_mut(), null_mut())?;
                break;
            }
            if counting {
                *calls.entry(number).or_default() += 1;
            }
            counting |= number == begin;
        }
        let delivered = if signal == SYSCALL_STOP { 0 } else { signal };
        let data = without_provenance_mut(usize::try_from(delivered).unwrap_or(0));
        request(SYSCALL, pid, null_mut(), data)?;
        stopped = wait(pid)?;
    }
    Ok(calls)
}

/// Waits for the next stop and returns its signal, 0 if there is none to deliver; `None` if the
/// child has ended.
fn wait(pid: Pid) -> io::Result<Option<i32>> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) if !status.stopped() => return Ok(None),
            Ok(Some((_, status))) => return Ok(Some(signal(status))),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn signal(status: WaitStatus) -> i32 {
    let is_event = status.as_raw() >> 16 != 0;
    if is_event { 0 } else { status.stopping_signal().unwrap_or(0) }
}

/// Returns the number of the call at an entry stop; `None` at other stops.
pub(crate) fn entered_syscall(pid: Pid) -> io::Result<Option<u64>> {
    Ok(match syscall_stop(pid)? {
        SyscallStop::Entry(number, _) => Some(number),
        SyscallStop::Exit(_) | SyscallStop::Other => None,
    })
}

/// Position of a thread that has stopped.
pub(crate) enum SyscallStop {
    /// Entry of the call with this number and these arguments.
    Entry(u64, [u64; 6]),
    /// Exit with this result, an error as its negated number.
    Exit(i64),
    /// Any other stop.
    Other,
}

pub(crate) fn syscall_stop(pid: Pid) -> io::Result<SyscallStop> {
    let mut info = Info([0; 128]);
    let size = without_provenance_mut(size_of::<Info>());
    request(GET_SYSCALL_INFO, pid, size, (&raw mut info).cast())?;
    let word = |place: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&info.0[24 + 8 * place..][..8]);
        u64::from_ne_bytes(word)
    };
    Ok(match info.0[0] {
        ENTRY => SyscallStop::Entry(word(0), std::array::from_fn(|argument| word(1 + argument))),
        EXIT => SyscallStop::Exit(word(0).cast_signed()),
        _ => SyscallStop::Other,
    })
}

/// Makes one of the requests above. Of these only `GET_SYSCALL_INFO` makes the kernel write to our
/// memory: at `data`, at most `address` bytes.
pub(crate) fn request(
    request: u32,
    pid: Pid,
    address: *mut libc::c_void,
    data: *mut libc::c_void,
) -> io::Result<()> {
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: of the requests in this file only `GET_SYSCALL_INFO` makes the kernel write, and
    // `syscall_stop` passes an `Info` and its size; the remaining ones take numbers.
    let result = unsafe { libc::ptrace(request as _, pid, address, data) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn calls_between_the_marks_are_counted() {
        // A shell makes these calls only for the commands of the same names.
        let (umask, chdir) = (libc::SYS_umask as u64, libc::SYS_chdir as u64);
        let mut child = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let mut script = child.stdin.take().unwrap();
        let traced = count_syscalls(Pid::from_child(&child), umask, u64::MAX, || {
            script.write_all(b"cd /\numask 022\ncd /\ncd /tmp\nexit 3\n").unwrap();
            drop(script);
        });
        let _reaped_already = child.wait();
        match traced {
            Ok(calls) => assert_eq!(calls.get(&chdir), Some(&2), "{calls:?}"),
            Err(Errno::PERM) => println!("skipped: tracing is not permitted"),
            Err(errno) => panic!("{errno}"),
        }
    }
}
