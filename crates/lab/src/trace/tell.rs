//! From what the kernel told to what happened: times since the wake-up, who slept where, which
//! copies follow from which answers.
//!
//! What it does badly: what an interrupt does for somebody else is told of the thread that it
//! interrupted, unless it is a wake-up, a packet of the connection or a request to the disk.

use std::collections::BTreeMap;

use super::calls;
use super::event::{Call, Event, Lane, Memory, Waker, What};
use super::recorder::{Kind, Raw, Recording};
use crate::probe::{Provenance, call_name};

/// The softirqs by their numbers (linux/interrupt.h).
const SOFTIRQS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// What stands for the interrupt of a core's own timer.
const TIMER: u64 = 0x10000;

/// Of whom is told, and when he asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Cast {
    /// The process that serves; its main thread takes orders.
    pub(super) server: u32,
    /// The process that asks, of which the main thread does everything.
    pub(super) client: u32,
    /// The names of threads.
    pub(super) names: BTreeMap<u32, String>,
    /// When the client began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) begun: u64,
    /// When it had the last byte.
    pub(super) ended: u64,
    /// Its threads come to rest in a call that waits.
    pub(super) rests: bool,
    /// Lookups in the page cache are told, so a read that has none went past it.
    pub(super) tells_lookups: bool,
    /// Reads go past the page cache.
    pub(super) reads_directly: bool,
}

/// A thread of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// It is the one who asked.
    pub receives: bool,
}

/// What happened, in the order in which it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The wake-up, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) zero: u64,
    pub(super) threads: Vec<Thread>,
    pub(super) events: Vec<Event>,
    /// Bytes that the receiver copied out of pages that are not the kernel's own.
    pub(super) referred: u64,
}

pub(super) fn tell(cast: &Cast, recording: &Recording) -> Told {
    let told = Told { zero: zero(cast, recording), ..Told::default() };
    let mut teller = Teller { cast, recording, told };
    teller.calls();
    teller.sleeps();
    teller.runs();
    teller.rest();
    teller.derived();
    teller.sorted()
}

/// Of the server, but not an order that its main thread waits for.
fn is_served(cast: &Cast, raw: &Raw) -> bool {
    let is_order = || {
        let call = call_of(raw);
        raw.kind == Kind::Call && call.name == "read" && call.arguments[0] == 0
    };
    raw.process == cast.server && !(raw.thread == cast.server && is_order())
}

fn call_of(raw: &Raw) -> Call {
    let [number, result, arguments @ .., _, _] = raw.of;
    Call { name: call_name(number), arguments, result: Some(result.cast_signed()) }
}

/// When the server woke up for the request, or where nobody sleeps, when it began to receive it.
fn zero(cast: &Cast, recording: &Recording) -> u64 {
    let of_server = || {
        let events = recording.events.iter();
        events.filter(|raw| is_served(cast, raw) && raw.time >= cast.begun)
    };
    let calls = || of_server().filter(|raw| raw.kind == Kind::Call);
    let receives = |raw: &&Raw| {
        let call = call_of(raw);
        calls::receives(&call.name) && call.result > Some(0)
    };
    let received = calls().find(receives);
    let woken = of_server().find(|raw| raw.kind == Kind::Woken);
    if let Some(woken) = woken
        && received.is_none_or(|received| woken.time <= received.time)
    {
        return woken.time;
    }
    let Some(received) = received else {
        return calls().next().map_or(cast.begun, |raw| raw.time);
    };
    // Nobody saw it woken: by ptrace, or because it never slept.
    let before = calls().filter(|raw| raw.thread == received.thread && raw.time < received.begun);
    match before.last() {
        Some(wait) if calls::waits(&call_of(wait).name) => wait.time,
        _ if received.begun < cast.begun => received.time,
        _ => received.begun,
    }
}

struct Teller<'a> {
    cast: &'a Cast,
    recording: &'a Recording,
    told: Told,
}

impl Teller<'_> {
    fn since(&self, time: u64) -> i64 {
        time.cast_signed() - self.told.zero.cast_signed()
    }

    /// The place of a thread among those of the trace.
    fn thread(&mut self, id: u32, name: &str) -> usize {
        if let Some(place) = self.told.threads.iter().position(|thread| thread.id == id) {
            return place;
        }
        let mut name = self.cast.names.get(&id).map_or(name, |name| name).to_owned();
        let more = format!("{name} #");
        let is_namesake = |thread: &&Thread| thread.name == name || thread.name.starts_with(&more);
        let namesakes = self.told.threads.iter().filter(is_namesake);
        let number = namesakes.count() + 1;
        if number > 1 {
            name += &format!(" #{number}");
        }
        self.told.threads.push(Thread { id, name, receives: id == self.cast.client });
        self.told.threads.len() - 1
    }

    fn known(&self, id: u32) -> Option<usize> {
        self.told.threads.iter().position(|thread| thread.id == id)
    }

    fn push(&mut self, begun: u64, ended: u64, lane: Lane, thread: Option<usize>, what: What) {
        let (begun, ended) = (self.since(begun), self.since(ended));
        self.told.events.push(Event { begun, ended, lane, thread, within: None, what });
    }

    fn lane(&self, thread: usize, lane: Lane) -> Lane {
        if self.told.threads[thread].receives { Lane::Receiver } else { lane }
    }

    /// Whether an event belongs to the request.
    fn is_in_time(&self, raw: &Raw) -> bool {
        if raw.process == self.cast.client && raw.thread == self.cast.client {
            return raw.begun >= self.cast.begun && raw.time <= self.cast.ended;
        }
        is_served(self.cast, raw) && raw.time >= self.told.zero
    }

    /// The calls of the request, and those that who waits again is in.
    fn calls(&mut self) {
        let recording = self.recording;
        let ends = self.ends();
        for raw in recording.events.iter().filter(|raw| raw.kind == Kind::Call) {
            let is_late = ends.get(&raw.thread).is_some_and(|&end| raw.begun > end);
            if !self.is_in_time(raw) || is_late {
                continue;
            }
            let thread = self.thread(raw.thread, &raw.name);
            let lane = self.lane(thread, Lane::Call);
            self.push(raw.begun, raw.time, lane, Some(thread), What::Calls(call_of(raw)));
        }
        for open in recording.open.iter().filter(|_| self.cast.rests) {
            let is_new = open.process == self.cast.server && open.begun > self.told.zero;
            let Some(thread) = self.known(open.thread).filter(|_| is_new) else { continue };
            let (name, arguments) = (call_name(open.number), open.arguments);
            let call = Call { name, arguments, result: None };
            let ended = self.cast.ended.max(open.begun);
            self.push(open.begun, ended, Lane::Call, Some(thread), What::Calls(call));
        }
    }

    /// For threads that never rest: when they began to look for the next thing to do, after the
    /// last bytes had moved.
    fn ends(&self) -> BTreeMap<u32, u64> {
        let mut ends = BTreeMap::new();
        if self.cast.rests {
            return ends;
        }
        let calls = || self.recording.events.iter().filter(|raw| raw.kind == Kind::Call);
        let own = || calls().filter(|raw| is_served(self.cast, raw) && raw.time >= self.told.zero);
        for raw in own().filter(|raw| calls::bytes(&call_of(raw)) > Some(0)) {
            ends.insert(raw.thread, raw.time);
        }
        for (&thread, end) in &mut ends {
            let mut after = own().filter(|raw| raw.thread == thread && raw.begun > *end);
            let idle = after.find(|raw| call_of(raw).result < Some(0));
            *end = idle.map_or(u64::MAX, |raw| raw.begun.saturating_sub(1));
        }
        ends
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

    /// When who slept, who woke him, and when he had a core again.
    fn sleeps(&mut self) {
        for place in 0..self.told.threads.len() {
            let Thread { id, receives, .. } = self.told.threads[place];
            let recording = self.recording;
            let own = recording.events.iter().filter(|raw| raw.thread == id);
            let last = self.cast.ended.max(own.clone().last().map_or(0, |raw| raw.time));
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
    fn runs(&mut self) {
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

    /// Everything that is told as it is.
    fn rest(&mut self) {
        let mut again = Again::default();
        let recording = self.recording;
        for raw in &recording.events {
            let is_device = matches!(raw.kind, Kind::Packet | Kind::Disk);
            let is_someones = raw.thread == 0 || !self.is_in_time(raw);
            if is_device
                && (raw.time < self.cast.begun
                    || raw.process == self.cast.client && raw.time > self.cast.ended)
                || !is_device && is_someones
            {
                continue;
            }
            let Some((lane, what)) = self.what(raw, &mut again) else { continue };
            if raw.kind == Kind::Taken && raw.process == self.cast.client {
                self.told.referred += referred(&raw.of);
            }
            let thread = self.known(raw.thread);
            if thread.is_none() && !is_device {
                continue;
            }
            let lane =
                if is_device { lane } else { thread.map_or(lane, |place| self.lane(place, lane)) };
            self.push(raw.begun, raw.time, lane, thread, what);
        }
    }

    fn what(&self, raw: &Raw, again: &mut Again) -> Option<(Lane, What)> {
        let of = &raw.of;
        let pages = of[1].saturating_sub(of[0]);
        Some(match raw.kind {
            Kind::Fault => {
                let (in_user_mode, to_write) = (of[2] != 0, of[1] & 2 != 0);
                (Lane::Kernel, What::Faults { in_user_mode, to_write })
            }
            Kind::Lookup => (Lane::Kernel, What::LooksUp { pages: pages.max(1) }),
            Kind::Mapped => (Lane::Kernel, What::Maps { pages: pages + 1 }),
            Kind::Taken => {
                let (from, to) = (Memory::Socket, Memory::User);
                (Lane::Kernel, What::Copies { from, to, bytes: of[8], derived: false })
            }
            Kind::Packet => {
                let bytes = provenance(of);
                // A UNIX socket's are taken in by whom they are for.
                let to_server =
                    if of[8] == 0 { raw.process == self.cast.server } else { of[8] == 2 };
                let again = of[8] == 1 && again.is_again(of[9], bytes.payload());
                let device = if of[8] == 0 { "unix".to_owned() } else { raw.name.clone() };
                (Lane::Device, What::Packet { device, bytes, to_server, again })
            }
            Kind::Disk => (Lane::Device, What::Disk { writes: of[0] != 0, bytes: of[1] }),
            Kind::Uring => {
                let name = calls::operation(of[0]);
                (Lane::Kernel, What::Operation { name, result: of[1].cast_signed() })
            }
            Kind::Handed => (Lane::Kernel, What::HandsOver { name: calls::operation(of[0]) }),
            Kind::Call | Kind::Left | Kind::Came | Kind::Woken => return None,
        })
    }

    /// Copies of the server that no tracepoint shows, by the answers of its calls and operations.
    fn derived(&mut self) {
        let mut copies = Vec::new();
        for event in &self.told.events {
            let (name, bytes) = match &event.what {
                What::Calls(call) if !calls::is_zerocopy(call) => (&*call.name, event.bytes()),
                What::Operation { name, .. } => (*name, event.bytes()),
                _ => continue,
            };
            let thread = event.thread.map(|place| &self.told.threads[place]);
            let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else { continue };
            if thread.is_none_or(|thread| thread.receives) {
                continue;
            }
            let (from, to) = if calls::sends(name) || calls::may_send(name, bytes) {
                (Memory::User, Memory::Socket)
            } else if calls::reads_file(name) && self.reads_through_cache(event) {
                (Memory::PageCache, Memory::User)
            } else {
                continue;
            };
            let what = What::Copies { from, to, bytes, derived: true };
            copies.push(Event { lane: Lane::Kernel, what, ..event.clone() });
        }
        self.told.events.extend(copies);
    }

    fn reads_through_cache(&self, call: &Event) -> bool {
        if !self.cast.tells_lookups {
            return !self.cast.reads_directly && calls::reads_at_an_offset(call);
        }
        let during = call.begun..=call.ended;
        let is_lookup = |event: &Event| {
            matches!(event.what, What::LooksUp { .. }) && during.contains(&event.begun)
        };
        self.told.events.iter().any(is_lookup)
    }

    /// By time, each with the call in which it happened.
    fn sorted(self) -> Told {
        let Told { zero, threads, mut events, referred } = self.told;
        // A call before what happens in it.
        let rank = |event: &Event| !matches!(event.what, What::Calls(_));
        events.sort_by_key(|event| (event.begun, rank(event)));
        let mut by_thread: Vec<Vec<usize>> = vec![Vec::new(); threads.len()];
        for (place, event) in events.iter().enumerate() {
            if let (Some(thread), What::Calls(_)) = (event.thread, &event.what) {
                by_thread[thread].push(place);
            }
        }
        let serves = |thread: usize| !threads[thread].receives;
        let within: Vec<_> =
            events.iter().map(|event| within(event, &events, &by_thread, serves)).collect();
        for (event, within) in events.iter_mut().zip(within) {
            event.within = within;
        }
        Told { zero, threads, events, referred }
    }
}

/// The call in which something happened. A disk is asked by whoever, so any call of the server's of
/// that time will do; an operation of io_uring belongs to the call in which it was done.
fn within(
    event: &Event,
    events: &[Event],
    calls: &[Vec<usize>],
    serves: impl Fn(usize) -> bool,
) -> Option<usize> {
    let at = match event.what {
        What::Calls(_) | What::Runs => return None,
        What::Operation { .. } => event.ended,
        _ => event.begun,
    };
    let find = |of: &Vec<usize>| {
        let after = of.partition_point(|&place| events[place].begun <= at);
        let last = of[..after].last().copied()?;
        (events[last].ended >= at).then_some(last)
    };
    match event.thread {
        Some(thread) => calls.get(thread).and_then(find),
        None if matches!(event.what, What::Disk { .. }) => {
            let of_server = calls.iter().enumerate().filter(|(thread, _)| serves(*thread));
            of_server.filter_map(|(_, of)| find(of)).max_by_key(|&place| events[place].begun)
        }
        None => None,
    }
}

/// Of the bytes taken out of a packet, the share that lay in pages that are not the kernel's own.
fn referred(of: &[u64; 10]) -> u64 {
    let bytes = provenance(of);
    (bytes.ours + bytes.anonymous) * of[8] / bytes.payload().max(1)
}

fn provenance(of: &[u64; 10]) -> Provenance {
    Provenance {
        packets: of[0],
        headers: of[1],
        linear: of[2],
        ours: of[3],
        cache: of[4],
        anonymous: of[5],
        kernel: of[6],
        unsorted: of[7],
    }
}

/// What TCP has sent once, by sequence numbers since the first.
#[derive(Default)]
struct Again {
    first: Option<u64>,
    sent: BTreeMap<u64, u64>,
}

impl Again {
    /// Whether all of it was sent before.
    fn is_again(&mut self, sequence: u64, payload: u64) -> bool {
        let first = *self.first.get_or_insert(sequence);
        let begin = sequence.wrapping_sub(first) & u64::from(u32::MAX);
        let end = begin + payload;
        let before = self.sent.range(..=begin).next_back();
        if payload == 0 || before.is_some_and(|(_, &until)| until >= end) {
            return payload > 0;
        }
        // Grown at the end of the one before, where it follows it.
        let from = before.filter(|(_, until)| **until >= begin).map_or(begin, |(from, _)| *from);
        self.sent.insert(from, end);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_known_again() {
        let mut again = Again::default();
        let first = u64::from(u32::MAX) - 50;
        assert!(!again.is_again(first, 100));
        assert!(!again.is_again((first + 100) & 0xffff_ffff, 100), "around the corner");
        assert!(again.is_again(first, 200));
        assert!(!again.is_again((first + 300) & 0xffff_ffff, 10), "behind a hole");
        assert!(!again.is_again((first + 200) & 0xffff_ffff, 100), "in the hole");
        assert!(again.is_again((first + 200) & 0xffff_ffff, 50));
        assert!(!again.is_again(first, 0), "an acknowledgement");
    }
}
