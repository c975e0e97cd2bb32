//! The sender: sends by a transfer of `karez-transfer`, like the server.

use karez_lab_sys::{Usage, thread_usage};
use karez_sys::{
    MSG_ZEROCOPY, TlsCipher, TlsDirection, TlsKeys, TlsVersion, enable_zerocopy,
    next_zerocopy_completion, start_ktls,
};
use karez_transfer::{FileToSocket, Progress, Report, Settings, Via};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{set_tcp_congestion, socket_cookie};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::command::{number, size, text};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;

/// Datagrams between two reads of the error queue.
const PER_COMPLETION: u64 = 32;

#[derive(Default)]
pub(super) struct Sender {
    connection: Option<OwnedFd>,
    /// Congestion control of later connections; `None` for the default of the system.
    congestion: Option<String>,
    /// Size of the pipe of later transfers by splice; `None` for the default.
    pipe_size: Option<u32>,
}

impl Sender {
    /// Sets the options of later connections and transfers.
    pub(super) fn set_options(&mut self, command: &Value) -> Value {
        self.congestion = command["congestion"].as_str().map(str::to_owned);
        self.pipe_size = command["pipe_size"].as_u64().and_then(|size| u32::try_from(size).ok());
        Value::Null
    }

    /// Connects and replies with the socket's cookie.
    pub(super) fn connect(&mut self, command: &Value) -> Result<Value> {
        let to = text(command, "to")?;
        let connection: OwnedFd = match to.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).context("connect to", to)?.into(),
            None => TcpStream::connect(to).context("connect to", to)?.into(),
        };
        if let Some(name) = &self.congestion {
            set_tcp_congestion(&connection, name).context("set the congestion control", name)?;
        }
        let cookie = socket_cookie(&connection).context("get the cookie of", "a socket")?;
        self.connection = Some(connection);
        Ok(json!(cookie))
    }

    /// Sends a part of a file over the connection and closes it.
    pub(super) fn send_file(&mut self, command: &Value) -> Result<Value> {
        let connection = self.take_connection()?;
        let path = text(command, "file")?;
        let file = Arc::new(File::open(path).context("open", path)?);
        let via: Via = text(command, "via")?.parse().context("read", "a via")?;
        let chunk = command["chunk"].as_u64().and_then(|chunk| u32::try_from(chunk).ok());
        let settings = Settings::from(via).chunk(chunk);
        let settings = self.pipe_size.map_or(settings, |size| settings.pipe_size(size));
        let mut transfer = FileToSocket::new(file, 0..number(command, "bytes")?, settings);
        if command["kernel_tls"].as_bool() == Some(true) {
            start_kernel_tls(connection.as_fd(), TlsDirection::Tx)?;
        }
        let before = UsageSnapshot::now();
        let started = now();
        mark::begin();
        let outcome = run_transfer(&mut transfer, connection.as_fd());
        mark::end();
        let sent = now();
        let used = before.elapsed();
        shutdown(&connection, Shutdown::Write).context("shut down", "the connection")?;
        outcome?;
        let mut reply = report_to_json(transfer.report());
        reply["started"] = json!(started);
        reply["sent"] = json!(sent);
        reply["usage"] = used;
        Ok(reply)
    }

    /// Sends data that it copies once in user space before.
    pub(super) fn copy_in_user_space(&mut self, command: &Value) -> Result<Value> {
        let connection = self.take_connection()?;
        let (bytes, chunk) = (size(command, "bytes")?, size(command, "chunk")?);
        let (original, mut copy) = (vec![7; chunk], vec![0; chunk]);
        let (mut left, mut copied) = (bytes, 0);
        mark::begin();
        while left > 0 {
            let count = left.min(chunk);
            copy[..count].copy_from_slice(&original[..count]);
            copied += count;
            send_all(connection.as_fd(), &copy[..count])?;
            left -= count;
        }
        mark::end();
        shutdown(&connection, Shutdown::Write).context("shut down", "the connection")?;
        Ok(json!({ "copied": copied }))
    }

    pub(super) fn take_connection(&mut self) -> Result<OwnedFd> {
        self.connection.take().ok_or_else(|| Error::new("send", "", "not connected"))
    }
}

/// Has the kernel seal or open the records of a connection, with keys for this purpose only.
pub(super) fn start_kernel_tls(socket: BorrowedFd<'_>, direction: TlsDirection) -> Result<()> {
    let keys = TlsKeys::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm, &[7; 16], [9; 12], 0);
    let keys = keys.ok_or_else(|| Error::new("make", "the keys", "wrong length"))?;
    start_ktls(socket, direction, &keys).context("start", "kernel TLS")
}

/// Reads a part of a file into memory, and replies with the CPU time, too.
pub(super) fn read_file(command: &Value) -> Result<Value> {
    let path = text(command, "file")?;
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECT, command["direct"].as_bool() == Some(true));
    let file = rustix::fs::open(path, flags, Mode::empty()).context("open", path)?;
    let (bytes, chunk) = (number(command, "bytes")?, size(command, "chunk")?);
    // `O_DIRECT` needs page-aligned memory. All of it is touched, so that no page fault occurs
    // later.
    let mut memory = vec![1; chunk + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[start..start + chunk];
    let mut total = 0;
    let before = UsageSnapshot::now();
    mark::begin();
    while total < bytes {
        match rustix::io::read(&file, &mut *buffer).context("read", path)? {
            0 => break,
            count => total += count as u64,
        }
    }
    mark::end();
    Ok(json!({ "bytes": total, "usage": before.elapsed() }))
}

/// Writes to a pipe and reads the data back.
pub(super) fn pipe(command: &Value) -> Result<Value> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("open", "a pipe")?;
    let (bytes, chunk) = (number(command, "bytes")?, size(command, "chunk")?);
    let _best_effort = rustix::pipe::fcntl_setpipe_size(&write, chunk);
    let (written, mut taken) = (vec![3; chunk], vec![1; chunk]);
    let (mut into, mut out) = (0, 0);
    mark::begin();
    while out < bytes {
        let count = rustix::io::write(&write, &written).context("write into", "a pipe")?;
        into += count as u64;
        while out < into {
            out += rustix::io::read(&read, &mut taken).context("read from", "a pipe")? as u64;
        }
    }
    mark::end();
    Ok(json!({ "in": into, "out": out }))
}

/// Sends datagrams, by default with `MSG_ZEROCOPY`, and replies with the number that the kernel
/// copied and with the CPU time.
pub(super) fn send_datagrams(command: &Value) -> Result<Value> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("open", "a socket")?;
    let to = text(command, "to")?;
    socket.connect(to).context("connect to", to)?;
    enable_zerocopy(socket.as_fd()).context("allow", "MSG_ZEROCOPY")?;
    let bytes = vec![5; size(command, "bytes")?];
    let by_reference = command["zerocopy"].as_bool() != Some(false);
    let flags = if by_reference { MSG_ZEROCOPY } else { SendFlags::empty() };
    let (count, mut released, mut copied) = (number(command, "count")?, 0, 0);
    let before = UsageSnapshot::now();
    for sent in 1..=count {
        send(&socket, &bytes, flags).context("send to", to)?;
        if !by_reference || (sent % PER_COMPLETION != 0 && sent != count) {
            continue;
        }
        while released < sent {
            let Some(one) =
                next_zerocopy_completion(socket.as_fd()).context("read", "the error queue")?
            else {
                break;
            };
            released += u64::from(one.sends());
            copied += if one.copied { u64::from(one.sends()) } else { 0 };
        }
    }
    let used = before.elapsed();
    Ok(json!({ "sent": count, "released": released, "copied": copied, "usage": used }))
}

/// Steps a transfer to its end. The socket is blocking, so it only has to wait for zero-copy
/// completions.
fn run_transfer(transfer: &mut FileToSocket, out: BorrowedFd<'_>) -> Result<()> {
    loop {
        match transfer.step(out).context("move", "bytes")? {
            Progress::Moved(_) => {}
            Progress::Done => return Ok(()),
            Progress::NeedsZerocopyCompletion => {
                let waiting = &mut [PollFd::new(&out, PollFlags::empty())];
                poll(waiting, None).context("wait for", "the error queue")?;
            }
            other => return Err(Error::new("move", "bytes", format_args!("{other:?}"))),
        }
    }
}

pub(super) fn send_all(out: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[send(out, bytes, SendFlags::empty()).context("send", "bytes")?..];
    }
    Ok(())
}

/// Encodes a transfer report.
fn report_to_json(report: &Report) -> Value {
    let calls: Map<_, _> =
        report.calls.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let fallback = |one: &karez_transfer::Fallback| json!({ "from": one.from.name(), "errno": one.reason.to_string() });
    let fallbacks: Vec<_> = report.fallbacks.iter().map(fallback).collect();
    json!({
        "ran": report.effective.name(),
        "bytes": report.bytes,
        "calls": calls,
        "fallbacks": fallbacks,
        "zerocopy": {
            "sends": report.zerocopy.sends,
            "released": report.zerocopy.released,
            "copied": report.zerocopy.copied,
        },
        "pages_copied": report.pages_copied,
    })
}

/// Resource usage of this thread at some time.
pub(super) struct UsageSnapshot {
    usage: Usage,
    cpu: u64,
}

impl UsageSnapshot {
    pub(super) fn now() -> Self {
        Self { usage: thread_usage(), cpu: clock(ClockId::ThreadCPUTime) }
    }

    /// Returns the usage since then. The clock is exact, while getrusage may lag by a tick.
    pub(super) fn elapsed(&self) -> Value {
        let cpu = clock(ClockId::ThreadCPUTime).saturating_sub(self.cpu);
        let usage = thread_usage().since(&self.usage);
        json!({
            "cpu": cpu,
            "minor_faults": usage.minor_faults,
            "major_faults": usage.major_faults,
            "voluntary": usage.voluntary,
            "involuntary": usage.involuntary,
        })
    }
}

/// Returns the nanoseconds of the clock that all processes share.
pub(super) fn now() -> u64 {
    clock(ClockId::Monotonic)
}

pub(super) fn clock(which: ClockId) -> u64 {
    let time = clock_gettime(which);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
