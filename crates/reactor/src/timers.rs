//! Deadlines: a heap that is touched rarely.
//!
//! A connection's deadline moves with every request, but almost always later. So the heap holds
//! one alarm a connection that may ring too early; when it rings, it is set anew for the deadline
//! of that moment. Moving a deadline costs a store, no allocation and no system call.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::selector::Token;

/// One connection's part of it.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    due: Option<Instant>,
    alarm: Option<Instant>,
}

/// All timers of a reactor.
#[derive(Debug, Default)]
pub(crate) struct TimerHeap {
    heap: BinaryHeap<Reverse<(Instant, Token)>>,
}

impl TimerHeap {
    /// Moves a deadline.
    pub(crate) fn set(&mut self, token: Token, deadline: &mut Deadline, due: Instant) {
        deadline.due = Some(due);
        if deadline.alarm.is_none_or(|alarm| alarm > due) {
            deadline.alarm = Some(due);
            self.heap.push(Reverse((due, token)));
        }
    }

    /// How long until the first alarm rings.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| at.saturating_duration_since(now))
    }

    /// The next alarm that rings by `now`, if any. The caller asks [`ring`](Self::ring) whether
    /// the deadline behind it has really passed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Token)> {
        let Reverse((at, _)) = *self.heap.peek()?;
        if at > now {
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

    /// Whether the deadline has passed; if it has moved, the alarm is set anew.
    pub(crate) fn fire(
        &mut self,
        (at, token): (Instant, Token),
        deadline: &mut Deadline,
        now: Instant,
    ) -> bool {
        if deadline.alarm != Some(at) {
            return false; // an earlier alarm was set since, and this one is left over
        }
        deadline.alarm = None;
        match deadline.due {
            Some(due) if due <= now => {
                deadline.due = None;
                true
            }
            Some(due) => {
                self.set(token, deadline, due);
                false
            }
            None => false,
        }
    }
}

impl Deadline {
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
}
