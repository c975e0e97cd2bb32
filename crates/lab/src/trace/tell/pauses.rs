//! Who slept and who woke him, who had no core, and when the server ran in user space.
//!
//! What it does badly: who runs in an interrupt is told from the thread it interrupted only by the
//! softirqs and interrupts that have a tracepoint.

use super::{Teller, Thread};
use crate::trace::event::{Event, Lane, Waker, What};
use crate::trace::recorder::{Kind, Raw};

/// The softirqs by their numbers (linux/interrupt.h).
const SOFTIRQS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// What stands for the interrupt of a core's own timer.
const TIMER: u64 = 0x10000;

impl Teller<'_> {
    /// When who slept, who woke him, and when he had a core again.
    pub(super) fn sleeps(&mut self) {
        for place in 0..self.told.threads.len() {
            let Thread { id, receives, .. } = self.told.threads[place];
            let recording = self.recording;
            let own = recording.events.iter().filter(|raw| raw.thread == id);
            let last = self.cast.ended.max(own.clone().next_back().map_or(0, |raw| raw.time));
            let since = if receives { self.cast.begun } else { 0 };
            // The server slept before anything was told, in the call it comes out of.
            let first = self.told.events.iter().find(|event| event.thread == Some(place));
            let before = first.map_or(0, |first| first.begun).min(0);
            let mut left = (!receives).then_some((before, false));
            let mut woken = None;
            for raw in own.filter(|raw| raw.time >= since) {
                let time = self.since(raw.time);
                match raw.kind {
                    Kind::Left => (left, woken) = (Some((time, raw.of[0] == 0)), None),
                    Kind::Woken => {
                        woken.get_or_insert((time, self.waker(raw)));
                    }
                    Kind::Came => {
                        if let Some((from, preempted)) = left.take() {
                            self.pause(place, from, time, preempted, woken.take());
                        }
                    }
                    _ => {}
                }
            }
            if let (Some((from, preempted)), false) = (left, receives)
                && self
                    .recording
                    .events
                    .iter()
                    .any(|raw| raw.thread == id && raw.kind == Kind::Left)
            {
                self.pause(place, from, self.since(last), preempted, None);
            }
        }
    }

    fn pause(
        &mut self,
        thread: usize,
        from: i64,
        to: i64,
        preempted: bool,
        woken: Option<(i64, Waker)>,
    ) {
        let own = self.told.events.iter().filter(|event| event.thread == Some(thread));
        let calls = own.filter(|event| matches!(event.what, What::Calls(_)));
        // After its last call nobody looks at it, unless it waits in one.
        let waits =
            |event: &Event| matches!(&event.what, What::Calls(call) if call.result.is_none());
        let last = calls.map(|event| if waits(event) { i64::MAX } else { event.ended }).max();
        if to < 0 || last.is_none_or(|last| from > last) {
            return;
        }
        let lane = self.lane(thread, Lane::Kernel);
        let mut push = |begun, ended, what| {
            let event = Event { begun, ended, lane, thread: Some(thread), within: None, what };
            self.told.events.push(event);
        };
        match woken {
            Some((at, waker)) if !preempted => {
                push(from, at, What::Sleeps { woken: Some(waker) });
                push(at, to, What::Queues { preempted });
            }
            _ if preempted => push(from, to, What::Queues { preempted }),
            _ => push(from, to, What::Sleeps { woken: None }),
        }
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
