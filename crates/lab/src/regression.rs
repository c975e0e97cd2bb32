//! Linear regression: the cost of each idle descriptor.
//!
//! The slope is fitted by least squares over all runs. Its interval is a 95 % bootstrap: the runs
//! of each abscissa are resampled with replacement, and the line is fitted again, a thousand times.
//!
//! # Limitations
//! Runs with the most descriptors have the largest influence on the slope. A line is fitted even if
//! the relation is not linear.

use serde_json::{Value, json};
use std::fmt;

use crate::rng::Rng;

/// Number of bootstrap resamples.
const RESAMPLES: usize = 1000;

/// A slope with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slope {
    /// The least-squares slope over all samples.
    pub fitted: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
}

impl Slope {
    /// Fits a slope to groups of samples, each with its abscissa. Returns `None` for fewer than two
    /// abscissas.
    #[must_use]
    pub fn of(groups: &[(f64, Vec<f64>)], seed: u64) -> Option<Self> {
        let all = groups.iter().flat_map(|(x, ys)| ys.iter().map(|&y| (*x, y)));
        let fitted = slope(all)?;
        let mut rng = Rng::from_seed(seed);
        let mut slopes: Vec<_> = (0..RESAMPLES)
            .filter_map(|_| {
                let mut drawn = Vec::new();
                for (x, ys) in groups {
                    drawn.extend((0..ys.len()).map(|_| (*x, ys[rng.below(ys.len())])));
                }
                slope(drawn.into_iter())
            })
            .collect();
        slopes.sort_by(f64::total_cmp);
        let at = |share: usize| slopes.get(slopes.len() * share / 1000).copied();
        Some(Self { fitted, low: at(25)?, high: at(974)? })
    }

    /// Returns whether the interval lies above 0.
    #[must_use]
    pub fn rises(&self) -> bool {
        self.low > 0.0
    }

    pub(crate) fn to_json(self) -> Value {
        json!({ "fitted": self.fitted, "low": self.low, "high": self.high })
    }
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fitted, low, high } = self;
        write!(f, "{fitted:.2} [{low:.2}..{high:.2}]")
    }
}

/// Returns the least-squares slope; `None` if all points have the same abscissa.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let (mut count, mut xs, mut ys) = (0.0, 0.0, 0.0);
    for (x, y) in points.clone() {
        (count, xs, ys) = (count + 1.0, xs + x, ys + y);
    }
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        let from_middle = x - xs / count;
        above += from_middle * (y - ys / count);
        below += from_middle * from_middle;
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_lies_within_its_interval() {
        let line = |slope: f64| {
            let at = |x: f64| (x, [-0.5, 0.0, 0.5].map(|off| slope * x + 3.0 + off).to_vec());
            Slope::of(&[at(10.0), at(100.0), at(1000.0)], 7).unwrap()
        };
        let rising = line(2.0);
        assert!((rising.fitted - 2.0).abs() < 1e-9, "{rising}");
        assert!(rising.low < 2.0 && 2.0 < rising.high && rising.rises(), "{rising}");
        let level = line(0.0);
        assert!(level.low < 0.0 && 0.0 < level.high && !level.rises(), "{level}");
    }

    #[test]
    fn single_abscissa_has_no_slope() {
        assert_eq!(Slope::of(&[(1.0, vec![1.0, 2.0])], 7), None);
        assert_eq!(Slope::of(&[], 7), None);
    }
}
