//! Summary of repeated measurements: median and range.

use serde_json::{Value, json};
use std::fmt;

/// Median and range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MedianRange {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub low: f64,
    /// The maximum.
    pub high: f64,
}

impl MedianRange {
    /// Summarises samples; 0 if there are none.
    #[must_use]
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self { median: f64::midpoint(lower, upper), low, high }
    }

    /// Returns the median with its confidence interval of at least 95 %, by order statistics: it makes
    /// no assumption on the distribution. Fewer than six samples have the range instead.
    pub(crate) fn with_confidence(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let outside = samples_outside(sorted.len());
        let inside = sorted.get(outside..sorted.len() - outside).unwrap_or_default();
        let (low, high) = (inside.first().copied(), inside.last().copied());
        Self { low: low.unwrap_or(0.0), high: high.unwrap_or(0.0), ..Self::of(sorted) }
    }

    /// Returns whether the ranges overlap, so that neither value ranks higher.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Returns the same values in another unit.
    #[must_use]
    pub fn scaled(&self, by: f64) -> Self {
        Self { median: self.median * by, low: self.low * by, high: self.high * by }
    }

    pub(crate) fn to_json(self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high })
    }
}

impl fmt::Display for MedianRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, low, high } = self;
        write!(f, "{median:.digits$} [{low:.digits$}..{high:.digits$}]")
    }
}

/// Returns how many of the lowest, and of the highest, of `count` samples are outside of the interval:
/// the most for which so few heads of `count` fair coins have a probability of at most 2.5 %.
fn samples_outside(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut sum, mut outside) = (probability, 0);
    loop {
        probability *= ratio(count - outside, outside + 1);
        sum += probability;
        if sum > 0.025 {
            return outside;
        }
        outside += 1;
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of samples")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_is_the_midpoint() {
        assert_eq!(
            MedianRange::of([4.0, 1.0, 2.0, 3.0]),
            MedianRange { median: 2.5, low: 1.0, high: 4.0 }
        );
        assert_eq!(MedianRange::of([7.0]).median.to_bits(), 7.0_f64.to_bits());
        assert_eq!(MedianRange::of([]), MedianRange::default());
        assert_eq!(format!("{:.1}", MedianRange::of([1.0, 2.0, 3.0])), "2.0 [1.0..3.0]");
    }

    #[test]
    fn interval_of_the_median_excludes_outliers() {
        // The tables of the binomial distribution: ranks 2 to 8 of 9, 4 to 12 of 15, 6 to 15 of 20.
        assert_eq!([0, 1, 5, 6, 9, 15, 20].map(samples_outside), [0, 0, 0, 0, 1, 3, 5]);
        let noisy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 900.0];
        let expected = MedianRange { median: 5.0, low: 2.0, high: 8.0 };
        assert_eq!(MedianRange::with_confidence(noisy), expected);
        assert_eq!(MedianRange::with_confidence([]), MedianRange::default());
    }

    #[test]
    fn overlapping_ranges_are_detected() {
        let (slow, fast) = (MedianRange::of([1.0, 2.0]), MedianRange::of([2.5, 3.0]));
        assert!(!slow.overlaps(&fast));
        assert!(slow.overlaps(&MedianRange::of([1.5, 9.0])));
    }
}
