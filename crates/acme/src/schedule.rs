//! When a certificate is renewed, and when a failed attempt is repeated.
//!
//! # Limitations
//!
//! Failed attempts are counted in memory only, so a restart tries at once.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use crate::error::Failure;

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// The first pause where the server does not answer.
const UNAVAILABLE: Duration = Duration::from_secs(2);

/// The first pause where the server refuses: Let's Encrypt allows five failed checks of a name per hour.
const REFUSED: Duration = Duration::from_secs(10 * 60);

/// The longest pause that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// Returns when to renew: when a third of the lifetime is left, or up to a thirtieth of the lifetime
/// earlier, so that not all names and servers ask at the same time.
pub(crate) fn renewal(not_before: SystemTime, not_after: SystemTime, random: f64) -> SystemTime {
    let lifetime = not_after.duration_since(not_before).unwrap_or(Duration::ZERO);
    let left = lifetime / 3 + lifetime.mul_f64(random.clamp(0.0, 1.0) / 30.0);
    not_after.checked_sub(left).unwrap_or(not_before)
}

/// Returns when to renew where the server suggests a time (RFC 9773): then, but not so late that failures
/// could not be repeated for a tenth of the lifetime.
pub(crate) fn suggested(
    not_before: SystemTime,
    not_after: SystemTime,
    renewal: SystemTime,
) -> SystemTime {
    let lifetime = not_after.duration_since(not_before).unwrap_or(Duration::ZERO);
    not_after.checked_sub(lifetime / 10).map_or(renewal, |latest| renewal.min(latest))
}

/// Returns the pause after so many failures in a row: it doubles each time, less up to a quarter at
/// random, and is not shorter than the server asks for.
pub(crate) fn pause(
    failures: u32,
    failure: Failure,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let first = match failure {
        Failure::Unavailable | Failure::NoAccount => UNAVAILABLE,
        Failure::Refused | Failure::NotValidated => REFUSED,
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let pause = doubled.min(MAX_PAUSE).mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0);
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Returns a random number from 0 to 1.
pub(crate) fn random() -> f64 {
    // A new key for each state; this is no cryptography.
    let bits = RandomState::new().hash_one(0_u8);
    f64::from((bits >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_third_of_the_lifetime_is_left() {
        let begin = UNIX_EPOCH + 1000 * DAY;
        assert_eq!(renewal(begin, begin + 90 * DAY, 0.0), begin + 60 * DAY);
        assert_eq!(renewal(begin, begin + 90 * DAY, 1.0), begin + 57 * DAY);
        assert_eq!(renewal(begin, begin + 6 * DAY, 0.0), begin + 4 * DAY);
        // No lifetime at all: at once.
        assert_eq!(renewal(begin, begin, 0.5), begin);
    }

    #[test]
    fn suggested_times_leave_time_for_failures() {
        let (begin, end) = (UNIX_EPOCH + 1000 * DAY, UNIX_EPOCH + 1090 * DAY);
        for (day, expected) in [(900, 900), (1001, 1001), (1080, 1080), (1085, 1081), (9999, 1081)]
        {
            let suggested = suggested(begin, end, UNIX_EPOCH + day * DAY);
            assert_eq!(suggested, UNIX_EPOCH + expected * DAY);
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let pauses = |failure| (1..=30).map(move |failures| pause(failures, failure, None, 0.0));
        let seconds: Vec<_> = pauses(Failure::Unavailable).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds[..5], [2, 4, 8, 16, 32]);
        assert_eq!(seconds[29], MAX_PAUSE.as_secs());
        // Fewer than five in an hour.
        let hour = Duration::from_secs(3600);
        let within = pauses(Failure::NotValidated).scan(Duration::ZERO, |at, pause| {
            *at += pause;
            (*at < hour).then_some(())
        });
        assert!(within.count() < 4);
    }

    #[test]
    fn the_servers_wish_counts() {
        let asked = Some(Duration::from_secs(90_000));
        assert_eq!(pause(1, Failure::Unavailable, asked, 0.0), Duration::from_secs(90_000));
        let never = Some(Duration::MAX);
        assert_eq!(pause(1, Failure::Refused, never, 0.0), MAX_RETRY_AFTER);
    }

    proptest! {
        #[test]
        fn renewal_is_within_the_lifetime(begin in 0_u64..1 << 40, lifetime in 0_u64..1 << 40, at in 0.0..=1.0) {
            let begin = UNIX_EPOCH + Duration::from_secs(begin);
            let end = begin + Duration::from_secs(lifetime);
            let renewal = renewal(begin, end, at);
            prop_assert!(begin <= renewal && renewal <= end);
        }

        #[test]
        fn pauses_are_bounded(failures in 0_u32..u32::MAX, at in 0.0..=1.0) {
            let pause = pause(failures, Failure::Refused, None, at);
            prop_assert!(pause >= REFUSED.mul_f64(0.7499) && pause <= MAX_PAUSE);
        }
    }

    #[test]
    fn random_numbers_differ_and_are_in_range() {
        let numbers: Vec<_> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
