//! io_uring(7): whether a ring can be created, and which operations the kernel supports
//! (io_uring_register(2), `IORING_REGISTER_PROBE`, Linux 5.6).

use io_uring::{IoUring, Probe, opcode};
use karez_sys::{Operation, Ring, RingOptions};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::finding::{Finding, Section, describe};

pub(crate) fn section() -> Section {
    Section { title: "io_uring", findings: findings() }
}

fn findings() -> Vec<Finding> {
    let allowed = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let sysctl = match allowed.as_deref().map(str::trim) {
        Ok("0") => Finding::fact("kernel/io_uring_disabled", "0: allowed for every user"),
        Ok("1") => Finding::fact(
            "kernel/io_uring_disabled",
            "1: allowed for one group and \
            privileged users",
        ),
        Ok(value) => Finding::fact(
            "kernel/io_uring_disabled",
            format!(
                "{value}: disabled for \
            every user"
            ),
        ),
        Err(_) => Finding::fact("kernel/io_uring_disabled", "missing: allowed for every user"),
    };
    let ring = match IoUring::new(2) {
        Ok(ring) => ring,
        Err(error) => return vec![sysctl, refused("a ring", &error)],
    };
    let mut findings = vec![sysctl, Finding::available("a ring", "since Linux 5.1")];
    findings.push(setup("single issuer, deferred task run", "6.1", |builder| {
        builder.setup_single_issuer().setup_defer_taskrun();
    }));
    findings.push(setup("polling by a kernel thread (SQPOLL)", "5.1", |builder| {
        builder.setup_sqpoll(1);
    }));
    let params = ring.params();
    for (name, there, since) in [
        ("one mapping for both queues", params.is_feature_single_mmap(), "5.4"),
        ("no dropped completions", params.is_feature_nodrop(), "5.5"),
        ("polling instead of a worker thread", params.is_feature_fast_poll(), "5.7"),
        ("a timeout per wait", params.is_feature_ext_arg(), "5.11"),
        ("suppressed completions", params.is_feature_skip_cqe_on_success(), "5.17"),
    ] {
        findings.push(supported(name, there, since));
    }
    findings.extend(receiving());
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Err(error) => findings.push(refused("operations", &error)),
        Ok(()) => findings.extend(
            OPERATIONS
                .iter()
                .map(|&(name, code, since)| supported(name, probe.is_supported(code), since)),
        ),
    }
    findings
}

/// Tests features that are not in the kernel's list of operations, as model uring uses them.
fn receiving() -> [Finding; 2] {
    let tried = receive_once();
    let has = |there: fn(Received) -> bool| tried.map(there).unwrap_or_default();
    [
        supported("provided buffers", has(|it| it.provided_buffer), "5.19"),
        supported("multishot recv", has(|it| it.multishot), "6.0"),
    ]
}

/// How a message was received.
#[derive(Clone, Copy)]
struct Received {
    provided_buffer: bool,
    multishot: bool,
}

fn receive_once() -> rustix::io::Result<Received> {
    let io = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut ring = Ring::new(RingOptions::default())?;
    let (near, mut far) = UnixStream::pair().map_err(io)?;
    far.write_all(b"x").map_err(io)?;
    ring.start(0, Operation::Receive(Arc::new(near)));
    let mut done = Vec::new();
    while done.is_empty() {
        ring.wait(None, &mut done)?;
    }
    Ok(Received { provided_buffer: ring.has_provided_buffers(), multishot: !done[0].last })
}

/// Operations that a file server can use.
const OPERATIONS: [(&str, u8, &str); 12] = [
    ("accept", opcode::Accept::CODE, "5.5, multishot 5.19"),
    ("recv", opcode::Recv::CODE, "5.6"),
    ("send", opcode::Send::CODE, "5.6"),
    ("send_zc", opcode::SendZc::CODE, "6.0"),
    ("read", opcode::Read::CODE, "5.6"),
    ("splice", opcode::Splice::CODE, "5.7"),
    ("openat2", opcode::OpenAt2::CODE, "5.6"),
    ("statx", opcode::Statx::CODE, "5.6"),
    ("poll", opcode::PollAdd::CODE, "5.1"),
    ("timeout", opcode::Timeout::CODE, "5.4"),
    ("linked timeout", opcode::LinkTimeout::CODE, "5.5"),
    ("cancel", opcode::AsyncCancel::CODE, "5.5"),
];

fn setup(name: &str, since: &str, with: impl FnOnce(&mut io_uring::Builder)) -> Finding {
    let mut builder = IoUring::builder();
    with(&mut builder);
    match builder.build(2) {
        Ok(_) => Finding::available(name, format!("since Linux {since}")),
        Err(error) => refused(name, &error),
    }
}

fn supported(name: &str, there: bool, since: &str) -> Finding {
    let since = format!("since Linux {since}");
    if there { Finding::available(name, since) } else { Finding::refused(name, since) }
}

fn refused(name: &str, error: &io::Error) -> Finding {
    let why = Errno::from_io_error(error).map_or_else(|| error.to_string(), describe);
    Finding::refused(name, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    #[test]
    fn unlisted_features_match_the_kernel_version() {
        if let Err(errno) = receive_once() {
            return assert!(matches!(errno, Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP));
        }
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(str::parse::<u32>);
        let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
        for (finding, since) in receiving().iter().zip([(5, 19), (6, 0)]) {
            assert_eq!(finding.verdict == Verdict::Available, version >= since, "{finding:?}");
        }
    }
}
