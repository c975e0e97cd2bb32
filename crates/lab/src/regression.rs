//! A line through samples: how much each idle descriptor costs.
//!
//! Least squares over every run; the band is a bootstrap of 95 %: runs are drawn anew, with
//! repetition, among those of the same abscissa, and the line is laid again, a thousand times.
//!
//! What it does badly: the far end has the longest lever, so what disturbs the runs with the most
//! descriptors moves the slope most; and a line is laid through what is no line, too.

use serde_json::{Value, json};
use std::fmt;

use crate::rng::Rng;

/// How often the line is laid again.
const RESAMPLES: usize = 1000;

/// The slope of a line, with its band of 95 %.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slope {
    /// By least squares over all samples.
    pub fitted: f64,
    /// The lower end of the band.
    pub low: f64,
    /// The upper end of the band.
    pub high: f64,
}

impl Slope {
    /// Of samples in groups: an abscissa and what was measured there. `None` for fewer than two.
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

    /// Whether the band has nothing in common with 0.
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

/// By least squares; `None` for points above one another.
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
