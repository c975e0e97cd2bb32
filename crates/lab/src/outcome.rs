//! What one movement came to: what the transfer says, what the processes used, what was counted.

use karez_transfer::{Notifications, Via};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::movement::Movement;
use crate::probe::{Counts, ProcessCounts};

/// What one movement came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The via that was asked for.
    pub asked: Via,
    /// The via that ran, as the transfer says.
    pub ran: Via,
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
    pub sender: Used,
    /// What the receiver's thread used.
    pub receiver: Used,
    /// How often it was made until the counters had seen every byte.
    pub tries: u32,
    /// What was counted, by counters that watched it.
    pub counts: Option<Counts>,
}

/// What a thread used, by its own account: anyone can have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
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

impl Outcome {
    pub(crate) fn of(
        movement: &Movement,
        sent: &Value,
        taken: &Value,
        counts: Option<Counts>,
    ) -> Result<Self> {
        let ran =
            movement.posing.map_or_else(|| sent["ran"].as_str(), |_| Some(movement.via.name()));
        let ran = ran.and_then(|name| name.parse().ok());
        let outcome = Self {
            asked: movement.via,
            ran: ran.ok_or_else(|| Error::new("read", "a report", "it names no via"))?,
            fallbacks: fallbacks(&sent["fallbacks"]),
            calls: calls(&sent["calls"]),
            zerocopy: Notifications {
                sends: small(&sent["zerocopy"]["sends"]),
                released: small(&sent["zerocopy"]["released"]),
                copied: small(&sent["zerocopy"]["copied"]),
            },
            bytes: sent["bytes"].as_u64().unwrap_or(0),
            received: taken["bytes"].as_u64().unwrap_or(0),
            time: time(&sent["begun"], &taken["ended"]),
            sender: usage(&sent["used"]),
            receiver: usage(&taken["used"]),
            tries: 1,
            counts,
        };
        if outcome.received == movement.bytes {
            return Ok(outcome);
        }
        let why = format!("{} of {} bytes arrived", outcome.received, movement.bytes);
        Err(Error::new("move by", movement.via, why))
    }

    /// What was counted of the sender.
    #[must_use]
    pub fn sent_by(&self) -> Option<&ProcessCounts> {
        self.counts.as_ref()?.processes.first()
    }

    /// What was counted of the receiver.
    #[must_use]
    pub fn taken_by(&self) -> Option<&ProcessCounts> {
        self.counts.as_ref()?.processes.get(1)
    }
}

fn fallbacks(told: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = told.as_array().into_iter().flatten();
    each.map(|one| (word(&one["from"]), word(&one["errno"]))).collect()
}

fn calls(told: &Value) -> BTreeMap<String, u64> {
    let each = told.as_object().into_iter().flatten();
    each.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn small(told: &Value) -> u32 {
    told.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn time(begun: &Value, ended: &Value) -> Duration {
    let (begun, ended) = (begun.as_u64().unwrap_or(0), ended.as_u64().unwrap_or(0));
    Duration::from_nanos(ended.saturating_sub(begun))
}

fn usage(told: &Value) -> Used {
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    Used {
        cpu: Duration::from_nanos(number("cpu")),
        minor_faults: number("minor_faults"),
        major_faults: number("major_faults"),
        voluntary: number("voluntary"),
        involuntary: number("involuntary"),
    }
}
