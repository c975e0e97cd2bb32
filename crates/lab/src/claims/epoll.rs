//! Claims about epoll: memory, data structures, triggering.

use karez_reactor::{EpollEdge, EpollLevel, Interest, Ready, Selector, Token};
use karez_sys::Mapping;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::pipe;
use serde_json::json;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::bench::{ClaimsBench, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::verdict::Verdict;
use super::waiting::{IdleScan, errno, is_asleep, scans_idle, slopes, too_wide, wait_asleep};
use crate::error::{ErrorContext as _, Result as LabResult};
use crate::language::msg;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 11,
        name: "epoll-mmap",
        statement: msg!("epoll shares memory with user space by mmap"),
        reason: msg!(
            "an epoll instance has no mmap operation: epoll_wait copies each event to user \
            space"
        ),
        needs: &[],
        experiment: mmap_epoll,
        rule: |evidence| Some(confirmed_if(evidence.word("mmap of an epoll")? == "ok")),
    },
    Claim {
        number: 12,
        name: "epoll-tree",
        statement: msg!(
            "epoll keeps descriptors in a red-black tree and ready ones in a linked list"
        ),
        reason: msg!(
            "struct eventpoll has rbr and rdllist (fs/eventpoll.c), in kernel memory only"
        ),
        needs: &[],
        experiment: epoll_set,
        rule: |evidence| {
            let kept = evidence.count("registered")? == evidence.count("entries in fdinfo")?;
            let once = evidence.word("registered again")? == "EEXIST";
            let in_order =
                evidence.count("reported in arrival order")? == evidence.count("ready")?;
            let what = msg!("the kernel source for the tree; the run shows a set and a FIFO queue");
            Some(if kept && once && in_order {
                Verdict::DependsOn(what.to_owned())
            } else {
                Verdict::Refuted
            })
        },
    },
    Claim {
        number: 13,
        name: "epoll-ready-list",
        statement: msg!(
            "a callback fills the ready list, and epoll_wait visits only ready descriptors"
        ),
        reason: msg!(
            "ep_poll_callback queues the item on wake-up; epoll_wait polls the queued items \
            again"
        ),
        needs: &[],
        experiment: ready_list,
        rule: |evidence| {
            let exact = evidence.count("reported")? == evidence.count("ready")?;
            if exact { independent_of_idle(evidence) } else { Some(Verdict::Refuted) }
        },
    },
    Claim {
        number: 14,
        name: "epoll-loop",
        statement: msg!("epoll_wait checks in a loop until a descriptor is ready"),
        reason: msg!("it sleeps in a wait queue until a callback wakes it; busy polling is opt-in"),
        needs: &[],
        experiment: |_| wait_asleep::<EpollLevel>(),
        rule: |evidence| Some(refuted_if(is_asleep(evidence)?)),
    },
    Claim {
        number: 15,
        name: "epoll-limit",
        statement: msg!("epoll has no maximum number of connections"),
        reason: msg!("RLIMIT_NOFILE, fs.file-max and fs.epoll.max_user_watches limit it"),
        needs: &[],
        experiment: limits,
        rule: |evidence| {
            let refused = evidence.word("open beyond the limit")? == "EMFILE";
            Some(refuted_if(
                refused && evidence.count("opened")? < evidence.count("RLIMIT_NOFILE")?,
            ))
        },
    },
    Claim {
        number: 16,
        name: "epoll-idle",
        statement: msg!("the cost of epoll_wait does not depend on the number of idle descriptors"),
        reason: msg!("an idle descriptor is in the tree and not in the ready list"),
        needs: &[],
        experiment: slopes,
        rule: independent_of_idle,
    },
    Claim {
        number: 17,
        name: "level-edge",
        statement: msg!("level-triggered epoll reports readiness repeatedly, edge-triggered once"),
        reason: msg!(
            "a level item is queued again after each report; an edge needs another wake-up"
        ),
        needs: &[],
        experiment: triggers,
        rule: |evidence| {
            let level =
                evidence.count("level, first")? == 1 && evidence.count("level, again")? == 1;
            let edge = evidence.count("edge, first")? == 1 && evidence.count("edge, again")? == 0;
            Some(confirmed_if(level && edge))
        },
    },
    Claim {
        number: 18,
        name: "edge-nonblocking",
        statement: msg!("edge-triggered epoll supports only non-blocking descriptors"),
        reason: msg!("the kernel does not check O_NONBLOCK; epoll(7) only recommends it"),
        needs: &[],
        experiment: blocking_edge,
        rule: |evidence| Some(refuted_if(evidence.word("EPOLLET on a blocking pipe")? == "ok")),
    },
    Claim {
        number: 19,
        name: "edge-loses-data",
        statement: msg!("edge-triggered epoll can lose data"),
        reason: msg!("unread bytes stay in the buffer: only the wake-up is missed"),
        needs: &[],
        experiment: partial_read,
        rule: |evidence| {
            let got = evidence.count("read at first")? + evidence.count("read later")?;
            Some(refuted_if(got == evidence.count("written")?))
        },
    },
    Claim {
        number: 20,
        name: "epoll-regular-file",
        statement: msg!("epoll does not support regular files"),
        reason: msg!("a regular file has no poll operation, so EPOLL_CTL_ADD fails with EPERM"),
        needs: &[],
        experiment: regular_file,
        rule: |evidence| Some(confirmed_if(evidence.word("epoll on a regular file")? == "EPERM")),
    },
];

/// Returns `Confirmed` if an idle descriptor costs epoll less than an inspection.
fn independent_of_idle(evidence: &Evidence) -> Option<Verdict> {
    Some(match scans_idle(evidence, "epoll")? {
        IdleScan::No => Verdict::Confirmed,
        IdleScan::Yes => Verdict::Refuted,
        IdleScan::Unclear => too_wide(),
    })
}

fn mmap_epoll(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let epoll = EpollLevel::new().context("open", "an epoll")?;
    let mapped = Mapping::of(epoll.as_fd(), 0, 4096);
    Ok(Evidence::default().with(msg!("mmap of an epoll"), mapped))
}

fn epoll_set(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let all = registered(&mut epoll, 3)?;
    let again = epoll.register(all[0].as_fd(), Token(9), Interest::READ);
    let path = format!("/proc/self/fdinfo/{}", epoll.as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).context("read", &path)?;
    let order = [2, 0, 1];
    for place in order {
        make_ready(&all[place])?;
    }
    let events = events(&mut epoll)?;
    let in_order = events.iter().zip(order).filter(|(one, place)| one.token.0 == *place as u64);
    let lines = info.lines().filter(|line| line.starts_with("tfd:")).count();
    Ok(Evidence::default()
        .with(msg!("registered"), all.len())
        .with(msg!("entries in fdinfo"), lines)
        .with(msg!("registered again"), again)
        .with(msg!("ready"), order.len())
        .with(msg!("reported in arrival order"), in_order.count()))
}

fn ready_list(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let all = registered(&mut epoll, 100)?;
    for one in &all[..3] {
        make_ready(one)?;
    }
    let events = events(&mut epoll)?.len();
    let evidence = slopes(bench)?;
    Ok(evidence
        .with(msg!("registered"), all.len())
        .with(msg!("ready"), 3_u64)
        .with(msg!("reported"), events))
}

fn limits(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let reply = worker.request(&json!({ "command": "limits" }))?;
    let number = |name: &str| reply[name].as_u64().unwrap_or(0);
    let path = "/proc/sys/fs/epoll/max_user_watches";
    let watches = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let evidence = Evidence::default()
        .with(msg!("RLIMIT_NOFILE"), number("limit"))
        .with(msg!("opened"), number("opened"))
        .with(msg!("open beyond the limit"), errno(&reply["refused"]));
    Ok(match watches {
        Some(watches) => evidence.with(msg!("max_user_watches"), watches),
        None => evidence,
    })
}

fn triggers(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let level = sequence::<EpollLevel>()?;
    let edge = sequence::<EpollEdge>()?;
    let mut evidence = Evidence::default();
    let names = [
        [msg!("level, first"), msg!("level, again"), msg!("level, after another write")],
        [msg!("edge, first"), msg!("edge, again"), msg!("edge, after another write")],
    ];
    for (names, counts) in names.into_iter().zip([level, edge]) {
        for (name, count) in names.into_iter().zip(counts) {
            evidence = evidence.with(name, count);
        }
    }
    Ok(evidence)
}

/// Returns the number of events after a write, without reading, and after another write.
fn sequence<D: Selector>() -> LabResult<[usize; 3]> {
    let mut waiting = D::new().context("open", "an epoll")?;
    let (near, far) = pipe().context("open", "a pipe")?;
    waiting.register(near.as_fd(), Token(0), Interest::READ).context("watch", "a pipe")?;
    rustix::io::write(&far, b"aa").context("write into", "a pipe")?;
    let (first, again) = (events(&mut waiting)?.len(), events(&mut waiting)?.len());
    rustix::io::write(&far, b"b").context("write into", "a pipe")?;
    Ok([first, again, events(&mut waiting)?.len()])
}

fn blocking_edge(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut edge = EpollEdge::new().context("open", "an epoll")?;
    let (near, _far) = pipe().context("open", "a pipe")?;
    let taken = edge.register(near.as_fd(), Token(0), Interest::READ);
    Ok(Evidence::default().with(msg!("EPOLLET on a blocking pipe"), taken))
}

fn partial_read(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut edge = EpollEdge::new().context("open", "an epoll")?;
    let (near, far) = pipe().context("open", "a pipe")?;
    edge.register(near.as_fd(), Token(0), Interest::READ).context("watch", "a pipe")?;
    let written = rustix::io::write(&far, b"abc").context("write into", "a pipe")?;
    let first = events(&mut edge)?.len();
    let mut bytes = [0; 8];
    let one = rustix::io::read(&near, &mut bytes[..1]).context("read from", "a pipe")?;
    let again = events(&mut edge)?.len();
    drop(far);
    let rest = rustix::io::read(&near, &mut bytes).context("read from", "a pipe")?;
    Ok(Evidence::default()
        .with(msg!("written"), written)
        .with(msg!("reported"), first)
        .with(msg!("read at first"), one)
        .with(msg!("reported for the rest"), again)
        .with(msg!("read later"), rest))
}

fn regular_file(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let path = bench.base.test_file.path();
    let file = fs::File::open(path).context("open", path.display())?;
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let taken = epoll.register(file.as_fd(), Token(0), Interest::READ);
    Ok(Evidence::default().with(msg!("epoll on a regular file"), taken))
}

/// Registers idle descriptors with their index as token.
fn registered(waiting: &mut impl Selector, count: u64) -> LabResult<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for place in 0..count {
        let one = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let one = one.context("open", "an eventfd")?;
        waiting
            .register(one.as_fd(), Token(place), Interest::READ)
            .context("watch", "an eventfd")?;
        all.push(one);
    }
    Ok(all)
}

fn make_ready(one: &OwnedFd) -> LabResult<()> {
    rustix::io::write(one, &1_u64.to_ne_bytes()).map(drop).context("write to", "an eventfd")
}

/// Returns the current events.
fn events(waiting: &mut impl Selector) -> LabResult<Vec<Ready>> {
    let mut ready = Vec::new();
    waiting.wait(Some(Duration::ZERO), &mut ready).context("wait for", "a descriptor")?;
    ready.retain(|one| one.readable);
    Ok(ready)
}
