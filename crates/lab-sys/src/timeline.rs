//! Another process in time: each system call of each of its threads, when it began and ended, what
//! was asked and answered. ptrace(2) with `PTRACE_SEIZE` (Linux 3.4), `PTRACE_O_TRACECLONE` (2.5.46)
//! and `PTRACE_GET_SYSCALL_INFO` (5.3), as strace(1) does it with `-f`.
//!
//! What it does badly: two stops and four switches a call, so everything takes many times as long as
//! it would; a wait that is interrupted to begin with says so (`EINTR`) to whoever made it; threads
//! that the kernel made for io_uring cannot be traced; and Yama or a sandbox may refuse.

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use crate::tracee::{AT_CALL, Stop, stop};
use crate::tracees::Tracees;

/// A system call of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedCall {
    /// Which thread.
    pub thread: Pid,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub begun: u64,
    /// When it ended and what it answered, an error as its number below 0; `None` if it still was
    /// in it at the end.
    pub answer: Option<(u64, i64)>,
    /// Its number.
    pub number: u64,
    /// What it was asked.
    pub arguments: [u64; 6],
}

/// The system calls of all threads of the child `pid` while `during` runs, in the order in which
/// they began. It is followed until one of its threads enters the call numbered `end`, which
/// `during` has to bring about; or until all have ended.
///
/// # Errors
/// `EPERM` where tracing is not permitted or another traces it, `ESRCH` for no such process; `EIO`
/// before Linux 5.3.
pub fn calls_in_time(pid: Pid, end: u64, during: impl FnOnce()) -> std::io::Result<Vec<TimedCall>> {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        // What it traces goes on by itself when this thread ends.
        let tracer = thread::Builder::new().spawn_scoped(scope, move || {
            let mut tracees = Tracees::seize(pid)?;
            let _nobody_waits = tell.send(());
            follow(&mut tracees, pid, end)
        })?;
        if told.recv().is_ok() {
            during();
        }
        tracer.join().unwrap_or(Err(Errno::CANCELED.into()))
    })
}

fn follow(tracees: &mut Tracees, pid: Pid, end: u64) -> std::io::Result<Vec<TimedCall>> {
    let mut done = Vec::new();
    let mut open = BTreeMap::new();
    while let Some((thread, stopped)) = tracees.wait(pid)? {
        let time = now();
        let Some(signal) = stopped else { continue };
        if signal == AT_CALL {
            match stop(thread) {
                Ok(Stop::Entry(number, _)) if number == end => {
                    tracees.release(thread, 0);
                    break;
                }
                Ok(Stop::Entry(number, arguments)) => {
                    let call = TimedCall { thread, begun: time, answer: None, number, arguments };
                    open.insert(thread.as_raw_nonzero(), call);
                }
                Ok(Stop::Exit(result)) => {
                    let call = open.remove(&thread.as_raw_nonzero());
                    let answer = Some((time, result));
                    done.extend(call.map(|call| TimedCall { answer, ..call }));
                }
                Ok(Stop::Other) | Err(Errno::SRCH) => {} // or it was killed
                Err(errno) => return Err(errno.into()),
            }
        }
        Tracees::go_on(thread, signal)?;
    }
    tracees.release_all(pid)?;
    done.extend(open.into_values());
    done.sort_by_key(|call| call.begun);
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
    fn the_calls_of_a_child_have_their_order_and_their_answers() {
        let (umask, chdir) = (libc::SYS_umask as u64, libc::SYS_chdir as u64);
        let mut child = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let mut script = child.stdin.take().unwrap();
        let traced = calls_in_time(Pid::from_child(&child), umask, || {
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
            let (ended, result) = call.answer.unwrap();
            assert!(ended > call.begun);
            assert_eq!(result, 0);
            assert_ne!(call.arguments[0], 0, "a path");
        }
        assert!(calls.is_sorted_by_key(|call| call.begun));
    }
}
