//! What one spec came to: what the transfer says, what the processes used, what was counted.

use karez_transfer::{Notifications, Via};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::probe::{Counts, ProcessCounts};
use crate::transfer_spec::TransferSpec;

/// What one spec came to.
#[derive(Clone, Debug)]
pub struct TransferOutcome {
    /// The via that was requested for.
    pub requested: Via,
    /// The via that ran, as the transfer says.
    pub effective: Via,
    /// The refusals that led there: a via and the kernel's words.
    pub fallbacks: Vec<(String, String)>,
    /// System calls by name, as the transfer counted its own.
    pub calls: BTreeMap<String, u64>,
    /// What the error queue said about sends with `MSG_ZEROCOPY`.
    pub zerocopy: Notifications,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes that were received.
    pub received: u64,
    /// From the first call of the sender to the last byte at the receiver.
    pub time: Duration,
    /// What the sender's thread used.
    pub sender: ResourceUsage,
    /// What the receiver's thread used.
    pub receiver: ResourceUsage,
    /// How often it was made until the counters had seen every byte.
    pub tries: u32,
    /// What was counted, by counters that watched it.
    pub counts: Option<Counts>,
}

/// What a thread used, by its own account: anyone can have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    /// CPU time, in user mode and in kernel mode.
    pub cpu: Duration,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that waited for a disk.
    pub major_faults: u64,
    /// Context switches because it waited.
    pub voluntary: u64,
    /// Context switches because its time was over or another was more urgent.
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

    /// What was counted of the sender.
    #[must_use]
    pub fn sender_counts(&self) -> Option<&ProcessCounts> {
        self.counts.as_ref()?.processes.first()
    }

    /// What was counted of the receiver.
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
