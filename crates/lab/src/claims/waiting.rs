//! Claims about busy polling, select and poll: copies, scans, limits.

use karez_reactor::{Interest, Model, Select, Selector, Token};
use karez_sys::{FdSet, select};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use super::bench::{ClaimsBench, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult, Figure};
use super::verdict::Verdict;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::selftest::ExperimentError;

/// Time until the awaited descriptor becomes ready.
const IDLE_TIME: Duration = Duration::from_millis(50);

/// Nanoseconds: shorter than any indirect call with a lock, so it separates scanning from not
/// scanning.
const SCAN_NS: f64 = 2.0;

/// Maximum time to wait.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 4,
        name: "nonblocking-reads",
        statement: msg!("polling without blocking makes one read per connection, ready or not"),
        reason: msg!("only the call itself shows whether it would have blocked: EAGAIN"),
        needs: &[],
        experiment: busy_polling,
        rule: |evidence| {
            Some(confirmed_if(evidence.count("reads per round")? == evidence.count("descriptors")?))
        },
    },
    Claim {
        number: 5,
        name: "select-copies",
        statement: msg!("select copies the whole descriptor set in and out at each call"),
        reason: msg!("core_sys_select copies FDS_BYTES(n) of each set in and the same amount out"),
        needs: &[],
        experiment: select_set,
        rule: |evidence| {
            let (asked, left) =
                (evidence.count("bits requested")?, evidence.count("bits set afterwards")?);
            // Requested bits of idle descriptors are cleared: the result overwrites the request.
            Some(confirmed_if(left == evidence.count("ready")? && left < asked))
        },
    },
    Claim {
        number: 6,
        name: "select-poll-scan",
        statement: msg!("select and poll check every descriptor in the kernel: O(n)"),
        reason: msg!(
            "do_select and do_poll call the poll operation of each descriptor at each call"
        ),
        needs: &[],
        experiment: slopes,
        rule: |evidence| {
            Some(match (scans_idle(evidence, "select")?, scans_idle(evidence, "poll")?) {
                (IdleScan::Yes, IdleScan::Yes) => Verdict::Confirmed,
                (IdleScan::No, _) | (_, IdleScan::No) => Verdict::Refuted,
                _ => too_wide(),
            })
        },
    },
    Claim {
        number: 7,
        name: "select-1024",
        statement: msg!("select is limited to 1024 descriptors"),
        reason: msg!(
            "FD_SETSIZE is the size of glibc's fd_set; the kernel's limit is the descriptor \
            table"
        ),
        needs: &[],
        experiment: high_descriptor,
        rule: |evidence| {
            let what =
                msg!("the caller: glibc's fd_set has 1024 bits, the kernel has no such limit");
            let why = msg!("the descriptor limit is too low");
            if evidence.count("descriptor")? < 1024 {
                return Some(Verdict::NotMeasurable(why.to_owned()));
            }
            Some(match evidence.count("reported")? {
                1 => Verdict::DependsOn(what.to_owned()),
                _ => Verdict::Confirmed,
            })
        },
    },
    Claim {
        number: 8,
        name: "select-callback",
        statement: msg!("select registers a callback, sets bits, and the program scans for them"),
        reason: msg!("__pollwait queues the thread at each descriptor; the result is a bitmap"),
        needs: &[],
        experiment: |_| wait_asleep::<Select>(),
        rule: |evidence| Some(confirmed_if(is_asleep(evidence)?)),
    },
    Claim {
        number: 9,
        name: "poll-limit",
        statement: msg!("poll has no limit, because it uses a linked list"),
        reason: msg!(
            "it takes an array, of RLIMIT_NOFILE entries at most; only its kernel copy is a \
            list"
        ),
        needs: &[],
        experiment: poll_limit,
        rule: |evidence| {
            let refused = evidence.word("poll of one entry more")? == "EINVAL";
            Some(refuted_if(refused && evidence.word("poll of RLIMIT_NOFILE entries")? == "ok"))
        },
    },
    Claim {
        number: 10,
        name: "poll-copies",
        statement: msg!("poll avoids the copies and the scan"),
        reason: msg!(
            "the array is copied in at each call and scanned; only the limit of 1024 is gone"
        ),
        needs: &[],
        experiment: slopes,
        rule: |evidence| {
            Some(match scans_idle(evidence, "poll")? {
                IdleScan::Yes => Verdict::Refuted,
                IdleScan::No => Verdict::Confirmed,
                IdleScan::Unclear => too_wide(),
            })
        },
    },
];

/// Whether the kernel inspects idle descriptors.
pub(super) enum IdleScan {
    Yes,
    No,
    Unclear,
}

/// Compares the interval of the cost per idle descriptor with the minimum cost of an inspection.
pub(super) fn scans_idle(evidence: &Evidence, of: &str) -> Option<IdleScan> {
    let low = evidence.number(&format!("{of}: at least"))?;
    let high = evidence.number(&format!("{of}: at most"))?;
    Some(match (low > SCAN_NS, high < SCAN_NS) {
        (true, _) => IdleScan::Yes,
        (_, true) => IdleScan::No,
        _ => IdleScan::Unclear,
    })
}

pub(super) fn too_wide() -> Verdict {
    Verdict::NotMeasurable(
        msg!("the interval of the slope is too wide: the machine is busy").to_owned(),
    )
}

fn busy_polling(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let models = bench.sweep()?;
    let of_it = models.rows.iter().filter(|row| row.model == Model::Nonblocking);
    let most = of_it.max_by_key(|row| row.descriptors);
    let row =
        most.ok_or_else(|| ExperimentError::Skipped("nonblocking was not measured".to_owned()))?;
    let calls = row.calls.as_ref();
    let calls =
        calls.ok_or_else(|| ExperimentError::Skipped("tracing is not permitted".to_owned()))?;
    let reads = calls.get("read").copied().unwrap_or(0.0);
    Ok(Evidence::default()
        .with(msg!("descriptors"), u64::from(row.descriptors))
        .with(msg!("ready"), u64::from(row.active))
        .with(msg!("reads per round"), whole(reads)))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of calls")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

fn select_set(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let (mut read, mut write, mut all) = (FdSet::default(), FdSet::default(), Vec::new());
    for place in 0..100 {
        let one = eventfd(u32::from(place == 50), EventfdFlags::CLOEXEC);
        let one = one.context("open", "an eventfd")?;
        read.insert(one.as_fd());
        all.push(one);
    }
    let asked = read.iter().count();
    let ready =
        select(&mut read, &mut write, Some(Duration::ZERO)).context("select", "descriptors")?;
    Ok(Evidence::default()
        .with(msg!("bits requested"), asked)
        .with(msg!("ready"), ready)
        .with(msg!("bits set afterwards"), read.iter().count()))
}

/// Measures the cost of an idle descriptor with select, poll and epoll.
pub(super) fn slopes(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let models = bench.sweep()?;
    let mut evidence = Evidence::default();
    for (name, model) in
        [("select", Model::Select), ("poll", Model::Poll), ("epoll", Model::EpollLevel)]
    {
        let missing = || ExperimentError::Skipped(format!("{name} was not measured"));
        evidence = evidence.with_slope(name, models.slope(model).ok_or_else(missing)?);
    }
    let counts = models.rows.iter().map(|row| u64::from(row.descriptors));
    Ok(evidence.with(msg!("most descriptors"), counts.max().unwrap_or(0)))
}

fn limits(bench: &mut ClaimsBench<'_>) -> Result<Value, ExperimentError> {
    Ok(bench.base.worker()?.request(&json!({ "command": "limits" }))?)
}

fn high_descriptor(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let reply = limits(bench)?;
    let number = |name: &str| reply[name].as_u64().unwrap_or(0);
    let evidence = Evidence::default().with(msg!("descriptor"), number("high"));
    let evidence = evidence.with(msg!("select"), errno(&reply["select"]));
    // Without the descriptor, select had nothing to report.
    Ok(match number("high") {
        0 => evidence,
        _ => evidence.with(msg!("reported"), number("found")),
    })
}

fn poll_limit(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let reply = limits(bench)?;
    Ok(Evidence::default()
        .with(msg!("RLIMIT_NOFILE"), reply["limit"].as_u64().unwrap_or(0))
        .with(msg!("poll of RLIMIT_NOFILE entries"), errno(&reply["poll_at"]))
        .with(msg!("poll of one entry more"), errno(&reply["poll_above"])))
}

/// Converts an errno of a worker's reply; 0 is success.
pub(super) fn errno(reply: &Value) -> Figure {
    match reply.as_i64().and_then(|number| i32::try_from(number).ok()) {
        Some(0) => Figure::from("ok"),
        Some(number) => Figure::from(Err::<(), _>(Errno::from_raw_os_error(number))),
        None => Figure::from("nothing"),
    }
}

/// Waits for a descriptor that another thread makes ready after a while.
pub(super) fn wait_asleep<D: Selector>() -> ExperimentResult {
    let one = eventfd(0, EventfdFlags::CLOEXEC).context("open", "an eventfd")?;
    let mut waiting = D::new().context("begin to", "wait")?;
    waiting.register(one.as_fd(), Token(0), Interest::READ).context("watch", "an eventfd")?;
    let mut ready = Vec::new();
    let (begun, before) = (Instant::now(), (karez_lab_sys::thread_usage(), cpu()));
    let waited_result = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(IDLE_TIME);
            rustix::io::write(&one, &1_u64.to_ne_bytes())
        });
        waiting.wait(Some(TIMEOUT), &mut ready)
    });
    waited_result.context("wait for", "an eventfd")?;
    let used = karez_lab_sys::thread_usage().since(&before.0);
    let (waited, cpu) = (begun.elapsed(), cpu().saturating_sub(before.1));
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(Evidence::default()
        .with(msg!("reported"), ready.len())
        .with(msg!("us until wake-up"), micros(waited))
        .with(msg!("us of CPU"), micros(cpu))
        .with(msg!("voluntary switches"), used.voluntary))
}

/// Returns whether the thread slept and was woken, instead of polling in a loop.
pub(super) fn is_asleep(evidence: &Evidence) -> Option<bool> {
    let switched = evidence.count("voluntary switches")? >= 1;
    let idle = evidence.count("us of CPU")? * 2 < evidence.count("us until wake-up")?;
    Some(switched && idle && evidence.count("reported")? == 1)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
