//! Claims that compare the CPU time of the sender over loopback: mappings, larger pipes, congestion
//! control.
//!
//! # Limitations
//! Over loopback the receiver's softirq runs on the sender's time, equally in both ways.

use karez_transfer::Via;
use serde_json::{Value, json};
use std::fs;

use super::bench::ClaimsBench;
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{Order, alternate, costs_less, noise};
use super::verdict::Verdict;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::transfer_spec::TransferSpec;
use crate::transport::Transport;

/// Sizes of files with the subject of their ratio.
const MAPPED: [(u64, &str); 3] = [
    (16 << 10, "mmap/copy, 16 KiB"),
    (256 << 10, "mmap/copy, 256 KiB"),
    (4 << 20, "mmap/copy, 4 MiB"),
];

/// Sizes of pipes with the name of their count.
const PIPES: [(u32, &str); 2] = [
    (64 << 10, msg!("calls of splice, pipe of 64 KiB")),
    (1 << 20, msg!("calls of splice, pipe of 1 MiB")),
];
const PIPE_RATIO: &str = msg!("pipe of 1 MiB/64 KiB");

/// Congestion controls that are compared with Reno, with the subject of their ratio.
const CONGESTION: [(&str, &str); 2] = [(msg!("cubic"), "cubic/reno"), (msg!("bbr"), "bbr/reno")];

/// Bytes of one measurement: a smaller file is sent several times.
const MEASURED: u64 = 256 << 10;

/// Most transfers of a measurement.
const MOST_TRANSFERS: u64 = 8;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 40,
        name: "mmap-faster",
        statement: msg!("mmap and write take less CPU than read and write"),
        reason: msg!(
            "a mapping replaces the copy into the buffer by page faults and by the change of the page \
             tables"
        ),
        needs: &[],
        experiment: mapped_and_copied,
        rule: |evidence| {
            let orders: Option<Vec<_>> =
                MAPPED.iter().map(|(_, subject)| evidence.order(subject)).collect();
            let what = msg!("the size: page faults cost more than the copy of few bytes");
            Some(costs_less(&orders?, what))
        },
    },
    Claim {
        number: 41,
        name: "pipe-size",
        statement: msg!("a larger pipe makes splice faster"),
        reason: msg!(
            "a pipe of 1 MiB holds 16 times as many pages as the default, so a transfer takes a 16th \
             of the calls; each page is moved all the same"
        ),
        needs: &[],
        experiment: pipe_sizes,
        rule: |evidence| {
            if evidence.count(PIPES[1].1)? >= evidence.count(PIPES[0].1)? {
                let why = msg!("the pipe could not be enlarged");
                return Some(Verdict::NotMeasurable(why.to_owned()));
            }
            Some(costs_less(&[evidence.order(PIPE_RATIO)?], ""))
        },
    },
    Claim {
        number: 48,
        name: "congestion-control",
        statement: msg!("the choice of congestion control costs no CPU"),
        reason: msg!(
            "the sender runs it for each acknowledgement; BBR also estimates the rate of each one and \
             paces the packets by a timer"
        ),
        needs: &[],
        experiment: congestion_controls,
        rule: |evidence| {
            let orders = CONGESTION.iter().filter_map(|(_, subject)| evidence.order(subject));
            let orders: Vec<_> = orders.collect();
            let differs = orders.iter().any(|one| matches!(one, Order::Less | Order::More));
            match (orders.is_empty(), differs, orders.contains(&Order::Unclear)) {
                (true, ..) => None,
                (_, true, _) => Some(Verdict::Refuted),
                (_, _, true) => Some(noise()),
                _ => Some(Verdict::Confirmed),
            }
        },
    },
];

fn mapped_and_copied(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default();
    for (bytes, subject) in MAPPED {
        let bytes = bytes.min(bench.plan.bytes);
        let mut faults = [0; 2];
        let pairs = alternate(bench.pairs(), |copied| {
            let via = if copied { Via::Copy } else { Via::Mmap };
            let spec = TransferSpec { bytes, ..bench.spec(via) };
            let (cpu, minor_faults) = sender_cpu(bench, &spec)?;
            faults[usize::from(copied)] = minor_faults;
            Ok(cpu)
        })?;
        evidence = evidence
            .with(format!("{subject}: {}", msg!("faults")), faults[0])
            .with_ratio(subject, &pairs);
    }
    Ok(evidence)
}

/// Sends the file by a specification and returns the nanoseconds of CPU time and the page faults of the
/// sender per transfer.
fn sender_cpu(
    bench: &mut ClaimsBench<'_>,
    spec: &TransferSpec,
) -> Result<(f64, u64), ExperimentError> {
    let transfers = (MEASURED / spec.bytes.max(1)).clamp(1, MOST_TRANSFERS);
    let (mut cpu, mut faults) = (0.0, 0);
    for _ in 0..transfers {
        let outcome = bench.base.uncounted(spec, Transport::Loopback)?;
        if outcome.effective != spec.via {
            let why = format!("{} is unsupported here", spec.via);
            return Err(ExperimentError::Skipped(why));
        }
        cpu += outcome.sender.cpu.as_secs_f64() * 1e9;
        faults += outcome.sender.minor_faults;
    }
    #[allow(clippy::cast_precision_loss, reason = "at most 8")]
    Ok((cpu / transfers as f64, faults / transfers))
}

fn pipe_sizes(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let spec = TransferSpec { chunk: Some(PIPES[1].0), ..bench.spec(Via::Splice) };
    let mut calls = [0; 2];
    let pairs = with_options(bench, |bench| {
        alternate(bench.pairs(), |is_default| {
            let place = usize::from(!is_default);
            set_options(bench, &json!({ "pipe_size": PIPES[place].0 }))?;
            let outcome = bench.base.uncounted(&spec, Transport::Loopback)?;
            calls[place] = outcome.calls.get("splice").copied().unwrap_or(0);
            Ok(outcome.sender.cpu.as_secs_f64() * 1e9)
        })
    })?;
    let evidence = Evidence::default().with(PIPES[0].1, calls[0]).with(PIPES[1].1, calls[1]);
    Ok(evidence.with_ratio(PIPE_RATIO, &pairs))
}

fn congestion_controls(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let available = fs::read_to_string(path).unwrap_or_default();
    let spec = bench.spec(Via::Sendfile);
    let (mut evidence, mut compared) = (Evidence::default(), false);
    for (name, subject) in CONGESTION {
        if !available.split_whitespace().any(|one| one == name) {
            evidence = evidence.with(name, msg!("not available"));
            continue;
        }
        let pairs = with_options(bench, |bench| {
            alternate(bench.pairs(), |is_reno| {
                let name = if is_reno { "reno" } else { name };
                set_options(bench, &json!({ "congestion": name }))?;
                Ok(sender_cpu(bench, &spec)?.0)
            })
        });
        evidence = match pairs {
            Ok(pairs) => {
                compared = true;
                evidence.with_ratio(subject, &pairs)
            }
            // Without privileges, only those that the administrator allows.
            Err(ExperimentError::Failed(why) | ExperimentError::Skipped(why)) => {
                evidence.with(name, why.as_str())
            }
        };
    }
    let none = || ExperimentError::Skipped("no other congestion control is available".to_owned());
    compared.then_some(evidence).ok_or_else(none)
}

/// Runs an experiment that sets options of the sender, and resets them.
fn with_options<'a, T>(
    bench: &mut ClaimsBench<'a>,
    experiment: impl FnOnce(&mut ClaimsBench<'a>) -> Result<T, ExperimentError>,
) -> Result<T, ExperimentError> {
    let outcome = experiment(bench);
    set_options(bench, &json!({}))?;
    outcome
}

fn set_options(bench: &mut ClaimsBench<'_>, options: &Value) -> Result<(), ExperimentError> {
    let mut command = options.clone();
    command["command"] = json!("sender-options");
    bench.base.request_sender(Transport::Loopback, &command).map(drop)
}
