//! The outcome of a transfer: the transfer's report, resource usage and counts.

use karez_transfer::{Notifications, Via};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::probe::{Counts, ProcessCounts};
use crate::transfer_spec::TransferSpec;

/// The outcome of one transfer.
#[derive(Clone, Debug)]
pub struct TransferOutcome {
    /// The requested via.
    pub requested: Via,
    /// The via that ran, as reported by the transfer.
    pub effective: Via,
    /// Fallbacks: each unsupported via with the kernel's error.
    pub fallbacks: Vec<(String, String)>,
    /// System calls by name, as counted by the transfer.
    pub calls: BTreeMap<String, u64>,
    /// Notifications of the error queue about sends with `MSG_ZEROCOPY`.
    pub zerocopy: Notifications,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes received.
    pub received: u64,
    /// Time from the sender's first call to the last byte at the receiver.
    pub time: Duration,
    /// Resource usage of the sending thread.
    pub sender: ResourceUsage,
    /// Resource usage of the receiving thread.
    pub receiver: ResourceUsage,
    /// Number of attempts until the counters had seen every byte.
    pub tries: u32,
    /// Counts, if counters were attached.
    pub counts: Option<Counts>,
}

/// Resource usage of a thread, available without privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    /// CPU time in user and kernel mode.
    pub cpu: Duration,
    /// Page faults resolved without I/O.
    pub minor_faults: u64,
    /// Page faults that waited for a disk.
    pub major_faults: u64,
    /// Context switches because the thread blocked.
    pub voluntary: u64,
    /// Context switches because the thread was preempted.
    pub involuntary: u64,
}

impl TransferOutcome {
    pub(crate) fn of(
        spec: &TransferSpec,
        sender_reply: &Value,
        receiver_reply: &Value,
        counts: Option<Counts>,
    ) -> Result<Self> {
        let effective = spec
            .run_instead
            .map_or_else(|| sender_reply["ran"].as_str(), |_| Some(spec.via.name()));
        let effective = effective.and_then(|name| name.parse().ok());
        let outcome = Self {
            requested: spec.via,
            effective: effective
                .ok_or_else(|| Error::new("read", "a report", "it names no via"))?,
            fallbacks: fallbacks(&sender_reply["fallbacks"]),
            calls: calls(&sender_reply["calls"]),
            zerocopy: Notifications {
                sends: small(&sender_reply["zerocopy"]["sends"]),
                released: small(&sender_reply["zerocopy"]["released"]),
                copied: small(&sender_reply["zerocopy"]["copied"]),
            },
            bytes: sender_reply["bytes"].as_u64().unwrap_or(0),
            received: receiver_reply["bytes"].as_u64().unwrap_or(0),
            time: time(&sender_reply["started"], &receiver_reply["ended"]),
            sender: usage(&sender_reply["usage"]),
            receiver: usage(&receiver_reply["usage"]),
            tries: 1,
            counts,
        };
        if outcome.received == spec.bytes {
            return Ok(outcome);
        }
        let why = format!("{} of {} bytes arrived", outcome.received, spec.bytes);
        Err(Error::new("move by", spec.via, why))
    }

    /// Returns the counts of the sender.
    #[must_use]
    pub fn sender_counts(&self) -> Option<&ProcessCounts> {
        self.counts.as_ref()?.processes.first()
    }

    /// Returns the counts of the receiver.
    #[must_use]
    pub fn receiver_counts(&self) -> Option<&ProcessCounts> {
        self.counts.as_ref()?.processes.get(1)
    }
}

fn fallbacks(reply: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = reply.as_array().into_iter().flatten();
    each.map(|one| (word(&one["from"]), word(&one["errno"]))).collect()
}

fn calls(reply: &Value) -> BTreeMap<String, u64> {
    let each = reply.as_object().into_iter().flatten();
    each.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn small(reply: &Value) -> u32 {
    reply.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn time(begun: &Value, ended: &Value) -> Duration {
    let (begun, ended) = (begun.as_u64().unwrap_or(0), ended.as_u64().unwrap_or(0));
    Duration::from_nanos(ended.saturating_sub(begun))
}

fn usage(reply: &Value) -> ResourceUsage {
    let number = |name: &str| reply[name].as_u64().unwrap_or(0);
    ResourceUsage {
        cpu: Duration::from_nanos(number("cpu")),
        minor_faults: number("minor_faults"),
        major_faults: number("major_faults"),
        voluntary: number("voluntary"),
        involuntary: number("involuntary"),
    }
}
