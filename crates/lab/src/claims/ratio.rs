//! Comparison of two ways by CPU time, as a ratio with its interval.
//!
//! Runs of both alternate, and each pair of runs gives one ratio, so that a drift of the machine affects
//! both alike. The median of the ratios has a confidence interval of 95 %. Two ways differ if the
//! interval excludes 1 and the median is at least 5 % away from it; they are equal if the interval is
//! within 10 % of 1. Otherwise the noise is larger than the effect, and the verdict says so.
//!
//! # Limitations
//! CPU time of a thread includes the interrupts that it handles. On an emulated CPU the ratios are
//! those of the emulation.

use super::evidence::Evidence;
use super::verdict::Verdict;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::stats::MedianRange;

/// Smallest difference of two ways.
const DIFFERENCE: f64 = 0.05;

/// Largest difference of equal ways.
const TOLERANCE: f64 = 0.10;

/// Names of the ratios.
pub(super) const CPU_TIME: &str = msg!("ratio of CPU time");
pub(super) const LATENCY: &str = msg!("ratio of latency");

/// The cost of the first of two ways compared with the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    Same,
    More,
    /// The interval is too wide.
    Unclear,
}

impl Evidence {
    /// Adds the ratio of the CPU times of each pair: that of the first to that of the second.
    pub(super) fn with_ratio(self, subject: &str, pairs: &[(f64, f64)]) -> Self {
        self.with_ratio_of(subject, CPU_TIME, pairs)
    }

    /// Adds the ratio of what `name` says of each pair.
    pub(super) fn with_ratio_of(self, subject: &str, name: &str, pairs: &[(f64, f64)]) -> Self {
        let pairs = pairs.iter().filter(|(_, second)| *second > 0.0);
        let ratios = MedianRange::with_confidence(pairs.map(|(first, second)| first / second));
        self.with_interval(subject, name, ratios)
    }

    /// Adds a median with its interval.
    pub(super) fn with_interval(self, subject: &str, name: &str, range: MedianRange) -> Self {
        self.with(format!("{subject}: {name}"), range.median)
            .with(format!("{subject}: {}", msg!("at least")), range.low)
            .with(format!("{subject}: {}", msg!("at most")), range.high)
    }

    /// Compares the ratio of a subject with 1.
    pub(super) fn order(&self, subject: &str) -> Option<Order> {
        let number = |name: &str| self.number(&format!("{subject}: {name}"));
        let ratio = number(CPU_TIME).or_else(|| number(LATENCY))?;
        let (low, high) = (number("at least")?, number("at most")?);
        Some(if low <= 0.0 {
            Order::Unclear
        } else if high < 1.0 && ratio <= 1.0 - DIFFERENCE {
            Order::Less
        } else if low > 1.0 && ratio >= 1.0 + DIFFERENCE {
            Order::More
        } else if low >= 1.0 - TOLERANCE && high <= 1.0 + TOLERANCE {
            Order::Same
        } else {
            Order::Unclear
        })
    }
}

/// Returns the verdict on "the first costs less": by all orders, or depending on `condition` if they
/// differ.
pub(super) fn costs_less(orders: &[Order], condition: &str) -> Verdict {
    let count = |wanted| orders.iter().filter(|&&order| order == wanted).count();
    if count(Order::Unclear) > 0 {
        noise()
    } else if count(Order::Less) == orders.len() {
        Verdict::Confirmed
    } else if count(Order::Less) == 0 {
        Verdict::Refuted
    } else {
        Verdict::DependsOn(condition.to_owned())
    }
}

/// Returns the verdict of a measurement whose noise is larger than the effect.
pub(super) fn noise() -> Verdict {
    Verdict::DependsOn(msg!("the run: the noise is larger than the difference").to_owned())
}

/// Runs both ways alternately and returns the cost of each pair; the first pair is discarded. `run`
/// gets whether it is the second way, and returns its cost.
pub(super) fn alternate(
    pairs: usize,
    mut run: impl FnMut(bool) -> Result<f64, ExperimentError>,
) -> Result<Vec<(f64, f64)>, ExperimentError> {
    let mut costs = Vec::new();
    for number in 0..=pairs {
        let begins_with_second = number % 2 == 1;
        let begun = run(begins_with_second)?;
        let ended = run(!begins_with_second)?;
        let pair = if begins_with_second { (ended, begun) } else { (begun, ended) };
        if number > 0 {
            costs.push(pair);
        }
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_needs_an_effect_beyond_the_noise() {
        let order = |range: [f64; 3]| {
            let [low, median, high] = range;
            let range = MedianRange { median, low, high };
            let evidence = Evidence::default().with_interval("a/b", "ratio of CPU time", range);
            evidence.order("a/b").unwrap()
        };
        assert_eq!(order([0.5, 0.6, 0.7]), Order::Less);
        assert_eq!(order([1.1, 1.2, 1.3]), Order::More);
        assert_eq!(order([0.97, 0.98, 0.99]), Order::Same);
        assert_eq!(order([0.92, 1.0, 1.08]), Order::Same);
        assert_eq!(order([0.7, 0.9, 1.1]), Order::Unclear);
        assert_eq!(order([0.0, 0.0, 0.0]), Order::Unclear);
    }

    #[test]
    fn ways_alternate_and_the_first_pair_is_discarded() {
        let mut order = Vec::new();
        let pairs = alternate(2, |second| {
            order.push(second);
            Ok(if second { 2.0 } else { 1.0 })
        });
        assert_eq!(pairs.unwrap(), [(1.0, 2.0); 2]);
        assert_eq!(order, [false, true, true, false, false, true]);
    }
}
