//! Off-CPU periods of the threads, their wake-ups, and the time in user code.
//!
//! # Limitations
//! Work in an interrupt is separated from the interrupted thread only for softirqs and interrupts
//! with a tracepoint.

use super::{Narrator, Thread};
use crate::trace::event::{Event, EventKind, Lane, TracedCall, WakeSource};
use crate::trace::recorder::{Record, RecordKind};

/// The softirqs by number (linux/interrupt.h).
const SOFTIRQS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// Number that stands for the timer interrupt of a core.
const TIMER: u64 = 0x10000;

/// A period in which a thread had no core.
struct OffCpu {
    from: i64,
    to: i64,
    preempted: bool,
    woken: Option<(i64, WakeSource)>,
}

impl OffCpu {
    fn since(from: i64, preempted: bool) -> Self {
        Self { from, to: from, preempted, woken: None }
    }

    /// Splits the period into sleep and waiting for a core.
    fn events(self) -> Vec<(i64, i64, EventKind)> {
        let Self { from, to, preempted, woken } = self;
        match woken {
            _ if preempted => vec![(from, to, EventKind::Runnable { preempted })],
            None => vec![(from, to, EventKind::Sleeps { woken: None })],
            Some((at, waker)) => vec![
                (from, at, EventKind::Sleeps { woken: Some(waker) }),
                (at, to, EventKind::Runnable { preempted }),
            ],
        }
    }
}

impl Narrator<'_> {
    /// Adds sleep and runnable periods of all threads.
    pub(super) fn off_cpu(&mut self) {
        for place in 0..self.narration.threads.len() {
            let periods = self.off_cpu_periods(place);
            let until = self.until(place);
            let lane = self.lane(place, Lane::Kernel);
            for period in
                periods.into_iter().filter(|period| period.to >= 0 && period.from <= until)
            {
                let events = period.events().into_iter().map(|(begun, ended, kind)| Event {
                    begun,
                    ended,
                    lane,
                    thread: Some(place),
                    within: None,
                    kind,
                });
                self.narration.events.extend(events);
            }
        }
    }

    /// Returns the off-CPU periods of a thread.
    fn off_cpu_periods(&self, place: usize) -> Vec<OffCpu> {
        let Thread { id, receives, .. } = self.narration.threads[place];
        let since = if receives { self.participants.begun } else { 0 };
        let own = || self.recording.events.iter().filter(|record| record.thread == id);
        // The server slept before the recording started, in the call that it returns from.
        let first = self.narration.events.iter().find(|event| event.thread == Some(place));
        let before = first.map_or(0, |first| first.begun).min(0);
        let mut periods = Vec::new();
        let mut open = (!receives).then(|| OffCpu::since(before, false));
        for record in own().filter(|record| record.time >= since) {
            let to = self.since(record.time);
            match record.kind {
                RecordKind::SwitchOut => open = Some(OffCpu::since(to, record.arguments[0] == 0)),
                RecordKind::WakeUp => {
                    if let Some(period) = &mut open {
                        period.woken.get_or_insert((to, self.wake_source(record)));
                    }
                }
                RecordKind::SwitchIn => {
                    periods.extend(open.take().map(|period| OffCpu { to, ..period }));
                }
                _ => {}
            }
        }
        let sleeps_again = !receives && own().any(|record| record.kind == RecordKind::SwitchOut);
        if let Some(period) = open.filter(|_| sleeps_again) {
            let last =
                own().next_back().map_or(0, |record| record.time).max(self.participants.ended);
            periods.push(OffCpu { to: self.since(last), woken: None, ..period });
        }
        periods
    }

    /// Returns the end of a thread's last call, after which its periods are irrelevant.
    fn until(&self, place: usize) -> i64 {
        let own = self.narration.events.iter().filter(|event| event.thread == Some(place));
        let ends = own.filter_map(|event| match &event.kind {
            EventKind::Syscall(TracedCall { result: None, .. }) => Some(i64::MAX),
            EventKind::Syscall(_) => Some(event.ended),
            _ => None,
        });
        ends.max().unwrap_or(i64::MIN)
    }

    /// Adds the server's user code: the time between calls in which it does not sleep.
    pub(super) fn user_code(&mut self) {
        for place in 0..self.narration.threads.len() {
            if self.narration.threads[place].receives {
                continue;
            }
            let own = self.narration.events.iter().filter(|event| event.thread == Some(place));
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
            self.narration.events.extend(runs.into_iter().map(|(begun, ended)| Event {
                begun,
                ended,
                lane: Lane::User,
                thread: Some(place),
                within: None,
                kind: EventKind::RunsUserCode,
            }));
        }
    }

    fn wake_source(&self, record: &Record) -> WakeSource {
        let softirq =
            usize::try_from(record.arguments[2]).ok().and_then(|number| number.checked_sub(1));
        let by = u32::try_from(record.arguments[1]).unwrap_or(0);
        let thread = self.known(by);
        let name = thread.map(|place| self.narration.threads[place].name.clone());
        WakeSource {
            name: name.unwrap_or_else(|| record.name.clone()),
            thread,
            softirq: softirq.and_then(|number| SOFTIRQS.get(number).copied()),
            interrupt: (record.arguments[3] > 0).then(|| {
                Some(record.arguments[3]).filter(|&line| line != TIMER).map(|line| line - 1)
            }),
        }
    }
}
