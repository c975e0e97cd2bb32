//! Fairness of shares: Jain's index (Jain, Chiu, Hawe 1984, DEC-TR-301), and the ratio of the
//! smallest share to the largest.
//!
//! # Limitations
//! The index hides a single starving connection among many; the ratio shows only that one.

/// Returns Jain's index, the squared sum divided by the sum of squares and the number of shares: 1
/// if all shares are equal, 1/n if one share has everything, 1 if all are 0.
#[must_use]
pub fn jain(shares: &[u64]) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for share in shares.iter().map(|&share| number(share)) {
        sum += share;
        squares += share * share;
    }
    if squares > 0.0 { sum * sum / (number(shares.len() as u64) * squares) } else { 1.0 }
}

/// Returns the smallest share divided by the largest: 1 if all are equal.
#[must_use]
pub fn min_max_ratio(shares: &[u64]) -> f64 {
    match (shares.iter().min(), shares.iter().max()) {
        (Some(&least), Some(&most)) if most > 0 => number(least) / number(most),
        _ => 1.0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "requests of an experiment")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_index_ranges_from_one_over_n_to_one() {
        let near = |index: f64, expected: f64| assert!((index - expected).abs() < 1e-9, "{index}");
        near(jain(&[7, 7, 7, 7]), 1.0);
        near(jain(&[9, 0, 0, 0]), 0.25);
        near(jain(&[1, 3]), 0.8);
        near(jain(&[]), 1.0);
        near(jain(&[0, 0]), 1.0);
        near(min_max_ratio(&[2, 8, 4]), 0.25);
        near(min_max_ratio(&[0, 0]), 1.0);
    }
}
