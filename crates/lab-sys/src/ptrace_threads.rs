//! System calls of all threads of another process: ptrace(2) with `PTRACE_SEIZE` (Linux 3.4) and
//! `PTRACE_O_TRACECLONE` (2.5.46), like strace(1) with `-f`.
//!
//! The main thread marks begin and end: calls of the other threads are counted between two calls of
//! the main thread. A process that receives commands on its main thread can thus be measured
//! command by command.
//!
//! # Limitations
//! Those of `ptrace.rs`. In addition all threads wait for a single tracer, which serialises them.

use rustix::io::{self, Errno};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ptr::{null_mut, without_provenance_mut};

use crate::ptrace::{
    DETACH, INTERRUPT, SEIZE, SYSCALL, SYSCALL_STOP, entered_syscall, request, signal,
};

/// Counts the system calls, by number, that all threads of the child `pid` except its main thread
/// enter between the calls `begin` and `end` of the main thread.
///
/// Calls `attached` once every thread is seized. Blocks until the call `end` or the end of the
/// child. Waits for all tracees of the calling thread, which should trace nothing else.
///
/// # Errors
/// `EPERM` if tracing is not permitted or another process traces it, `ESRCH` for no such process;
/// `EIO` before Linux 5.3.
pub fn count_thread_syscalls(
    pid: Pid,
    begin: u64,
    end: u64,
    attached: impl FnOnce(),
) -> io::Result<BTreeMap<u64, u64>> {
    let mut tracees = Tracees::seize(pid)?;
    let mut not_yet_stopped = tracees.all.clone();
    let (mut attached, mut counting) = (Some(attached), false);
    let mut calls = BTreeMap::new();
    while let Some((thread, stopped)) = tracees.wait(pid)? {
        not_yet_stopped.remove(&thread);
        if stopped == Some(SYSCALL_STOP)
            && let Some(number) = entered_if_alive(thread)?
        {
            if thread == pid && number == end {
                tracees.detach(thread, 0);
                break;
            }
            if counting && thread != pid {
                *calls.entry(number).or_default() += 1;
            }
            counting |= thread == pid && number == begin;
        }
        if let Some(signal) = stopped {
            Tracees::resume(thread, signal)?;
        }
        if not_yet_stopped.is_empty()
            && let Some(attached) = attached.take()
        {
            attached();
        }
    }
    tracees.detach_all(pid)?;
    Ok(calls)
}

/// Threads traced by the calling thread.
pub(crate) struct Tracees {
    all: HashSet<Pid>,
}

impl Tracees {
    /// Seizes and stops every thread, and threads that they create later.
    pub(crate) fn seize(pid: Pid) -> io::Result<Self> {
        let options = (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE).cast_unsigned();
        let (mut seized, mut skipped) = (HashSet::new(), HashSet::new());
        // Repeats until there are no new threads: threads created before their parent was seized
        // are not followed automatically.
        loop {
            let known = |thread: &Pid| seized.contains(thread) || skipped.contains(thread);
            let new: Vec<_> = threads(pid)?.into_iter().filter(|thread| !known(thread)).collect();
            if new.is_empty() {
                return Ok(Self { all: seized });
            }
            for thread in new {
                let options = without_provenance_mut(options as usize);
                let outcome = request(SEIZE, thread, null_mut(), options)
                    .and_then(|()| request(INTERRUPT, thread, null_mut(), null_mut()));
                match outcome {
                    Ok(()) => _ = seized.insert(thread),
                    // The thread has ended, it was already seized through its parent, or it is an
                    // io_uring thread of the kernel.
                    Err(Errno::SRCH | Errno::PERM) if thread != pid => _ = skipped.insert(thread),
                    Err(errno) => return Err(errno),
                }
            }
        }
    }

    /// Waits for the next stop and returns the thread and its signal; no signal for a thread that
    /// has ended. Returns `None` once the main thread has ended.
    pub(crate) fn wait(&mut self, pid: Pid) -> io::Result<Option<(Pid, Option<i32>)>> {
        let options = (libc::__WALL | libc::__WNOTHREAD).cast_unsigned();
        loop {
            match waitpid(None, WaitOptions::from_bits_retain(options)) {
                Ok(Some((thread, status))) if status.stopped() => {
                    self.all.insert(thread);
                    return Ok(Some((thread, Some(signal(status)))));
                }
                Ok(Some((thread, _))) => {
                    self.all.remove(&thread);
                    return Ok((thread != pid).then_some((thread, None)));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(Errno::CHILD) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Resumes a thread until its next system call. A thread that was killed reports its end
    /// separately.
    pub(crate) fn resume(thread: Pid, signal: i32) -> io::Result<()> {
        let data = without_provenance_mut(signal_to_deliver(signal));
        match request(SYSCALL, thread, null_mut(), data) {
            Err(Errno::SRCH) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) fn detach(&mut self, thread: Pid, signal: i32) {
        // A thread that has ended needs no detach.
        let _gone =
            request(DETACH, thread, null_mut(), without_provenance_mut(signal_to_deliver(signal)));
        self.all.remove(&thread);
    }

    /// Detaches all threads; only a stopped thread can be detached.
    pub(crate) fn detach_all(&mut self, pid: Pid) -> io::Result<()> {
        for &thread in &self.all {
            let _gone = request(INTERRUPT, thread, null_mut(), null_mut());
        }
        while !self.all.is_empty() {
            let Some((thread, stopped)) = self.wait(pid)? else { break };
            if let Some(signal) = stopped {
                self.detach(thread, signal);
            }
        }
        Ok(())
    }
}

/// Returns the signal to deliver on resume; a system call stop delivers none.
fn signal_to_deliver(signal: i32) -> usize {
    if signal == SYSCALL_STOP { 0 } else { usize::try_from(signal).unwrap_or(0) }
}

/// Like [`entered_syscall`], but returns `None` for a thread that was killed at the stop.
fn entered_if_alive(thread: Pid) -> io::Result<Option<u64>> {
    match entered_syscall(thread) {
        Err(Errno::SRCH) => Ok(None),
        outcome => outcome,
    }
}

fn threads(pid: Pid) -> io::Result<Vec<Pid>> {
    let directory = format!("/proc/{}/task", pid.as_raw_nonzero());
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let entries = fs::read_dir(directory).map_err(errno)?;
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let numbers = entries.filter_map(|entry| entry.ok().and_then(number));
    Ok(numbers.filter_map(Pid::from_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;

    /// A main thread that calls umask(2) or getppid(2) on command, and a second thread that calls
    /// chdir(2), which has happened when the command is answered.
    const SCRIPT: &str = "
import os, sys, threading
commands, done = threading.Semaphore(0), threading.Semaphore(0)
def other():
    while True:
        commands.acquire()
        os.chdir('/')
        os.chdir('/')
        done.release()
threading.Thread(target=other, daemon=True).start()
for line in sys.stdin:
    if line == 'begin\\n': os.umask(0o22)
    if line == 'end\\n': os.getppid()
    if line == 'work\\n':
        os.chdir('/')
        commands.release()
        done.acquire()
    print('done', flush=True)
";

    #[test]
    fn calls_of_other_threads_are_counted_and_the_process_survives() {
        let mut command = Command::new("python3");
        command.arg("-c").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            return println!("skipped: no python3");
        };
        let (mut commands, replies) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut replies = BufReader::new(replies);
        let mut send = |command: &str| {
            writeln!(commands, "{command}").unwrap();
            replies.read_line(&mut String::new()).unwrap();
        };
        send("work");
        let (pid, (attached, is_attached)) = (Pid::from_child(&child), channel());
        let numbers = (libc::SYS_umask as u64, libc::SYS_getppid as u64);
        let traced = std::thread::scope(|scope| {
            let trace = move || {
                count_thread_syscalls(pid, numbers.0, numbers.1, || attached.send(()).unwrap())
            };
            let tracer = scope.spawn(trace);
            if is_attached.recv().is_ok() {
                for command in ["work", "begin", "work", "work", "end"] {
                    send(command);
                }
            }
            tracer.join().unwrap()
        });
        match traced {
            Ok(calls) => assert_eq!(calls.get(&(libc::SYS_chdir as u64)), Some(&4), "{calls:?}"),
            Err(Errno::PERM) => println!("skipped: tracing is not permitted"),
            Err(errno) => panic!("{errno}"),
        }
        send("work");
        drop(commands);
        assert!(child.wait().unwrap().success());
    }
}
