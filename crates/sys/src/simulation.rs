//! Deterministic simulation: the decisions of a seeded schedule, and its clock. For tests only (the feature `simulation`).
//!
//! A thread that [starts](Schedule::start) a schedule decides by it whatever the kernel, the disk, other threads and
//! time decide otherwise. All decisions are drawn from the seed, so the same seed gives the same run. On threads
//! without a schedule nothing [happens], and the clock is that of the system.
//!
//! # Limitations
//!
//! A schedule belongs to one thread: a simulated program must not make others whose progress it depends on.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::operation::Key;
use crate::split_mix::mix;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

struct State {
    seed: u64,
    drawn: u64,
    chances: [u32; Point::COUNT],
    counts: [u32; Point::COUNT],
    start: Instant,
    now: Instant,
    trace: u64,
}

/// A point in the program at which the schedule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// A job might block, so it is not tried on the event loop.
    JobWouldBlock,
    /// Bytes of a file are not in the page cache.
    PageCacheMiss,
    /// A report or a completion arrives later.
    Late,
    /// A selector reports readiness that there is not.
    Spurious,
    /// A wait is interrupted.
    InterruptedWait,
    /// An operation moves fewer bytes than it could.
    Short,
    /// An operation ends early, by an errno after which it may be tried again.
    EndsEarly,
    /// The kernel does not support an operation.
    Unsupported,
    /// A read of a file fails (`EIO`).
    ReadFails,
}

impl Point {
    const COUNT: usize = 9;

    /// All points.
    pub const ALL: [Self; Self::COUNT] = [
        Self::JobWouldBlock,
        Self::PageCacheMiss,
        Self::Late,
        Self::Spurious,
        Self::InterruptedWait,
        Self::Short,
        Self::EndsEarly,
        Self::Unsupported,
        Self::ReadFails,
    ];
}

/// The schedule of this thread, until it is dropped.
#[derive(Debug)]
pub struct Schedule {
    _one_thread: PhantomData<*const ()>,
}

impl Schedule {
    /// Starts a schedule in which nothing happens at any [`Point`].
    #[must_use]
    pub fn start(seed: u64) -> Self {
        let (chances, counts) = ([0; Point::COUNT], [0; Point::COUNT]);
        let now = Instant::now();
        let state = State { seed, drawn: 0, chances, counts, start: now, now, trace: 0 };
        STATE.set(Some(state));
        Self { _one_thread: PhantomData }
    }

    /// Sets how often something happens at a point, in percent.
    pub fn set_chance(&self, point: Point, percent: u32) {
        with(|state| state.chances[point as usize] = percent);
    }

    /// Returns how often something has happened at a point.
    #[must_use]
    pub fn count(&self, point: Point) -> u32 {
        with(|state| state.counts[point as usize]).unwrap_or(0)
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        with(|state| state.now += time);
    }

    /// Returns a number that differs between runs which differ in a decision or a [note].
    #[must_use]
    pub fn trace(&self) -> u64 {
        with(|state| state.trace).unwrap_or(0)
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

impl State {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed, self.drawn)
    }

    fn below(&mut self, bound: u64) -> u64 {
        let drawn = (u128::from(self.draw()) * u128::from(bound)) >> 64;
        let drawn = u64::try_from(drawn).unwrap_or(0);
        self.note(bound ^ (drawn << 32));
        drawn
    }

    fn note(&mut self, value: u64) {
        self.trace = (self.trace.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

fn with<R>(work: impl FnOnce(&mut State) -> R) -> Option<R> {
    STATE.with_borrow_mut(|state| state.as_mut().map(work))
}

/// Draws a number below `bound`; 0 if that is 0, and on a thread without a schedule.
#[must_use]
pub fn below(bound: usize) -> usize {
    let drawn = with(|state| state.below(bound as u64)).unwrap_or(0);
    usize::try_from(drawn).unwrap_or(0)
}

/// Draws whether something happens that does in so many of a hundred cases.
#[must_use]
pub fn chance(percent: u32) -> bool {
    percent > 0 && with(|state| state.below(100) < u64::from(percent)).unwrap_or(false)
}

/// Draws whether something happens at a point; never on a thread without a schedule.
#[must_use]
pub fn happens(point: Point) -> bool {
    with(|state| {
        let percent = state.chances[point as usize];
        let happens = percent > 0 && state.below(100) < u64::from(percent);
        state.counts[point as usize] += u32::from(happens);
        happens
    })
    .unwrap_or(false)
}

/// Draws how many of at most `count` bytes are moved: all of them, or at [`Point::Short`] any part.
#[must_use]
pub fn part_of(count: usize) -> usize {
    if count > 1 && happens(Point::Short) { 1 + below(count - 1) } else { count }
}

/// Notes a value by which a run differs from another.
pub fn note(value: u64) {
    with(|state| state.note(value));
}

/// Returns the time of the schedule; on a thread without one that of the system.
#[must_use]
pub fn now() -> Instant {
    with(|state| state.now).unwrap_or_else(Instant::now)
}

/// Returns the time that has passed since the start of the schedule; `None` on a thread without one.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    with(|state| state.now - state.start)
}

/// Returns the key of an operation that a simulated model has started.
#[must_use]
pub fn key(number: u64) -> Key {
    Key(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_decisions_and_another_does_not() {
        let run = |seed| {
            let schedule = Schedule::start(seed);
            schedule.set_chance(Point::Short, 50);
            let drawn: Vec<_> = (0..100).map(|count| (below(7), part_of(count))).collect();
            (drawn, schedule.trace(), schedule.count(Point::Short))
        };
        let (first, again, other) = (run(1), run(1), run(2));
        assert_eq!(first, again);
        assert!(first.0 != other.0 && first.1 != other.1 && first.2 > 0);
    }

    #[test]
    fn time_passes_only_when_the_schedule_lets_it() {
        let schedule = Schedule::start(1);
        let before = now();
        assert_eq!(now(), before);
        schedule.advance(Duration::from_secs(3600));
        assert_eq!(now() - before, Duration::from_secs(3600));
        drop(schedule);
        assert!(now() < before + Duration::from_secs(3600) && !happens(Point::Short));
    }
}
