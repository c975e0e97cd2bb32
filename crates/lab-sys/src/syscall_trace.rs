//! Timed trace of all system calls of another process: entry and exit time, arguments and result of
//! each call of each thread. ptrace(2) with `PTRACE_SEIZE` (Linux 3.4), `PTRACE_O_TRACECLONE`
//! (2.5.46) and `PTRACE_GET_SYSCALL_INFO` (5.3), like strace(1) with `-f`.
//!
//! # Limitations
//! Each call takes two stops and four context switches, so the process runs many times slower. A
//! wait that the attach interrupts returns `EINTR`. Kernel threads of io_uring cannot be traced,
//! and Yama or a sandbox may forbid tracing.

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use crate::ptrace::{SYSCALL_STOP, SyscallStop, syscall_stop};
use crate::ptrace_threads::Tracees;

/// A system call of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedSyscall {
    /// The thread.
    pub thread: Pid,
    /// Entry time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub entered: u64,
    /// Exit time and result, an error as its negated number; `None` if the call had not returned
    /// when tracing ended.
    pub exit: Option<(u64, i64)>,
    /// The number of the system call.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Returns the system calls of all threads of the child `pid` while `during` runs, in the order of
/// entry. Tracing ends when one of the threads enters the call numbered `end`, which `during` has
/// to cause, or when all threads have ended.
///
/// # Errors
/// `EPERM` if tracing is not permitted or another process traces it, `ESRCH` for no such process;
/// `EIO` before Linux 5.3.
pub fn trace_syscalls(
    pid: Pid,
    end: u64,
    during: impl FnOnce(),
) -> std::io::Result<Vec<TracedSyscall>> {
    thread::scope(|scope| {
        let (seized, is_seized) = mpsc::channel();
        // Its tracees are detached automatically when this thread ends.
        let tracer = thread::Builder::new().spawn_scoped(scope, move || {
            let mut tracees = Tracees::seize(pid)?;
            let _receiver_gone = seized.send(());
            follow(&mut tracees, pid, end)
        })?;
        if is_seized.recv().is_ok() {
            during();
        }
        tracer.join().unwrap_or(Err(Errno::CANCELED.into()))
    })
}

fn follow(tracees: &mut Tracees, pid: Pid, end: u64) -> std::io::Result<Vec<TracedSyscall>> {
    let mut done = Vec::new();
    let mut open = BTreeMap::new();
    while let Some((thread, stopped)) = tracees.wait(pid)? {
        let time = now();
        let Some(signal) = stopped else { continue };
        if signal == SYSCALL_STOP {
            match syscall_stop(thread) {
                Ok(SyscallStop::Entry(number, _)) if number == end => {
                    tracees.detach(thread, 0);
                    break;
                }
                Ok(SyscallStop::Entry(number, arguments)) => {
                    let call =
                        TracedSyscall { thread, entered: time, exit: None, number, arguments };
                    open.insert(thread.as_raw_nonzero(), call);
                }
                Ok(SyscallStop::Exit(result)) => {
                    let call = open.remove(&thread.as_raw_nonzero());
                    let exit = Some((time, result));
                    done.extend(call.map(|call| TracedSyscall { exit, ..call }));
                }
                Ok(SyscallStop::Other) | Err(Errno::SRCH) => {} // or it was killed
                Err(errno) => return Err(errno.into()),
            }
        }
        Tracees::resume(thread, signal)?;
    }
    tracees.detach_all(pid)?;
    done.extend(open.into_values());
    done.sort_by_key(|call| call.entered);
    Ok(done)
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn traced_calls_are_ordered_and_have_results() {
        let (umask, chdir) = (libc::SYS_umask as u64, libc::SYS_chdir as u64);
        let mut child = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let mut script = child.stdin.take().unwrap();
        let traced = trace_syscalls(Pid::from_child(&child), umask, || {
            script.write_all(b"cd /\ncd /tmp\numask 022\ncd /\n").unwrap();
        });
        drop(script);
        child.wait().unwrap();
        let calls = match traced {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return println!("skipped: tracing is not permitted");
            }
            traced => traced.unwrap(),
        };
        let moves: Vec<_> = calls.iter().filter(|call| call.number == chdir).collect();
        assert_eq!(moves.len(), 2, "{calls:?}");
        for call in moves {
            let (ended, result) = call.exit.unwrap();
            assert!(ended > call.entered);
            assert_eq!(result, 0);
            assert_ne!(call.arguments[0], 0, "a path");
        }
        assert!(calls.is_sorted_by_key(|call| call.entered));
    }
}
