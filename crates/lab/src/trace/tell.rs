//! From what the kernel told to what happened: times since the wake-up, who slept where, which
//! copies follow from which answers.
//!
//! What it does badly: what an interrupt does for somebody else is told of the thread that it
//! interrupted, unless it is a wake-up, a packet of the connection or a request to the disk.

mod pauses;
mod rest;

use std::collections::BTreeMap;

use super::calls;
use super::event::{Call, Event, Lane, What};
use super::recorder::{Kind, Raw, Recording};
use crate::probe::call_name;

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
    let mut before =
        calls().filter(|raw| raw.thread == received.thread && raw.time < received.begun);
    match before.next_back() {
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
