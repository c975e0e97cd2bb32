//! Deadlines: a heap that is touched rarely.
//!
//! A connection's deadline moves with every request, but almost always later. So the heap holds
//! one alarm a connection that may ring too early; when it rings, it is set anew for the deadline
//! of that moment. Moving a deadline costs a store, no allocation and no system call.
//!
//! A deadline that has passed is not acted upon at once: while this process was stopped (SIGSTOP, a
//! suspended machine) or starved of CPU, the kernel went on, and so did the peers. The event loop
//! first handles everything that has arrived. Where that takes another thread, which did not run either, the
//! deadline is [extended](TimerHeap::extend) once by as much as it rang late.
//!
//! # Limitations
//! Time during which the process did not run is seen only where it ends behind a deadline.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::moment::Moment;
use crate::selector::Token;

/// A deadline that rings later than this was missed because this thread did not run.
const LATE: Duration = Duration::from_millis(100);

/// One connection's part of it.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    due: Option<Moment>,
    alarm: Option<Moment>,
    /// Boxed: it is rare, and every connection has a deadline.
    extension: Option<Box<Extension>>,
}

/// A deadline that rang too late, and the one in its place.
#[derive(Clone, Copy, Debug)]
struct Extension {
    from: Moment,
    to: Moment,
}

/// All timers of a reactor.
#[derive(Debug, Default)]
pub(crate) struct TimerHeap {
    heap: BinaryHeap<Reverse<(Moment, Token)>>,
}

impl TimerHeap {
    /// Moves a deadline.
    pub(crate) fn set(&mut self, token: Token, deadline: &mut Deadline, due: Instant) {
        self.set_moment(token, deadline, due.into());
    }

    fn set_moment(&mut self, token: Token, deadline: &mut Deadline, due: Moment) {
        let due = deadline.extended(due);
        deadline.due = Some(due);
        if deadline.alarm.is_none_or(|alarm| alarm > due) {
            deadline.alarm = Some(due);
            self.heap.push(Reverse((due, token)));
        }
    }

    /// How long until the first alarm rings.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        let Reverse((at, _)) = self.heap.peek()?;
        Some(at.saturating_duration_since(now.into()))
    }

    /// The next alarm that rings by `now`, if any. The caller asks [`ring`](Self::ring) whether
    /// the deadline behind it has really passed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Moment, Token)> {
        let Reverse((at, _)) = *self.heap.peek()?;
        if at > Moment::from(now) {
            return None;
        }
        self.heap.pop().map(|Reverse(alarm)| alarm)
    }

    /// Drops the timers of connections that are gone, once they outnumber the living: `live` is
    /// how many connections there are, `is_live` whether this is one.
    pub(crate) fn compact(&mut self, live: usize, mut is_live: impl FnMut(Token) -> bool) {
        if self.heap.len() > 1024 + 4 * live {
            self.heap.retain(|Reverse((_, token))| is_live(*token));
        }
    }

    /// Returns whether the deadline has passed, which it [remembers](Deadline::has_passed) until it is
    /// set anew or cleared; if it has moved, the alarm is set anew.
    pub(crate) fn fire(
        &mut self,
        (at, token): (Moment, Token),
        deadline: &mut Deadline,
        now: Instant,
    ) -> bool {
        if deadline.alarm != Some(at) {
            return false; // an earlier alarm was set since, and this one is left over
        }
        deadline.alarm = None;
        match deadline.due {
            Some(due) if due <= Moment::from(now) => true,
            Some(due) => {
                self.set_moment(token, deadline, due);
                false
            }
            None => false,
        }
    }

    /// Extends a deadline that rang late by as much as it did, once; false if it did not, or has
    /// been extended before. For the work of another thread, which was stopped or starved, too.
    pub(crate) fn extend(&mut self, token: Token, deadline: &mut Deadline, now: Instant) -> bool {
        let Some(due) = deadline.due else { return false };
        let now = Moment::from(now);
        let late = now.saturating_duration_since(due);
        if late < LATE || deadline.extension.as_ref().is_some_and(|it| it.to == due) {
            return false;
        }
        let extension = Extension { from: due, to: now.saturating_add(late) };
        deadline.extension = Some(Box::new(extension));
        self.set_moment(token, deadline, due);
        true
    }
}

impl Deadline {
    /// Returns whether it has passed by `now`.
    pub(crate) fn has_passed(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= Moment::from(now))
    }

    fn extended(&self, due: Moment) -> Moment {
        match self.extension.as_deref() {
            Some(&Extension { from, to }) if from == due => to,
            _ => due,
        }
    }

    /// Nothing is due until it is set again.
    pub(crate) fn clear(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fired(timers: &mut TimerHeap, deadline: &mut Deadline, now: Instant) -> usize {
        let mut count = 0;
        while let Some(alarm) = timers.pop(now) {
            count += usize::from(timers.fire(alarm, deadline, now));
        }
        count
    }

    #[test]
    fn a_deadline_that_moves_later_rings_once_at_its_last_time() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        for second in 1..=100 {
            timers.set(Token(7), &mut deadline, start + SECOND * second);
        }
        assert_eq!(timers.heap.len(), 1, "moving later does not touch the heap");
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 99), 0);
        assert_eq!(timers.next(start + SECOND * 99), Some(SECOND));
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 100), 1);
        assert_eq!(timers.next(start), None);
    }

    #[test]
    fn a_deadline_that_moves_earlier_rings_early_and_only_once() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        timers.set(Token(7), &mut deadline, start + SECOND * 60);
        timers.set(Token(7), &mut deadline, start + SECOND * 10);
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 10), 1);
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 60), 0);
    }

    /// A request a second for a day: the heap holds one alarm, in the memory that it has.
    #[test]
    fn a_deadline_that_moves_with_every_request_needs_no_memory() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        timers.set(Token(7), &mut deadline, start + SECOND * 60);
        let capacity = timers.heap.capacity();
        for second in 1..86_400 {
            assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * second), 0);
            timers.set(Token(7), &mut deadline, start + SECOND * (second + 60));
            assert_eq!((timers.heap.len(), timers.heap.capacity()), (1, capacity));
        }
    }

    #[test]
    fn a_cleared_deadline_is_silent() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        timers.set(Token(7), &mut deadline, start + SECOND);
        deadline.clear();
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 2), 0);
    }

    #[test]
    fn a_deadline_that_rings_late_is_extended_once_by_as_much() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        let (due, late) = (start + SECOND, start + SECOND * 4);
        timers.set(Token(7), &mut deadline, due);
        assert_eq!(fired(&mut timers, &mut deadline, late), 1);
        assert!(deadline.has_passed(late));
        assert!(timers.extend(Token(7), &mut deadline, late));
        assert!(!deadline.has_passed(late));
        // An event in between asks for the same deadline again, and gets the extended one.
        deadline.clear();
        timers.set(Token(7), &mut deadline, due);
        assert_eq!(timers.next(late), Some(SECOND * 3));
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 60), 1);
        assert!(!timers.extend(Token(7), &mut deadline, start + SECOND * 60), "once");
        // Another deadline may be late again.
        timers.set(Token(7), &mut deadline, start + SECOND * 70);
        assert_eq!(fired(&mut timers, &mut deadline, start + SECOND * 80), 1);
        assert!(timers.extend(Token(7), &mut deadline, start + SECOND * 80));
    }

    #[test]
    fn a_deadline_that_rings_in_time_is_not_extended() {
        let (mut timers, mut deadline, start) =
            (TimerHeap::default(), Deadline::default(), Instant::now());
        timers.set(Token(7), &mut deadline, start + SECOND);
        let now = start + SECOND + Duration::from_millis(20);
        assert_eq!(fired(&mut timers, &mut deadline, now), 1);
        assert!(!timers.extend(Token(7), &mut deadline, now));
        assert!(deadline.has_passed(now));
    }
}
