//! Precision of the available counters, detected by attaching them.

use std::fmt;

use crate::language::{msg, text, tr_word};
use crate::probe::{Counters, Scope, Unavailable};

/// Available counters, and the reasons for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Why BPF on tracepoints (T1) is unavailable; `None` if it is available.
    pub without_t1: Option<String>,
    /// Why BPF on functions (T3) is unavailable; `None` if it is available.
    pub without_t3: Option<String>,
    /// Tracepoints that this kernel lacks.
    pub missing: Vec<&'static str>,
}

/// Precision of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Without privileges: the transfer's counts, getrusage, cachestat, notifications, the mutation
    /// probe. Copied bytes are inferred.
    T0,
    /// BPF on tracepoints: exact to the byte.
    T1,
    /// Like T1, with function hooks as a second source.
    T3,
}

impl Tier {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::T0 => "T0",
            Self::T1 => "T1",
            Self::T3 => "T3",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Tiers {
    /// Derives the tiers from an attempt to attach the counters.
    #[must_use]
    pub fn of(attached: std::result::Result<&Counters, &Unavailable>) -> Self {
        match attached {
            Ok(counters) => {
                let function = counters.missing().iter().find(|one| one.is_function);
                let points = counters.missing().iter().filter(|one| !one.is_function);
                Self {
                    without_t1: None,
                    without_t3: function.map(|one| format!("fexit {}: {}", one.name, one.why)),
                    missing: points.map(|one| one.name).collect(),
                }
            }
            Err(why) => Self {
                without_t1: Some(why.to_string()),
                without_t3: Some(msg!("it needs T1").to_owned()),
                missing: Vec::new(),
            },
        }
    }

    /// Detects the available tiers.
    #[must_use]
    pub fn detect() -> Self {
        let attached = Counters::attach(&Scope::default());
        Self::of(attached.as_ref())
    }

    /// Returns the best available tier.
    #[must_use]
    pub fn best(&self) -> Tier {
        match (&self.without_t1, &self.without_t3) {
            (Some(_), _) => Tier::T0,
            (None, Some(_)) => Tier::T1,
            (None, None) => Tier::T3,
        }
    }
}

impl Tiers {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "best": self.best().name(),
            "without_t1": self.without_t1,
            "without_t3": self.without_t3,
            "missing_tracepoints": self.missing,
        })
    }
}

impl fmt::Display for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.best() {
            Tier::T0 => text!("counters without privilege; copied bytes are inferred"),
            Tier::T1 => text!("exact, by tracepoints"),
            Tier::T3 => text!("exact, by tracepoints, cross-checked with function hooks"),
        };
        f.write_str(&text!("tier {tier}: {what}", tier = self.best(), what = what))?;
        if let Some(why) = &self.without_t1 {
            write!(f, "\n{}", text!("no T1: {why}", why = why))?;
            let how = text!(
                "for exact counts: run it as root, or sudo setcap cap_bpf,cap_perfmon+ep karez; in a \
                 container: --cap-add BPF --cap-add PERFMON"
            );
            write!(f, "\n{how}")?;
        }
        if let Some(why) = &self.without_t3 {
            write!(f, "\n{}", text!("no T3: {why}", why = tr_word(why)))?;
        }
        if !self.missing.is_empty() {
            let names = self.missing.join(", ");
            write!(f, "\n{}", text!("missing on this kernel: {names}", names = names))?;
        }
        Ok(())
    }
}
