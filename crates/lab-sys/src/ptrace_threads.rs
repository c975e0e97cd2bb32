//! All threads of another process, stopped at each of their system calls: ptrace(2) with
//! `PTRACE_SEIZE` (Linux 3.4) and `PTRACE_O_TRACECLONE` (2.5.46), as strace(1) does it with `-f`.
//!
//! The main thread says when: what the others enter between two calls of its own is counted. So
//! whoever gives orders to a process by its main thread sees what the rest does about them.
//!
//! What it does badly: as with one thread (`ptrace.rs`), and more so: all threads wait for one
//! tracer, so what would happen at the same time happens one after the other.

use rustix::io::{self, Errno};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ptr::{null_mut, without_provenance_mut};

use crate::ptrace::{
    DETACH, INTERRUPT, SEIZE, SYSCALL, SYSCALL_STOP, entered_syscall, request, signal,
};

/// The system calls that all threads of the child `pid` but its main one enter between the call
/// numbered `begin` and the one numbered `end`, both of the main thread: how many by number.
///
/// `attached` is called once every thread is seized. Waits until the end has come, or the child has
/// ended. Only tracees of the calling thread are waited for, so it should trace nothing else.
///
/// # Errors
/// `EPERM` where tracing is not permitted or another traces it, `ESRCH` for no such process; `EIO`
/// before Linux 5.3.
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

/// The threads that this one traces.
pub(crate) struct Tracees {
    all: HashSet<Pid>,
}

impl Tracees {
    /// Seizes every thread and those that they make, and has each stop once.
    pub(crate) fn seize(pid: Pid) -> io::Result<Self> {
        let options = (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE).cast_unsigned();
        let (mut seized, mut skipped) = (HashSet::new(), HashSet::new());
        // Until nobody is new: what a thread makes before it is seized is not followed.
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
                    // It has ended meanwhile, its maker was seized in time, or it is one of those
                    // that the kernel makes for io_uring.
                    Err(Errno::SRCH | Errno::PERM) if thread != pid => _ = skipped.insert(thread),
                    Err(errno) => return Err(errno),
                }
            }
        }
    }

    /// The next that stops, and the signal for it; no signal for one that has ended. `None` once
    /// there is no main thread any more.
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

    /// Lets one run to its next system call. One that was killed meanwhile tells so by itself.
    pub(crate) fn resume(thread: Pid, signal: i32) -> io::Result<()> {
        let data = without_provenance_mut(signal_to_deliver(signal));
        match request(SYSCALL, thread, null_mut(), data) {
            Err(Errno::SRCH) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) fn detach(&mut self, thread: Pid, signal: i32) {
        // One that has ended needs nothing.
        let _gone =
            request(DETACH, thread, null_mut(), without_provenance_mut(signal_to_deliver(signal)));
        self.all.remove(&thread);
    }

    /// Only who has stopped can be let go.
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

/// The signal to hand on: a stop at a call is none.
fn signal_to_deliver(signal: i32) -> usize {
    if signal == SYSCALL_STOP { 0 } else { usize::try_from(signal).unwrap_or(0) }
}

/// As [`entered_syscall`]; nothing for one that was killed while it stood there.
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

    /// A main thread that changes the mask of files at each line it reads, and another that changes
    /// its directory, which it has begun to when the line is answered.
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
