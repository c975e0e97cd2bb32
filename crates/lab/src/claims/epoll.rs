//! Claims about epoll: what it shares, whom it visits, when it tells.

use karez_reactor::{Demultiplexer, EpollEdge, EpollLevel, Interest, Ready, Token};
use karez_sys::Mapping;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::pipe;
use serde_json::json;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::bench::{Bench, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::verdict::Verdict;
use super::waiting::{Walks, errno, is_asleep, slept, slopes, too_wide, walks};
use crate::error::{ErrorContext as _, Result as Done};

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 11,
        says: "epoll shares memory with user space by mmap",
        reason: "an epoll instance has no mmap operation: events are copied out one by one",
        needs: &[],
        experiment: sharing,
        rule: |told| Some(confirmed_if(told.word("mmap of an epoll")? == "ok")),
    },
    Claim {
        number: 12,
        says: "epoll keeps descriptors in a red-black tree and ready ones in a linked list",
        reason: "eventpoll has rbr and rdllist (fs/eventpoll.c), in memory of the kernel's alone",
        needs: &[],
        experiment: keeping,
        rule: |told| {
            let kept = told.count("registered")? == told.count("in the kernel's set")?;
            let once = told.word("registered again")? == "EEXIST";
            let in_order = told.count("told in the order of arrival")? == told.count("ready")?;
            let what = "the source for the tree; a set and a queue in order of arrival are seen";
            Some(if kept && once && in_order {
                Verdict::DependsOn(what.to_owned())
            } else {
                Verdict::Refuted
            })
        },
    },
    Claim {
        number: 13,
        says: "a callback fills the ready list, and only ready descriptors are visited",
        reason: "ep_poll_callback queues the item when it is woken; epoll_wait polls those again",
        needs: &[],
        experiment: visiting,
        rule: |told| {
            let exact = told.count("told")? == told.count("ready")?;
            if exact { level(told) } else { Some(Verdict::Refuted) }
        },
    },
    Claim {
        number: 14,
        says: "epoll_wait keeps checking until something is ready",
        reason: "it sleeps in a wait queue until a callback wakes it; busy polling is opt-in",
        needs: &[],
        experiment: |_| slept::<EpollLevel>(),
        rule: |told| Some(refuted_if(is_asleep(told)?)),
    },
    Claim {
        number: 15,
        says: "epoll has no maximum of connections",
        reason: "RLIMIT_NOFILE, fs.file-max and fs.epoll.max_user_watches bound it",
        needs: &[],
        experiment: limits,
        rule: |told| {
            let refused = told.word("one more than the limit")? == "EMFILE";
            Some(refuted_if(refused && told.count("opened")? < told.count("RLIMIT_NOFILE")?))
        },
    },
    Claim {
        number: 16,
        says: "the cost of epoll_wait does not depend on idle descriptors",
        reason: "an idle descriptor is in the tree and not in the list that is walked",
        needs: &[],
        experiment: slopes,
        rule: level,
    },
    Claim {
        number: 17,
        says: "level-triggered tells again and again, edge-triggered once",
        reason: "a level item is queued again after each report; an edge needs another wake-up",
        needs: &[],
        experiment: triggers,
        rule: |told| {
            let level = told.count("level, first")? == 1 && told.count("level, again")? == 1;
            let edge = told.count("edge, first")? == 1 && told.count("edge, again")? == 0;
            Some(confirmed_if(level && edge))
        },
    },
    Claim {
        number: 18,
        says: "edge-triggered supports only descriptors that do not block",
        reason: "the kernel does not look at O_NONBLOCK; epoll(7) says that one should",
        needs: &[],
        experiment: blocking_edge,
        rule: |told| Some(refuted_if(told.word("EPOLLET on a pipe that blocks")? == "ok")),
    },
    Claim {
        number: 19,
        says: "edge-triggered cannot guarantee that data is complete",
        reason: "what is not read stays in the buffer: a wake-up is missed, and no byte",
        needs: &[],
        experiment: left_over,
        rule: |told| {
            let got = told.count("read at first")? + told.count("read later")?;
            Some(refuted_if(got == told.count("written")?))
        },
    },
    Claim {
        number: 20,
        says: "epoll does not take regular files",
        reason: "a regular file has no poll operation, so EPOLL_CTL_ADD says EPERM",
        needs: &[],
        experiment: regular_file,
        rule: |told| Some(confirmed_if(told.word("epoll on a regular file")? == "EPERM")),
    },
];

/// Confirmed if an idle descriptor costs epoll too little to be looked at.
fn level(told: &Evidence) -> Option<Verdict> {
    Some(match walks(told, "epoll")? {
        Walks::No => Verdict::Confirmed,
        Walks::Yes => Verdict::Refuted,
        Walks::Unclear => too_wide(),
    })
}

fn sharing(_: &mut Bench<'_>) -> ExperimentResult {
    let epoll = EpollLevel::new().context("open", "an epoll")?;
    let mapped = Mapping::of(epoll.as_fd(), 0, 4096);
    Ok(Evidence::default().with("mmap of an epoll", mapped))
}

fn keeping(_: &mut Bench<'_>) -> ExperimentResult {
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let all = registered(&mut epoll, 3)?;
    let again = epoll.register(all[0].as_fd(), Token(9), Interest::READ);
    let path = format!("/proc/self/fdinfo/{}", epoll.as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).context("read", &path)?;
    let order = [2, 0, 1];
    for place in order {
        arouse(&all[place])?;
    }
    let told = told(&mut epoll)?;
    let in_order = told.iter().zip(order).filter(|(one, place)| one.token.0 == *place as u64);
    let lines = info.lines().filter(|line| line.starts_with("tfd:")).count();
    Ok(Evidence::default()
        .with("registered", all.len())
        .with("in the kernel's set", lines)
        .with("registered again", again)
        .with("ready", order.len())
        .with("told in the order of arrival", in_order.count()))
}

fn visiting(bench: &mut Bench<'_>) -> ExperimentResult {
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let all = registered(&mut epoll, 100)?;
    for one in &all[..3] {
        arouse(one)?;
    }
    let told = told(&mut epoll)?.len();
    let evidence = slopes(bench)?;
    Ok(evidence.with("registered", all.len()).with("ready", 3_u64).with("told", told))
}

fn limits(bench: &mut Bench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let told = worker.request(&json!({ "command": "limits" }))?;
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    let path = "/proc/sys/fs/epoll/max_user_watches";
    let watches = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let evidence = Evidence::default()
        .with("RLIMIT_NOFILE", number("limit"))
        .with("opened", number("opened"))
        .with("one more than the limit", errno(&told["refused"]));
    Ok(match watches {
        Some(watches) => evidence.with("max_user_watches", watches),
        None => evidence,
    })
}

fn triggers(_: &mut Bench<'_>) -> ExperimentResult {
    let level = sequence::<EpollLevel>()?;
    let edge = sequence::<EpollEdge>()?;
    let mut evidence = Evidence::default();
    for (name, told) in [("level", level), ("edge", edge)] {
        for (when, count) in ["first", "again", "after more came"].iter().zip(told) {
            evidence = evidence.with(format!("{name}, {when}"), count);
        }
    }
    Ok(evidence)
}

/// How many are told: of bytes, without reading once more, without reading but after more.
fn sequence<D: Demultiplexer>() -> Done<[usize; 3]> {
    let mut waiting = D::new().context("open", "an epoll")?;
    let (near, far) = pipe().context("open", "a pipe")?;
    waiting.register(near.as_fd(), Token(0), Interest::READ).context("watch", "a pipe")?;
    rustix::io::write(&far, b"aa").context("write into", "a pipe")?;
    let (first, again) = (told(&mut waiting)?.len(), told(&mut waiting)?.len());
    rustix::io::write(&far, b"b").context("write into", "a pipe")?;
    Ok([first, again, told(&mut waiting)?.len()])
}

fn blocking_edge(_: &mut Bench<'_>) -> ExperimentResult {
    let mut edge = EpollEdge::new().context("open", "an epoll")?;
    let (near, _far) = pipe().context("open", "a pipe")?;
    let taken = edge.register(near.as_fd(), Token(0), Interest::READ);
    Ok(Evidence::default().with("EPOLLET on a pipe that blocks", taken))
}

fn left_over(_: &mut Bench<'_>) -> ExperimentResult {
    let mut edge = EpollEdge::new().context("open", "an epoll")?;
    let (near, far) = pipe().context("open", "a pipe")?;
    edge.register(near.as_fd(), Token(0), Interest::READ).context("watch", "a pipe")?;
    let written = rustix::io::write(&far, b"abc").context("write into", "a pipe")?;
    let first = told(&mut edge)?.len();
    let mut bytes = [0; 8];
    let one = rustix::io::read(&near, &mut bytes[..1]).context("read from", "a pipe")?;
    let again = told(&mut edge)?.len();
    drop(far);
    let rest = rustix::io::read(&near, &mut bytes).context("read from", "a pipe")?;
    Ok(Evidence::default()
        .with("written", written)
        .with("told", first)
        .with("read at first", one)
        .with("told of the rest", again)
        .with("read later", rest))
}

fn regular_file(bench: &mut Bench<'_>) -> ExperimentResult {
    let path = bench.base.test_file.path();
    let file = fs::File::open(path).context("open", path.display())?;
    let mut epoll = EpollLevel::new().context("open", "an epoll")?;
    let taken = epoll.register(file.as_fd(), Token(0), Interest::READ);
    Ok(Evidence::default().with("epoll on a regular file", taken))
}

/// So many idle descriptors, watched under their places.
fn registered(waiting: &mut impl Demultiplexer, count: u64) -> Done<Vec<OwnedFd>> {
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

fn arouse(one: &OwnedFd) -> Done<()> {
    rustix::io::write(one, &1_u64.to_ne_bytes()).map(drop).context("write to", "an eventfd")
}

/// What is told now.
fn told(waiting: &mut impl Demultiplexer) -> Done<Vec<Ready>> {
    let mut ready = Vec::new();
    waiting.wait(Some(Duration::ZERO), &mut ready).context("wait for", "a descriptor")?;
    ready.retain(|one| one.readable);
    Ok(ready)
}
