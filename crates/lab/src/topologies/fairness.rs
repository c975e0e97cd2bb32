//! How alike shares are: Jain's index (Jain, Chiu, Hawe 1984, DEC-TR-301), and the smallest share as
//! a part of the largest.
//!
//! What it does badly: the index hides one that starves among many; the quotient shows nobody else.

/// The square of the sum by the sum of the squares and their number: 1 where all have the same, 1/n
/// where one has all. 1 where nobody has anything.
#[must_use]
pub fn jain(shares: &[u64]) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for share in shares.iter().map(|&share| number(share)) {
        sum += share;
        squares += share * share;
    }
    if squares > 0.0 { sum * sum / (number(shares.len() as u64) * squares) } else { 1.0 }
}

/// What who has least has, as a part of what who has most has: 1 where all have the same.
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
