//! Plans: which call fails, at which of its times, and how. As text or from a seed.

use std::fmt;
use std::str::FromStr;

use super::calls::{CALLS, Count, Length, errno, errno_name, position};
use super::random::Numbers;

/// The whole of a chance, in millionths.
pub(super) const ALWAYS: u32 = 1_000_000;

/// What happens instead of a call, or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails with this errno, without having done anything.
    Errno(u16),
    /// It is made with a smaller length.
    Short,
    /// It is made after so many milliseconds.
    Delay(u16),
}

/// An effect on some of the times that a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The position of the call in the table.
    pub(super) call: u8,
    /// The first time, from 1.
    pub(super) first: u64,
    /// The last time.
    pub(super) last: u64,
    /// How likely it is, in millionths.
    pub(super) chance: u32,
    pub(super) effect: Effect,
}

/// Rules, of which the first that applies is followed. As text, `CALL:TIMES=EFFECT[/CHANCE%]` and commas: the
/// times are `N`, `N-M` or `*`, the effect is the name of an errno, `short` or `delay` and milliseconds; `seed=N` chooses
/// what is left to chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) seed: u64,
    pub(super) rules: Vec<Rule>,
}

impl Plan {
    /// The most rules of a plan.
    pub const MOST: usize = 32;

    /// Draws a plan: one to three faults in calls that an earlier, undisturbed run has `made`.
    #[must_use]
    pub fn random(seed: u64, made: &[Count]) -> Self {
        let mut numbers = Numbers::new(seed);
        let count = [1, 1, 2, 3][usize::try_from(numbers.below(4)).unwrap_or(0)];
        let rules = (0..count).filter_map(|_| Rule::random(&mut numbers, made)).collect();
        Self { seed, rules }
    }
}

impl Rule {
    fn random(numbers: &mut Numbers, made: &[Count]) -> Option<Self> {
        let reached: Vec<usize> = (0..made.len()).filter(|&at| made[at].made > 0).collect();
        let at = numbers.one_of(&reached)?;
        let call = position(made[at].call)?;
        let first = 1 + numbers.below(made[at].made);
        let (first, last, chance) = match numbers.below(8) {
            // Lasting: every time from one on, as when memory or descriptors have run out.
            0 => (first, u64::MAX, ALWAYS / 20),
            1 => (first, first + 3, ALWAYS),
            _ => (first, first, ALWAYS),
        };
        let may_be_short = CALLS.get(call)?.length != Length::None;
        let effect = match numbers.below(8) {
            0 => Effect::Delay(u16::try_from(1 + numbers.below(20)).ok()?),
            1..=3 if may_be_short => Effect::Short,
            _ => Effect::Errno(errno(numbers.one_of(CALLS.get(call)?.errnos)?)?),
        };
        Some(Self { call: u8::try_from(call).ok()?, first, last, chance, effect })
    }
}

/// Why a text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a rule of a fault plan: CALL:TIMES=EFFECT[/CHANCE%]", self.0)
    }
}

impl std::error::Error for PlanError {}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let error = || PlanError(part.to_owned());
            match part.strip_prefix("seed=") {
                Some(seed) => plan.seed = seed.parse().map_err(|_| error())?,
                None if plan.rules.len() == Self::MOST => return Err(error()),
                None => plan.rules.push(rule(part).ok_or_else(error)?),
            }
        }
        Ok(plan)
    }
}

fn rule(text: &str) -> Option<Rule> {
    let (call, rest) = text.split_once(':')?;
    let (times, rest) = rest.split_once('=')?;
    let (effect, chance) = match rest.split_once('/') {
        Some((effect, chance)) => (effect, percent(chance)?),
        None => (rest, ALWAYS),
    };
    let (first, last) = match times.split_once('-') {
        None if times == "*" => (1, u64::MAX),
        None => (times.parse().ok()?, times.parse().ok()?),
        Some((first, "")) => (first.parse().ok()?, u64::MAX),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
    };
    let effect = match effect.strip_prefix("delay") {
        Some(milliseconds) => Effect::Delay(milliseconds.parse().ok()?),
        None if effect == "short" => Effect::Short,
        None => Effect::Errno(errno(effect)?),
    };
    Some(Rule { call: u8::try_from(position(call)?).ok()?, first, last, chance, effect })
}

fn percent(text: &str) -> Option<u32> {
    let percent: u32 = text.strip_suffix('%')?.parse().ok()?;
    percent.checked_mul(ALWAYS / 100).filter(|&chance| chance <= ALWAYS)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = CALLS.get(usize::from(self.call)).map_or("?", |call| call.name);
        write!(f, "{call}:")?;
        match (self.first, self.last) {
            (1, u64::MAX) => f.write_str("*")?,
            (first, u64::MAX) => write!(f, "{first}-")?,
            (first, last) if first == last => write!(f, "{first}")?,
            (first, last) => write!(f, "{first}-{last}")?,
        }
        match self.effect {
            Effect::Errno(number) => write!(f, "={}", errno_name(number).unwrap_or("?"))?,
            Effect::Short => f.write_str("=short")?,
            Effect::Delay(milliseconds) => write!(f, "=delay{milliseconds}")?,
        }
        match self.chance {
            ALWAYS => Ok(()),
            chance => write!(f, "/{}%", chance / (ALWAYS / 100)),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.seed != 0 {
            parts.push(format!("seed={}", self.seed));
        }
        parts.extend(self.rules.iter().map(Rule::to_string));
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_written_as_it_is_read() {
        for text in [
            "",
            "sendfile:3=EIO",
            "accept4:*=EMFILE/10%",
            "seed=7,pread64:2-9=short,uring-read:4-=delay5/50%",
        ] {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
        for text in ["sendfile", "sendfile:3", "sendfile:x=EIO", "nosuch:1=EIO", "read:1=ENOSUCH"] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_plans_name_calls_that_were_made_and_can_be_replayed() {
        let made = [
            Count { call: "sendfile", made: 5, injected: 0 },
            Count { call: "poll", made: 0, injected: 0 },
        ];
        for seed in 1..500 {
            let plan = Plan::random(seed, &made);
            assert!(!plan.rules.is_empty());
            assert!(plan.rules.iter().all(|rule| rule.to_string().starts_with("sendfile:")));
            assert!(plan.rules.iter().all(|rule| rule.first <= 5));
            assert_eq!(plan, Plan::random(seed, &made));
            assert_eq!(plan, plan.to_string().parse().unwrap());
        }
    }

    #[test]
    fn every_errno_of_the_table_has_a_number() {
        for call in CALLS {
            assert!(!call.errnos.is_empty());
            assert!(call.errnos.iter().all(|name| errno(name).is_some()), "{}", call.name);
        }
    }
}
