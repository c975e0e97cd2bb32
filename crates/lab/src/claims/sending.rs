//! Claims about sending: by reference, and in two parts.

use serde_json::json;

use karez_transfer::Via;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{Order, alternate, noise};
use super::verdict::Verdict;
use crate::error::Error;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::transport::Transport;
use crate::workers::Worker;

/// Sizes of datagrams with the subject of their ratio.
const SIZES: [(u64, &str); 4] = [
    (1 << 10, "MSG_ZEROCOPY/send, 1 KiB"),
    (4 << 10, "MSG_ZEROCOPY/send, 4 KiB"),
    (16 << 10, "MSG_ZEROCOPY/send, 16 KiB"),
    (60 << 10, "MSG_ZEROCOPY/send, 60 KiB"),
];

/// Datagrams of a run.
const DATAGRAMS: u64 = 1024;

/// Largest packet of the dummy device: a datagram is one packet.
const MTU: u64 = 65_535;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 39,
        name: "zerocopy-size",
        statement: msg!("MSG_ZEROCOPY pays above 10 KiB"),
        reason: msg!(
            "pinning the pages and reading the notification cost about as much as the copy of some \
             KiB; lo and veth copy late in any case"
        ),
        needs: &[],
        experiment: by_reference,
        rule: |evidence| {
            let over_lo = evidence.count("sends copied")? < evidence.count("sends over lo")?;
            if !over_lo && evidence.word("dummy device").is_some() {
                let what =
                    msg!("the device: lo copied every send; another device could not be tested");
                return Some(Verdict::DependsOn(what.to_owned()));
            }
            let [_, small, large, largest] = SIZES.map(|(_, subject)| evidence.order(subject));
            let (small, large, largest) = (small?, large?, largest?);
            let what = msg!(
                "the device and the size: lo copies every send; the ratios show from which size a \
                 device that does not copy gains"
            );
            Some(match (small, large, largest) {
                (_, Order::Unclear, _) | (_, _, Order::Unclear) => noise(),
                (_, Order::Same | Order::More, Order::Same | Order::More) => Verdict::Refuted,
                (Order::Same | Order::More, Order::Less, Order::Less) if over_lo => {
                    Verdict::Confirmed
                }
                _ => Verdict::DependsOn(what.to_owned()),
            })
        },
    },
    Claim {
        number: 42,
        name: "cork-more",
        statement: msg!("TCP_CORK saves more than MSG_MORE"),
        reason: msg!(
            "both make TCP wait for the next bytes; TCP_CORK takes two more calls, and is needed only \
             where a call has no flags, as sendfile"
        ),
        needs: &[],
        experiment: two_parts,
        rule: |evidence| {
            let count = |by: &str, name: &str| evidence.count(&format!("{by}: {name}"));
            let segments = count("TCP_CORK", "segments")? < count("MSG_MORE", "segments")?;
            let calls = count("TCP_CORK", "system calls")? < count("MSG_MORE", "system calls")?;
            Some(confirmed_if(segments || calls))
        },
    },
];

fn by_reference(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let spec = bench.spec(Via::Zerocopy);
    let notifications = bench.base.uncounted(&spec, Transport::Loopback)?.zerocopy;
    let mut evidence = Evidence::default()
        .with(msg!("sends over lo"), u64::from(notifications.sends))
        .with(msg!("sends copied"), u64::from(notifications.copied));
    let mut worker = match worker_with_dummy(bench) {
        Ok(worker) => worker,
        Err(error) => return Ok(evidence.with(msg!("dummy device"), error.to_string().as_str())),
    };
    let mut copied = 0;
    for (bytes, subject) in SIZES {
        let pairs = alternate(bench.pairs(), |by_copy| {
            let reply = worker.request(&json!({
                "command": "send-datagrams", "to": "192.0.2.6:9", "bytes": bytes,
                "count": DATAGRAMS, "zerocopy": !by_copy,
            }))?;
            copied += reply["copied"].as_u64().unwrap_or(0);
            let cpu = reply["usage"]["cpu"].as_f64();
            cpu.ok_or_else(|| ExperimentError::Failed("a worker gave no CPU time".to_owned()))
        })?;
        evidence = evidence.with_ratio(subject, &pairs);
    }
    Ok(evidence.with(msg!("datagrams to a dummy device copied"), copied))
}

/// Starts a worker in a private network with a device that discards all packets.
pub(super) fn worker_with_dummy(bench: &ClaimsBench<'_>) -> Result<Worker, Error> {
    let mut worker = bench.base.worker()?;
    for command in [
        json!({ "command": "enter-network" }),
        json!({ "command": "add-dummy", "name": "karez2", "mtu": MTU }),
        json!({ "command": "add-address", "name": "karez2", "address": "192.0.2.5" }),
    ] {
        worker.request(&command)?;
    }
    Ok(worker)
}

fn two_parts(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default();
    for by in [msg!("two sends"), "MSG_MORE", "TCP_CORK"] {
        let mut worker = bench.base.worker()?;
        let traced = worker.request_traced(&json!({ "command": "send-two-parts", "by": by }));
        let (reply, calls) = traced.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
        let segments = reply["segments"].as_u64();
        let missing = || ExperimentError::Failed("a worker counted no segments".to_owned());
        evidence = evidence
            .with(format!("{by}: {}", msg!("segments")), segments.ok_or_else(missing)?)
            .with(format!("{by}: {}", msg!("system calls")), calls.values().sum::<u64>());
    }
    Ok(evidence)
}
