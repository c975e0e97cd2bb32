//! A short memory of parts of an open file that were in the page cache and read in completely.
//!
//! A query of the page cache costs several system calls. A server that keeps a file open shares one
//! [`Residency`] among all transfers of it, so the parts of a hot file are queried once a second, and most
//! requests make no query.
//!
//! # Limitations
//!
//! Pages that are evicted within this second are not noticed: a step that must not block then waits for
//! the disk, at most once per page and second. Of a file above 16 MiB only the parts used last are
//! remembered.

use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bytes of a part. A step moves about as many.
const PART: u64 = 1 << 20;

/// The number of parts that are remembered.
const PARTS: usize = 16;

/// The time for which a proof counts, in milliseconds.
const VALID: u32 = 1000;

/// A slot of no part.
const EMPTY: u64 = u64::MAX;

/// Remembers for a second which parts of an open file are in memory.
///
/// The transfers of the file share it by [`FileToSocket::residency`](crate::FileToSocket::residency).
pub struct Residency {
    /// The length of the file.
    len: u64,
    /// The number of a part and the moment of its proof, 32 bits each. A part has a fixed slot, so
    /// threads need no lock.
    slots: [AtomicU64; PARTS],
}

impl Residency {
    /// The time for which a part counts as in memory.
    pub const VALID: Duration = Duration::from_millis(VALID as u64);

    /// Returns a memory for an open file of this length, with no part proven.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { len, slots: [const { AtomicU64::new(EMPTY) }; PARTS] }
    }

    /// Returns whether the range was proven in the second before `now`.
    pub(crate) fn covers(&self, range: &Range<u64>, now: Moment) -> bool {
        let mut parts = parts(range);
        parts.clone().count() <= PARTS
            && parts.all(|part| {
                let entry = self.slot(part).load(Ordering::Relaxed);
                entry >> 32 == part && entry != EMPTY && Moment(low(entry)).is_valid(now)
            })
    }

    /// Remembers the parts that lie in the proven range completely.
    pub(crate) fn note(&self, range: &Range<u64>, now: Moment) {
        let end = if range.end >= self.len { range.end.next_multiple_of(PART) } else { range.end };
        for part in range.start.div_ceil(PART)..end / PART {
            if part < u64::from(u32::MAX) {
                self.slot(part).store(part << 32 | u64::from(now.0), Ordering::Relaxed);
            }
        }
    }

    /// Returns the range extended to whole parts of the file.
    pub(crate) fn whole_parts(&self, range: &Range<u64>) -> Range<u64> {
        let parts = parts(range);
        parts.start * PART..(parts.end * PART).min(self.len.max(range.end))
    }

    fn slot(&self, part: u64) -> &AtomicU64 {
        &self.slots[usize::try_from(part % PARTS as u64).unwrap_or(0)]
    }
}

impl fmt::Debug for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residency").field("len", &self.len).finish_non_exhaustive()
    }
}

fn parts(range: &Range<u64>) -> Range<u64> {
    range.start / PART..range.end.div_ceil(PART)
}

#[expect(clippy::cast_possible_truncation, reason = "the other half is the number of the part")]
fn low(entry: u64) -> u32 {
    entry as u32
}

/// A moment in milliseconds, which wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(u32);

impl Moment {
    /// Returns the current moment; the kernel updates it a few hundred times a second.
    pub(crate) fn now() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(time) = karez_sys::simulation::elapsed() {
            return Self(low(u64::try_from(time.as_millis()).unwrap_or(0)));
        }
        let time = clock_gettime(ClockId::MonotonicCoarse);
        Self(low((time.tv_sec * 1000 + time.tv_nsec / 1_000_000).cast_unsigned()))
    }

    /// Returns the moment as a number, to be stored in an atomic one.
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// Returns the moment of such a number.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns whether a proof of this moment still counts.
    pub(crate) fn is_valid(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0) < VALID
    }
}

/// The part of a file that a transfer knows to be in memory.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    range: Range<u64>,
    at: Moment,
}

impl Proof {
    pub(crate) fn new(range: Range<u64>, at: Moment) -> Self {
        Self { range, at }
    }

    /// Returns how many bytes from `offset` on are proven.
    pub(crate) fn bytes_from(&self, offset: u64, now: Moment) -> u64 {
        let valid = self.range.contains(&offset) && self.at.is_valid(now);
        if valid { self.range.end - offset } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_are_remembered_for_a_second() {
        let residency = Residency::new(5 * PART / 2);
        let (proven, later) = (Moment(u32::MAX - 10), Moment(500));
        assert!(!residency.covers(&(0..1), proven));
        residency.note(&(100..5 * PART / 2), proven);
        assert!(!residency.covers(&(100..200), proven), "the part is not proven completely");
        assert!(residency.covers(&(PART..5 * PART / 2), later));
        assert!(residency.covers(&(PART + 7..PART + 8), later));
        assert!(!residency.covers(&(PART - 1..PART + 8), later));
        assert!(!residency.covers(&(PART..2 * PART), Moment(1000)));
        assert_eq!(residency.whole_parts(&(PART + 7..2 * PART + 1)), PART..5 * PART / 2);
        assert_eq!(residency.whole_parts(&(0..9 * PART)), 0..9 * PART, "the file has grown");
    }

    #[test]
    fn parts_with_the_same_slot_replace_each_other() {
        let residency = Residency::new(100 * PART);
        let part = |number: u64| number * PART..(number + 1) * PART;
        residency.note(&part(3), Moment(7));
        residency.note(&part(19), Moment(7));
        assert!(residency.covers(&part(19), Moment(7)) && !residency.covers(&part(3), Moment(7)));
        residency.note(&(0..100 * PART), Moment(8));
        assert!(!residency.covers(&(0..100 * PART), Moment(8)), "not all parts fit");
        assert!(residency.covers(&(84 * PART..100 * PART), Moment(8)));
    }

    #[test]
    fn a_proof_ends_at_its_end_and_after_a_second() {
        let proof = Proof::new(10..20, Moment(0));
        let bytes = |offset, now| proof.bytes_from(offset, Moment(now));
        assert_eq!((bytes(10, 0), bytes(19, 999), bytes(19, 1000)), (10, 1, 0));
        assert_eq!((bytes(9, 0), bytes(20, 0)), (0, 0));
        assert_eq!(Proof::default().bytes_from(0, Moment(0)), 0);
    }
}
