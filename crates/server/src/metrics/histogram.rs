//! Histograms of durations with fixed buckets, 10 µs to 30 s.

use std::time::Duration;

use super::counter::Counter;

/// The upper bounds of the buckets, in nanoseconds. Behind the last one is a bucket without a bound.
pub(super) const BOUNDS: [u64; 20] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Buckets, with the one without a bound.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// The durations that one thread has observed.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; BUCKETS],
    nanoseconds: Counter,
}

/// Durations of several threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HistogramTotal {
    /// Not cumulative.
    pub(super) buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A bound belongs to its bucket (`le`).
        let bucket = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        self.buckets[bucket].add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

impl HistogramTotal {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(histogram.nanoseconds.get());
    }

    /// Adds the durations of another.
    pub(super) fn merge(&mut self, other: &Self) {
        for (total, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += bucket;
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }

    /// Returns the durations that were observed since an earlier total.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (bucket, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        since.nanoseconds = since.nanoseconds.wrapping_sub(earlier.nanoseconds);
        since
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    /// Returns the duration below which this share of all is (0 to 1), by linear interpolation within a bucket, as
    /// `histogram_quantile` of Prometheus has it; `None` without an observation.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share * count as f64;
        let (mut below, mut lower) = (0, 0);
        for (bucket, upper) in self.buckets.iter().zip(BOUNDS) {
            let within = (rank - below as f64) / (*bucket).max(1) as f64;
            if *bucket > 0 && within <= 1.0 {
                let width = Duration::from_nanos(upper - lower);
                return Some(Duration::from_nanos(lower) + width.mul_f64(within.max(0.0)));
            }
            (below, lower) = (below + bucket, upper);
        }
        Some(Duration::from_nanos(lower))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(durations: &[Duration]) -> HistogramTotal {
        let histogram = Histogram::default();
        durations.iter().for_each(|took| histogram.observe(*took));
        let mut total = HistogramTotal::default();
        total.add(&histogram);
        total
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (index, bound) in BOUNDS.into_iter().enumerate() {
            for (nanoseconds, bucket) in
                [(bound - 1, index), (bound, index), (bound + 1, index + 1)]
            {
                let total = total(&[Duration::from_nanos(nanoseconds)]);
                assert_eq!(total.buckets.iter().position(|count| *count == 1), Some(bucket));
                assert_eq!(total.count(), 1);
            }
        }
        assert_eq!(total(&[Duration::MAX]).buckets[BUCKETS - 1], 1);
    }

    #[test]
    fn sums_and_differences_are_exact() {
        let first = total(&[Duration::from_millis(3), Duration::from_secs(60)]);
        assert_eq!((first.count(), first.seconds()), (2, 60.003));
        let mut both = first.clone();
        both.merge(&total(&[Duration::from_micros(7)]));
        let since = both.since(&first);
        assert_eq!((since.count(), since.seconds()), (1, 7e-6));
        assert_eq!(since.buckets[0], 1);
    }

    #[test]
    fn quantiles_are_interpolated_within_a_bucket() {
        assert_eq!(HistogramTotal::default().quantile(0.5), None);
        // 100 durations in the bucket from 1 ms to 2.5 ms.
        let even = total(&[Duration::from_millis(2); 100]);
        assert_eq!(even.quantile(0.5), Some(Duration::from_micros(1750)));
        assert_eq!(even.quantile(1.0), Some(Duration::from_micros(2500)));
        // 98 fast ones, two slow ones.
        let mut mixed = total(&[Duration::from_micros(5); 98]);
        mixed.merge(&total(&[Duration::from_millis(200); 2]));
        assert!(mixed.quantile(0.5).unwrap() < Duration::from_micros(10));
        let slow = mixed.quantile(0.99).unwrap();
        assert!(slow > Duration::from_millis(100) && slow < Duration::from_millis(250), "{slow:?}");
        // Beyond the last bound only that is known.
        assert_eq!(total(&[Duration::from_secs(99)]).quantile(0.5), Some(Duration::from_secs(30)));
    }
}
