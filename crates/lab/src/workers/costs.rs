//! Direct costs in the kernel, measured by CPU time: a context switch, a page fault; and the segments
//! of an answer that is sent in two parts.
//!
//! # Limitations
//! A context switch is one between two threads of a process on one core: page tables stay, and the
//! caches stay warm. A page fault is the first write to a page of private memory, which the kernel
//! clears.

use rustix::net::sockopt::set_tcp_cork;
use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::disable_transparent_huge_pages;
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use super::command::{number, size, text};
use super::sender::clock;
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;
use karez_lab_sys::{data_segments_sent, process_usage, thread_usage};

/// Size of a page in bytes: the smallest on Linux. Larger pages have fewer faults, which are counted.
const PAGE: usize = 4096;

/// A response that is sent in two parts.
const HEAD: [u8; 200] = [1; 200];
const BODY: [u8; 1000] = [2; 1000];

/// Passes a byte to and fro between two threads on the core of the worker, and replies with the CPU
/// time of all rounds, that of the same calls by one thread, and the number of context switches.
pub(super) fn switch_threads(command: &Value) -> Result<Value> {
    let rounds = number(command, "rounds")?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("open", "a pipe");
    let (there, back) = (pipe()?, pipe()?);
    let alone = clock(ClockId::ProcessCPUTime);
    for _ in 0..rounds {
        pass(&there.1, &there.0)?;
        pass(&back.1, &back.0)?;
    }
    let alone = clock(ClockId::ProcessCPUTime) - alone;
    let (before, usage) = (clock(ClockId::ProcessCPUTime), process_usage());
    thread::scope(|scope| {
        let other =
            scope.spawn(|| (0..rounds).try_for_each(|_| receive_and_send(&there.0, &back.1)));
        let own = (0..rounds).try_for_each(|_| pass(&there.1, &back.0));
        let other = other.join().map_err(|_| Error::new("run", "a thread", "it has panicked"))?;
        own.and(other)
    })?;
    let both = clock(ClockId::ProcessCPUTime) - before;
    // The woken thread may preempt the other, which has not yet blocked.
    let used = process_usage().since(&usage);
    let switches = used.voluntary + used.involuntary;
    Ok(json!({ "alone": alone, "both": both, "switches": switches }))
}

/// Writes a byte to one pipe and reads a byte from another.
fn pass(to: &OwnedFd, from: &OwnedFd) -> Result<()> {
    rustix::io::write(to, &[1]).context("write into", "a pipe")?;
    rustix::io::read(from, &mut [0]).map(drop).context("read from", "a pipe")
}

fn receive_and_send(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    rustix::io::read(from, &mut [0]).context("read from", "a pipe")?;
    rustix::io::write(to, &[1]).map(drop).context("write into", "a pipe")
}

/// Writes to each page of new memory twice, and replies with the page faults and the CPU time of both
/// passes.
pub(super) fn touch_pages(command: &Value) -> Result<Value> {
    // A huge page would take one fault for 2 MiB. If this fails, the number of faults shows it.
    let _best_effort = disable_transparent_huge_pages(true);
    let pages = size(command, "pages")?;
    // The C library maps memory of this size anew, filled with zeros by the kernel.
    let mut memory = vec![0_u8; pages * PAGE];
    let before = thread_usage().minor_faults;
    let first = touch(&mut memory);
    let faults = thread_usage().minor_faults - before;
    let second = touch(&mut memory);
    Ok(json!({ "faults": faults, "first": first, "second": second }))
}

/// Writes to each page and returns the nanoseconds of CPU time.
fn touch(memory: &mut [u8]) -> u64 {
    let before = clock(ClockId::ThreadCPUTime);
    for page in memory.chunks_mut(PAGE) {
        // A read before the write would be a fault of its own.
        page[0] = 1;
    }
    black_box(memory);
    clock(ClockId::ThreadCPUTime) - before
}

/// Sends head and body of a response over a new connection without Nagle's algorithm, and replies with
/// the number of segments. Only the calls that send are between the marks.
pub(super) fn send_two_parts(command: &Value) -> Result<Value> {
    let by = text(command, "by")?;
    let listener = TcpListener::bind("127.0.0.1:0").context("listen at", "127.0.0.1")?;
    let address = listener.local_addr().context("get the address of", "a socket")?;
    let connection = TcpStream::connect(address).context("connect to", address)?;
    let _peer = listener.accept().context("accept", "tcp")?;
    connection.set_nodelay(true).context("set", "TCP_NODELAY")?;
    let more = if by == "MSG_MORE" { SendFlags::MORE } else { SendFlags::empty() };
    mark::begin();
    let outcome = two_parts(&connection, by == "TCP_CORK", more);
    mark::end();
    outcome.context("send", "a response")?;
    let segments = data_segments_sent(connection.as_fd());
    Ok(json!({ "segments": segments.context("count", "segments")? }))
}

fn two_parts(connection: &TcpStream, corked: bool, more: SendFlags) -> rustix::io::Result<()> {
    if corked {
        set_tcp_cork(connection, true)?;
    }
    send(connection, &HEAD, more)?;
    send(connection, &BODY, SendFlags::empty())?;
    if corked { set_tcp_cork(connection, false) } else { Ok(()) }
}
