//! Blocks of a file in random order, by pread or by a ring, and datagrams by a ring.
//!
//! # Limitations
//! The CPU time is that of the process, which includes a kernel thread that submits for the ring.

use karez_lab_sys::{BenchRing, BenchRingOptions, RingSend};
use rustix::fs::{Advice, Mode, OFlags, fadvise};
use rustix::io::pread;
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, OwnedFd};

use super::cold_file::ColdFile;
use super::command::{number, size, text};
use super::sender::{clock, now};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;
use crate::rng::Rng;

/// Reads each block of a file once, in random order, and replies with the CPU time and the time.
pub(super) fn read_blocks(command: &Value) -> Result<Value> {
    let (path, bytes, block) =
        (text(command, "file")?, number(command, "bytes")?, size(command, "block")?);
    let is = |name: &str| command[name].as_bool() == Some(true);
    if is("cold") && !ColdFile::open(path, bytes)?.evict() {
        return Err(Error::new("evict", path, "pages stay in memory"));
    }
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECT, is("direct"));
    let file = rustix::fs::open(path, flags, Mode::empty()).context("open", path)?;
    // Readahead would read blocks before they are asked for.
    fadvise(&file, 0, None, Advice::Random).context("advise on", path)?;
    let count = usize::try_from(bytes).context("read", "a size")? / block.max(1);
    let mut order: Vec<_> = (0..count).collect();
    Rng::from_seed(number(command, "seed")?).shuffle(&mut order);
    let offsets: Vec<_> = order.into_iter().map(|at| (at * block) as u64).collect();
    if text(command, "by")? == "pread" {
        let mut buffer = vec![1; block];
        return measured(|| {
            for &offset in &offsets {
                pread(&file, &mut buffer, offset).context("read", path)?;
            }
            Ok(())
        });
    }
    let options = BenchRingOptions {
        registered_memory: is("registered_memory"),
        registered_file: is("registered_file"),
        sqpoll: is("sqpoll"),
    };
    let mut ring = ring(&file, command, block, options)?;
    measured(|| ring.read(&offsets).context("read", path))
}

/// Sends datagrams by a ring and replies with the CPU time.
pub(super) fn ring_datagrams(command: &Value) -> Result<Value> {
    let receiver = UdpSocket::bind("127.0.0.1:0").context("open", "a socket")?;
    let socket: OwnedFd = UdpSocket::bind("0.0.0.0:0").context("open", "a socket")?.into();
    // Over loopback, a socket takes as many datagrams as it has room for, and drops the others.
    let own = receiver.local_addr().context("get the address of", "a socket")?;
    let to = command["to"].as_str().map_or(Ok(own), str::parse).context("read", "an address")?;
    rustix::net::connect(&socket, &to).context("connect to", to)?;
    let registered_memory = command["registered_memory"].as_bool() == Some(true);
    let options = BenchRingOptions { registered_memory, ..BenchRingOptions::default() };
    let (block, count) = (size(command, "bytes")?, size(command, "count")?);
    let by = match text(command, "by")? {
        "copy" => RingSend::Copy,
        _ => RingSend::Zerocopy,
    };
    let mut ring = ring(&socket, command, block, options)?;
    measured(|| ring.send(count, by).context("send to", to))
}

fn ring<'a>(
    on: &'a OwnedFd,
    command: &Value,
    block: usize,
    options: BenchRingOptions,
) -> Result<BenchRing<'a>> {
    let depth = u32::try_from(number(command, "depth")?).context("read", "a depth")?;
    BenchRing::new(on.as_fd(), depth, block, options).context("make", "a ring")
}

fn measured(run: impl FnOnce() -> Result<()>) -> Result<Value> {
    let (cpu, started) = (clock(ClockId::ProcessCPUTime), now());
    mark::begin();
    let outcome = run();
    mark::end();
    let (nanoseconds, cpu) = (now() - started, clock(ClockId::ProcessCPUTime) - cpu);
    outcome?;
    Ok(json!({ "cpu": cpu, "nanoseconds": nanoseconds }))
}
