//! Who slept and who woke him, who had no core, and when the server ran in user space.
//!
//! What it does badly: who runs in an interrupt is told from the thread it interrupted only by the
//! softirqs and interrupts that have a tracepoint.

use super::{Teller, Thread};
use crate::trace::event::{Call, Event, Lane, Waker, What};
use crate::trace::recorder::{Kind, Raw};

/// The softirqs by their numbers (linux/interrupt.h).
const SOFTIRQS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// What stands for the interrupt of a core's own timer.
const TIMER: u64 = 0x10000;

/// A time in which a thread had no core.
struct Pause {
    from: i64,
    to: i64,
    preempted: bool,
    woken: Option<(i64, Waker)>,
}

impl Pause {
    fn since(from: i64, preempted: bool) -> Self {
        Self { from, to: from, preempted, woken: None }
    }

    /// From when to when it slept, and from when to when it waited for a core.
    fn what(self) -> Vec<(i64, i64, What)> {
        let Self { from, to, preempted, woken } = self;
        match woken {
            _ if preempted => vec![(from, to, What::Queues { preempted })],
            None => vec![(from, to, What::Sleeps { woken: None })],
            Some((at, waker)) => vec![
                (from, at, What::Sleeps { woken: Some(waker) }),
                (at, to, What::Queues { preempted }),
            ],
        }
    }
}

impl Teller<'_> {
    /// When who slept, who woke him, and when he had a core again.
    pub(super) fn sleeps(&mut self) {
        for place in 0..self.told.threads.len() {
            let pauses = self.pauses(place);
            let until = self.until(place);
            let lane = self.lane(place, Lane::Kernel);
            for pause in pauses.into_iter().filter(|pause| pause.to >= 0 && pause.from <= until) {
                let events = pause.what().into_iter().map(|(begun, ended, what)| Event {
                    begun,
                    ended,
                    lane,
                    thread: Some(place),
                    within: None,
                    what,
                });
                self.told.events.extend(events);
            }
        }
    }

    /// When a thread had no core.
    fn pauses(&self, place: usize) -> Vec<Pause> {
        let Thread { id, receives, .. } = self.told.threads[place];
        let since = if receives { self.cast.begun } else { 0 };
        let own = || self.recording.events.iter().filter(|raw| raw.thread == id);
        // The server slept before anything was told, in the call it comes out of.
        let first = self.told.events.iter().find(|event| event.thread == Some(place));
        let before = first.map_or(0, |first| first.begun).min(0);
        let mut pauses = Vec::new();
        let mut open = (!receives).then(|| Pause::since(before, false));
        for raw in own().filter(|raw| raw.time >= since) {
            let to = self.since(raw.time);
            match raw.kind {
                Kind::Left => open = Some(Pause::since(to, raw.of[0] == 0)),
                Kind::Woken => {
                    if let Some(pause) = &mut open {
                        pause.woken.get_or_insert((to, self.waker(raw)));
                    }
                }
                Kind::Came => pauses.extend(open.take().map(|pause| Pause { to, ..pause })),
                _ => {}
            }
        }
        let sleeps_again = !receives && own().any(|raw| raw.kind == Kind::Left);
        if let Some(pause) = open.filter(|_| sleeps_again) {
            let last = own().next_back().map_or(0, |raw| raw.time).max(self.cast.ended);
            pauses.push(Pause { to: self.since(last), woken: None, ..pause });
        }
        pauses
    }

    /// After the last call of a thread nobody looks at it, unless it waits in one.
    fn until(&self, place: usize) -> i64 {
        let own = self.told.events.iter().filter(|event| event.thread == Some(place));
        let ends = own.filter_map(|event| match &event.what {
            What::Calls(Call { result: None, .. }) => Some(i64::MAX),
            What::Calls(_) => Some(event.ended),
            _ => None,
        });
        ends.max().unwrap_or(i64::MIN)
    }

    /// The server in user space: what is neither in a call nor asleep.
    pub(super) fn runs(&mut self) {
        for place in 0..self.told.threads.len() {
            if self.told.threads[place].receives {
                continue;
            }
            let own = self.told.events.iter().filter(|event| event.thread == Some(place));
            let mut busy: Vec<_> = own.map(|event| (event.begun, event.ended)).collect();
            busy.sort_unstable();
            let mut until = busy.first().map_or(0, |first| first.1);
            let mut runs = Vec::new();
            for (begun, ended) in busy {
                if begun > until {
                    runs.push((until, begun));
                }
                until = until.max(ended);
            }
            self.told.events.extend(runs.into_iter().map(|(begun, ended)| Event {
                begun,
                ended,
                lane: Lane::User,
                thread: Some(place),
                within: None,
                what: What::Runs,
            }));
        }
    }

    fn waker(&self, raw: &Raw) -> Waker {
        let softirq = usize::try_from(raw.of[2]).ok().and_then(|number| number.checked_sub(1));
        let by = u32::try_from(raw.of[1]).unwrap_or(0);
        let thread = self.known(by);
        let name = thread.map(|place| self.told.threads[place].name.clone());
        Waker {
            name: name.unwrap_or_else(|| raw.name.clone()),
            thread,
            softirq: softirq.and_then(|number| SOFTIRQS.get(number).copied()),
            interrupt: (raw.of[3] > 0)
                .then(|| Some(raw.of[3]).filter(|&line| line != TIMER).map(|line| line - 1)),
        }
    }
}
