//! Converts a recording to events: times since the wake-up, sleep periods, and copies derived from
//! results.
//!
//! # Limitations
//! Work of an interrupt is attributed to the interrupted thread, unless it is a wake-up, a packet
//! of the connection or a disk request.

mod kernel_events;
mod off_cpu;

use std::collections::BTreeMap;

use super::event::{Event, EventKind, Lane, TracedCall};
use super::recorder::{Record, RecordKind, Recording};
use super::syscalls;
use crate::probe::call_name;

/// Processes of the trace and time of the request.
#[derive(Clone, Debug, Default)]
pub(super) struct Participants {
    /// The server process; its main thread receives commands.
    pub(super) server: u32,
    /// The client process, whose main thread sends the request.
    pub(super) client: u32,
    /// Names of threads.
    pub(super) names: BTreeMap<u32, String>,
    /// Start of the request, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) begun: u64,
    /// Time of the last byte at the client.
    pub(super) ended: u64,
    /// Whether idle threads of the server sleep in a waiting call.
    pub(super) sleeps: bool,
    /// Whether page cache lookups are recorded, so that a read without one is direct.
    pub(super) reports_lookups: bool,
    /// Whether reads bypass the page cache.
    pub(super) reads_directly: bool,
}

/// A thread of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whether it is the client.
    pub receives: bool,
}

/// The events, ordered by start.
#[derive(Clone, Debug, Default)]
pub(super) struct Narration {
    /// Time of the wake-up, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) zero: u64,
    pub(super) threads: Vec<Thread>,
    pub(super) events: Vec<Event>,
    /// Bytes that the receiver copied out of pages that do not belong to the kernel.
    pub(super) referred: u64,
}

pub(super) fn narrate(participants: &Participants, recording: &Recording) -> Narration {
    let narration =
        Narration { zero: wake_up_time(participants, recording), ..Narration::default() };
    let mut narrator = Narrator { participants, recording, narration };
    narrator.calls();
    narrator.off_cpu();
    narrator.user_code();
    narrator.kernel_events();
    narrator.derived_copies();
    narrator.sorted()
}

/// Returns whether a record belongs to serving, not to a command read by the main thread.
fn is_served(participants: &Participants, record: &Record) -> bool {
    let is_command = || {
        let call = call_of(record);
        record.kind == RecordKind::Call && call.name == "read" && call.arguments[0] == 0
    };
    record.process == participants.server && !(record.thread == participants.server && is_command())
}

fn call_of(record: &Record) -> TracedCall {
    let [number, result, arguments @ .., _, _] = record.arguments;
    TracedCall { name: call_name(number), arguments, result: Some(result.cast_signed()) }
}

/// Returns the time of the server's wake-up for the request; without one, the start of its receive
/// call.
fn wake_up_time(participants: &Participants, recording: &Recording) -> u64 {
    let of_server = || {
        let events = recording.events.iter();
        events.filter(|record| is_served(participants, record) && record.time >= participants.begun)
    };
    let calls = || of_server().filter(|record| record.kind == RecordKind::Call);
    let receives = |record: &&Record| {
        let call = call_of(record);
        syscalls::receives(&call.name) && call.result > Some(0)
    };
    let received = calls().find(receives);
    let woken = of_server().find(|record| record.kind == RecordKind::WakeUp);
    if let Some(woken) = woken
        && received.is_none_or(|received| woken.time <= received.time)
    {
        return woken.time;
    }
    let Some(received) = received else {
        return calls().next().map_or(participants.begun, |record| record.time);
    };
    // The wake-up was not observed: with ptrace, or because the thread did not sleep.
    let mut before =
        calls().filter(|record| record.thread == received.thread && record.time < received.begun);
    match before.next_back() {
        Some(wait) if syscalls::waits(&call_of(wait).name) => wait.time,
        _ if received.begun < participants.begun => received.time,
        _ => received.begun,
    }
}

struct Narrator<'a> {
    participants: &'a Participants,
    recording: &'a Recording,
    narration: Narration,
}

impl Narrator<'_> {
    fn since(&self, time: u64) -> i64 {
        time.cast_signed() - self.narration.zero.cast_signed()
    }

    /// Returns the index of a thread, adding it if it is new.
    fn thread(&mut self, id: u32, name: &str) -> usize {
        if let Some(place) = self.narration.threads.iter().position(|thread| thread.id == id) {
            return place;
        }
        let mut name = self.participants.names.get(&id).map_or(name, |name| name).to_owned();
        let more = format!("{name} #");
        let is_namesake = |thread: &&Thread| thread.name == name || thread.name.starts_with(&more);
        let namesakes = self.narration.threads.iter().filter(is_namesake);
        let number = namesakes.count() + 1;
        if number > 1 {
            name += &format!(" #{number}");
        }
        self.narration.threads.push(Thread { id, name, receives: id == self.participants.client });
        self.narration.threads.len() - 1
    }

    fn known(&self, id: u32) -> Option<usize> {
        self.narration.threads.iter().position(|thread| thread.id == id)
    }

    fn push(&mut self, begun: u64, ended: u64, lane: Lane, thread: Option<usize>, kind: EventKind) {
        let (begun, ended) = (self.since(begun), self.since(ended));
        self.narration.events.push(Event { begun, ended, lane, thread, within: None, kind });
    }

    fn lane(&self, thread: usize, lane: Lane) -> Lane {
        if self.narration.threads[thread].receives { Lane::Receiver } else { lane }
    }

    /// Returns whether a record belongs to the request.
    fn is_in_time(&self, record: &Record) -> bool {
        if record.process == self.participants.client && record.thread == self.participants.client {
            return record.begun >= self.participants.begun
                && record.time <= self.participants.ended;
        }
        is_served(self.participants, record) && record.time >= self.narration.zero
    }

    /// Adds the calls of the request, and the calls in which threads wait again.
    fn calls(&mut self) {
        let recording = self.recording;
        let ends = self.idle_since();
        for record in recording.events.iter().filter(|record| record.kind == RecordKind::Call) {
            let is_late = ends.get(&record.thread).is_some_and(|&end| record.begun > end);
            if !self.is_in_time(record) || is_late {
                continue;
            }
            let thread = self.thread(record.thread, &record.name);
            let lane = self.lane(thread, Lane::Call);
            self.push(
                record.begun,
                record.time,
                lane,
                Some(thread),
                EventKind::Syscall(call_of(record)),
            );
        }
        for open in recording.open.iter().filter(|_| self.participants.sleeps) {
            let is_new =
                open.process == self.participants.server && open.begun > self.narration.zero;
            let Some(thread) = self.known(open.thread).filter(|_| is_new) else { continue };
            let (name, arguments) = (call_name(open.number), open.arguments);
            let call = TracedCall { name, arguments, result: None };
            let ended = self.participants.ended.max(open.begun);
            self.push(open.begun, ended, Lane::Call, Some(thread), EventKind::Syscall(call));
        }
    }

    /// Returns, for busy-polling threads, the time at which each continued polling after its last
    /// transfer of bytes.
    fn idle_since(&self) -> BTreeMap<u32, u64> {
        let mut ends = BTreeMap::new();
        if self.participants.sleeps {
            return ends;
        }
        let calls =
            || self.recording.events.iter().filter(|record| record.kind == RecordKind::Call);
        let own = || {
            calls().filter(|record| {
                is_served(self.participants, record) && record.time >= self.narration.zero
            })
        };
        for record in own().filter(|record| syscalls::bytes(&call_of(record)) > Some(0)) {
            ends.insert(record.thread, record.time);
        }
        for (&thread, end) in &mut ends {
            let mut after = own().filter(|record| record.thread == thread && record.begun > *end);
            let idle = after.find(|record| call_of(record).result < Some(0));
            *end = idle.map_or(u64::MAX, |record| record.begun.saturating_sub(1));
        }
        ends
    }

    /// Sorts the events and determines the enclosing call of each.
    fn sorted(self) -> Narration {
        let Narration { zero, threads, mut events, referred } = self.narration;
        // A call precedes the events during it.
        let rank = |event: &Event| !matches!(event.kind, EventKind::Syscall(_));
        events.sort_by_key(|event| (event.begun, rank(event)));
        let mut by_thread: Vec<Vec<usize>> = vec![Vec::new(); threads.len()];
        for (place, event) in events.iter().enumerate() {
            if let (Some(thread), EventKind::Syscall(_)) = (event.thread, &event.kind) {
                by_thread[thread].push(place);
            }
        }
        let serves = |thread: usize| !threads[thread].receives;
        let within: Vec<_> =
            events.iter().map(|event| enclosing_call(event, &events, &by_thread, serves)).collect();
        for (event, within) in events.iter_mut().zip(within) {
            event.within = within;
        }
        Narration { zero, threads, events, referred }
    }
}

/// Returns the call during which an event happened. Disk requests belong to any current call of the
/// server; an io_uring operation belongs to the call in which it completed.
fn enclosing_call(
    event: &Event,
    events: &[Event],
    calls: &[Vec<usize>],
    serves: impl Fn(usize) -> bool,
) -> Option<usize> {
    let at = match event.kind {
        EventKind::Syscall(_) | EventKind::RunsUserCode => return None,
        EventKind::Operation { .. } => event.ended,
        _ => event.begun,
    };
    let find = |of: &Vec<usize>| {
        let after = of.partition_point(|&place| events[place].begun <= at);
        let last = of[..after].last().copied()?;
        (events[last].ended >= at).then_some(last)
    };
    match event.thread {
        Some(thread) => calls.get(thread).and_then(find),
        None if matches!(event.kind, EventKind::Disk { .. }) => {
            let of_server = calls.iter().enumerate().filter(|(thread, _)| serves(*thread));
            of_server.filter_map(|(_, of)| find(of)).max_by_key(|&place| events[place].begun)
        }
        None => None,
    }
}
