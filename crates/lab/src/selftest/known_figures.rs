//! Checks with known figures: they move a known number of bytes by a method with known effects.

use karez_transfer::Via;
use serde_json::json;

use super::bench::{SelfTestBench, expect};
use super::check::{CheckOutcome, CheckedFigure, ExperimentError};
use super::counter::Counter;
use super::definition::CheckDefinition;
use crate::language::msg;
use crate::probe::Scope;
use crate::test_file::CacheState;
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};

/// Number and size of datagrams.
const DATAGRAMS: u64 = 1024;
const DATAGRAM: u64 = 1400;

pub(super) const CHECKS: &[CheckDefinition] = &[
    CheckDefinition {
        letter: 'a',
        name: msg!("an idle network and a process that sleeps"),
        validates: &[Counter::Calls],
        body: idle,
    },
    CheckDefinition {
        letter: 'b',
        name: msg!("read of a warm file"),
        validates: &[Counter::FileToUser, Counter::Calls],
        body: read,
    },
    CheckDefinition {
        letter: 'c',
        name: msg!("into a pipe and out of it"),
        validates: &[Counter::Pipe, Counter::Calls],
        body: pipe,
    },
    CheckDefinition {
        letter: 'd',
        name: msg!("copy over lo"),
        validates: &[Counter::Kernel, Counter::Receiver, Counter::Calls],
        body: copy,
    },
    CheckDefinition {
        letter: 'e',
        name: msg!("sendfile over lo and unix"),
        validates: &[Counter::PageCache, Counter::Kernel, Counter::Calls],
        body: sendfile,
    },
    CheckDefinition {
        letter: 'f',
        name: msg!("sendfile over a veth without scatter-gather (control)"),
        validates: &[Counter::Linear],
        body: without_scatter_gather,
    },
    CheckDefinition {
        letter: 'g',
        name: msg!("MSG_ZEROCOPY over lo, and to a dummy device"),
        validates: &[Counter::Notifications],
        body: notifications,
    },
    CheckDefinition {
        letter: 'h',
        name: msg!("O_DIRECT read of a cold file"),
        validates: &[Counter::Disk],
        body: direct,
    },
    CheckDefinition {
        letter: 'i',
        name: msg!("receive modes that do not copy"),
        validates: &[Counter::Receiver],
        body: without_copy,
    },
    CheckDefinition {
        letter: 'l',
        name: msg!("a copy in user space, invisible to the kernel"),
        validates: &[Counter::Kernel],
        body: in_user_space,
    },
];

fn idle(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    let mut worker = bench.worker()?;
    let network = worker.request(&json!({ "command": "enter-network" }));
    let network = network.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
    let inode = network.as_u64().and_then(|inode| u32::try_from(inode).ok()).unwrap_or(0);
    let scope = Scope::default().process(worker.pid()).network(inode).file(bench.test_file.id()?);
    let command = json!({ "command": "sleep", "milliseconds": bench.plan.idle_milliseconds() });
    let (_, counts) = bench.worker_command(&mut worker, &scope, &command)?;
    let own =
        counts.processes.first().ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
    expect(figures, msg!("packets"), 0, counts.wire.packets + counts.local.packets);
    expect(figures, msg!("bytes sent"), 0, counts.sent().payload());
    expect(figures, msg!("bytes received"), 0, own.received);
    expect(figures, msg!("bytes of the disk"), 0, counts.disk.read_bytes + counts.disk.write_bytes);
    expect(figures, msg!("system calls (the sleep)"), 1, own.total_calls());
    Ok(())
}

fn read(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    bench.test_file.prepare(CacheState::Warm)?;
    let mut worker = bench.worker()?;
    let scope = Scope::default().process(worker.pid()).file(bench.test_file.id()?);
    let (bytes, chunk) = (bench.plan.bytes, u64::from(bench.plan.chunk));
    let command = json!({
        "command": "read-file", "file": bench.test_file.path(), "bytes": bytes, "chunk": chunk,
    });
    let (_, counts) = bench.worker_command(&mut worker, &scope, &command)?;
    let own =
        counts.processes.first().ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
    expect(figures, msg!("calls of read"), bytes.div_ceil(chunk), own.call("read").calls);
    expect(figures, msg!("bytes copied to the process"), bytes, own.read());
    expect(figures, msg!("bytes of the disk"), 0, counts.disk.read_bytes);
    if let Some(lookups) = own.lookups {
        expect(figures, msg!("served through the page cache (1: yes)"), 1, lookups.min(1));
    }
    Ok(())
}

fn pipe(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    let mut worker = bench.worker()?;
    let scope = Scope::default().process(worker.pid());
    let bytes = bench.plan.bytes;
    let command = json!({ "command": "pipe", "bytes": bytes, "chunk": bench.plan.chunk });
    let (_, counts) = bench.worker_command(&mut worker, &scope, &command)?;
    let own =
        counts.processes.first().ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
    expect(figures, msg!("bytes in"), bytes, own.call("write").bytes);
    expect(figures, msg!("bytes out"), bytes, own.call("read").bytes);
    Ok(())
}

fn copy(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    let spec = TransferSpec::of(&bench.test_file, Via::Copy, Some(bench.plan.chunk));
    let (bytes, chunk) = (bench.plan.bytes, u64::from(bench.plan.chunk));
    let (outcome, counts) = bench.counted(&spec, Transport::Loopback)?;
    let (sent, chunks) = (counts.sent(), bytes.div_ceil(chunk));
    let call = |name| outcome.sender_counts().map_or(0, |own| own.call(name).calls);
    expect(figures, msg!("calls of pread64"), chunks, call("pread64"));
    expect(figures, msg!("calls of sendto"), chunks, call("sendto"));
    expect(
        figures,
        msg!("bytes copied to the process"),
        bytes,
        outcome.sender_counts().map_or(0, |o| o.read()),
    );
    expect(figures, msg!("bytes sent in the kernel's pages"), bytes, sent.copied());
    expect(figures, msg!("bytes sent in pages of the file"), 0, sent.ours);
    expect(
        figures,
        msg!("bytes sent in other pages"),
        0,
        sent.cache + sent.anonymous + sent.unsorted,
    );
    expect(
        figures,
        msg!("bytes the receiver copied"),
        bytes,
        outcome.receiver_counts().map_or(0, |o| o.received),
    );
    Ok(())
}

fn sendfile(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    let spec = TransferSpec::of(&bench.test_file, Via::Sendfile, Some(bench.plan.chunk));
    let (bytes, chunk) = (bench.plan.bytes, u64::from(bench.plan.chunk));
    for transport in [Transport::Loopback, Transport::Unix] {
        let (outcome, counts) = bench.counted(&spec, transport)?;
        let sent = counts.sent();
        let received = outcome.receiver_counts().map_or(0, |own| own.received);
        let calls = outcome.sender_counts().map_or(0, |own| own.call("sendfile").calls);
        expect(
            figures,
            format!("{transport}: {}", msg!("calls of sendfile")),
            bytes.div_ceil(chunk),
            calls,
        );
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes sent in pages of the file")),
            bytes,
            sent.ours,
        );
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes sent in the kernel's pages")),
            0,
            sent.copied(),
        );
        let other_pages = sent.cache + sent.anonymous + sent.unsorted;
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes sent in other pages")),
            0,
            other_pages,
        );
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes the receiver copied")),
            bytes,
            received,
        );
    }
    Ok(())
}

fn without_scatter_gather(
    bench: &mut SelfTestBench<'_>,
    figures: &mut Vec<CheckedFigure>,
) -> CheckOutcome {
    let spec = TransferSpec::of(&bench.test_file, Via::Sendfile, Some(bench.plan.chunk));
    let bytes = bench.plan.bytes;
    let (_, counts) = bench.counted(&spec, Transport::VethWithoutScatterGather)?;
    let wire = counts.wire;
    expect(figures, msg!("bytes sent in the linear part of packets"), bytes, wire.linear);
    expect(figures, msg!("bytes sent in pages of the file"), 0, wire.ours);
    expect(
        figures,
        msg!("bytes sent in other pages"),
        0,
        wire.cache + wire.anonymous + wire.kernel,
    );
    Ok(())
}

fn notifications(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    let spec = TransferSpec::of(&bench.test_file, Via::Zerocopy, Some(bench.plan.chunk));
    let reply = bench.uncounted(&spec, Transport::Loopback)?.zerocopy;
    if reply.sends == 0 {
        return Err(ExperimentError::Skipped("MSG_ZEROCOPY is unsupported here".to_owned()));
    }
    expect(
        figures,
        msg!("lo: sends with a completion"),
        u64::from(reply.sends),
        u64::from(reply.released),
    );
    expect(
        figures,
        msg!("lo: sends that the kernel copied"),
        u64::from(reply.sends),
        u64::from(reply.copied),
    );
    send_to_dummy(bench, figures)
}

/// Sends to a dummy device: the half of the check in which nothing is copied.
fn send_to_dummy(bench: &SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    let mut worker = bench.worker()?;
    let device = [
        json!({ "command": "enter-network" }),
        json!({ "command": "add-dummy", "name": "karez2" }),
        json!({ "command": "add-address", "name": "karez2", "address": "192.0.2.5" }),
    ];
    for command in device {
        // A kernel without dummy devices leaves the other half of the check valid.
        if let Err(error) = worker.request(&command) {
            let _what_is_left_out = error;
            return Ok(());
        }
    }
    let command = json!({
        "command": "send-datagrams", "to": "192.0.2.6:9", "bytes": DATAGRAM, "count": DATAGRAMS,
    });
    let reply = worker.request(&command)?;
    expect(
        figures,
        msg!("dummy: datagrams copied"),
        0,
        reply["copied"].as_u64().unwrap_or(u64::MAX),
    );
    Ok(())
}

fn direct(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    bench.evict()?;
    let mut worker = bench.worker()?;
    let scope = Scope::default().process(worker.pid()).file(bench.test_file.id()?);
    let (bytes, chunk) = (bench.plan.bytes, bench.plan.chunk);
    let command = json!({
        "command": "read-file", "file": bench.test_file.path(), "bytes": bytes, "chunk": chunk, "direct": true,
    });
    let (_, counts) = bench.worker_command(&mut worker, &scope, &command)?;
    let own =
        counts.processes.first().ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
    expect(figures, msg!("bytes read by the process"), bytes, own.read());
    expect(figures, msg!("bytes read from the disk"), bytes, counts.disk.read_bytes);
    expect(figures, msg!("pages in the cache afterwards"), 0, bench.test_file.cached()?);
    // The same through the page cache, where the disk I/O is attributed by inode.
    bench.evict()?;
    let mut worker = bench.worker()?;
    let scope = Scope::default().process(worker.pid()).file(bench.test_file.id()?);
    let command = json!({
        "command": "read-file", "file": bench.test_file.path(), "bytes": bytes, "chunk": chunk,
    });
    let (_, counts) = bench.worker_command(&mut worker, &scope, &command)?;
    expect(
        figures,
        msg!("through the cache: bytes read from the disk"),
        bytes,
        counts.disk.read_bytes,
    );
    Ok(())
}

fn without_copy(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    for transport in [Transport::Loopback, Transport::Unix] {
        let chunk = Some(bench.plan.chunk);
        let receive_mode = ReceiveMode::Discard;
        let spec = TransferSpec {
            receive_mode,
            ..TransferSpec::of(&bench.test_file, Via::Sendfile, chunk)
        };
        let (outcome, counts) = bench.counted(&spec, transport)?;
        let received = outcome.receiver_counts().map_or(u64::MAX, |own| own.received);
        expect(figures, format!("{transport}: {}", msg!("bytes the receiver copied")), 0, received);
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes that arrived")),
            spec.bytes,
            outcome.received,
        );
        let ours = counts.sent().ours;
        expect(
            figures,
            format!("{transport}: {}", msg!("bytes sent in pages of the file")),
            spec.bytes,
            ours,
        );
    }
    Ok(())
}

fn in_user_space(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    let (bytes, chunk) = (bench.plan.bytes, bench.plan.chunk);
    let command = json!({ "command": "copy-in-user-space", "bytes": bytes, "chunk": chunk });
    let (reply, counts) = bench.sender_command(&command)?;
    expect(figures, msg!("bytes the kernel copied"), bytes, counts.sent().copied());
    let own = reply["copied"].as_u64().unwrap_or(0);
    expect(figures, msg!("bytes the program copied, by its own counter"), bytes, own);
    Ok(())
}
