//! The steps of a trace: each system call with its events; repetitions are folded.
//!
//! # Limitations
//! Bytes and durations of folded steps are sums; the single values are only in the JSON.

use super::Trace;
use super::event::{Event, EventKind, Lane, Memory, TracedCall};
use super::syscalls;
use crate::language::{msg, text, tr};
use crate::probe::Provenance;

/// Maximum length of a repeated sequence.
const LONGEST: usize = 12;

/// Number of steps shown from the start and from the end of a long trace.
const SHOWN: (usize, usize) = (40, 10);

/// Minimum number of repetitions for folding.
const MIN_REPEATS: usize = 3;

/// A system call, or several equal ones in sequence.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Index of its thread.
    pub(super) thread: usize,
    /// Start of the first and end of the last call.
    pub(super) begun: i64,
    pub(super) ended: i64,
    /// Name and flags of the call.
    pub(super) title: String,
    /// Result of the last call, if it is not a number of bytes.
    pub(super) answer: String,
    /// Number of bytes.
    pub(super) bytes: Option<u64>,
    /// Duration since the wake-up; `None` if it had not returned at the end.
    pub(super) took: Option<i64>,
    /// Time in user code before the call.
    pub(super) ran: i64,
    /// Number of calls.
    pub(super) times: u64,
    /// Length of the repeated sequence and position in it, if the step belongs to one.
    pub(super) of: Option<(usize, usize)>,
    /// Events during the step.
    pub(super) parts: Vec<StepPart>,
}

/// Equal events of a step.
#[derive(Clone, Debug)]
pub(super) struct StepPart {
    pub(super) lane: Lane,
    pub(super) flow: Flow,
    pub(super) text: String,
    pub(super) bytes: Option<u64>,
    pub(super) times: u64,
    pub(super) took: i64,
}

/// Direction of an event in the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Copy by the CPU into or out of user space.
    CopyUp,
    CopyDown,
    /// Copy into the receiver.
    CopyOut,
    /// Copied bytes are sent.
    SendCopied,
    /// Bytes are sent by reference.
    SendReferred,
    /// Disk I/O.
    Disk,
    Fault,
    Sleep,
    Other,
}

/// Returns the steps to show, and the position and number of omitted ones.
pub(super) fn shown(trace: &Trace) -> (Vec<Step>, Option<(usize, usize)>) {
    let mut all = steps(trace);
    let (first, last) = SHOWN;
    let Some(out) = all.len().checked_sub(first + last).filter(|&out| out > 0) else {
        return (all, None);
    };
    all.drain(first..first + out);
    (all, Some((first, out)))
}

/// Returns the folded steps of all threads, ordered by time.
pub(super) fn steps(trace: &Trace) -> Vec<Step> {
    let mut all = Vec::new();
    for thread in 0..trace.threads.len() {
        all.extend(fold(unfolded(trace, thread)));
    }
    all.sort_by_key(|step| step.begun);
    all
}

fn unfolded(trace: &Trace, thread: usize) -> Vec<Step> {
    let events = || trace.events.iter().enumerate();
    let own = events().filter(|(_, event)| event.thread == Some(thread));
    let calls = own.filter_map(|(place, event)| match &event.kind {
        EventKind::Syscall(call) => Some((place, step(thread, event, call))),
        _ => None,
    });
    let (places, mut steps): (Vec<_>, Vec<_>) = calls.unzip();
    let is_server = !trace.threads[thread].receives;
    let is_first = trace.threads.iter().position(|one| !one.receives) == Some(thread);
    for (_, event) in events() {
        let is_own = event.thread == Some(thread);
        let inside = event.within.and_then(|place| places.binary_search(&place).ok());
        // An event outside all system calls is shown with the server's current step.
        let is_loose = event.within.is_none() && (is_own || (event.thread.is_none() && is_first));
        let place = match inside {
            Some(place) => place,
            None if is_loose && matches!(event.kind, EventKind::RunsUserCode) => {
                let next = steps.partition_point(|step| step.begun < event.ended);
                if let Some(step) = steps.get_mut(next) {
                    step.ran += event.took();
                }
                continue;
            }
            None if is_loose && !matches!(event.kind, EventKind::Syscall(_)) => {
                steps.partition_point(|step| step.begun <= event.begun).saturating_sub(1)
            }
            None => continue,
        };
        let (Some(step), parts) = (steps.get_mut(place), parts(event, is_server)) else { continue };
        parts.into_iter().for_each(|part| step.add(part));
    }
    steps
}

fn step(thread: usize, event: &Event, call: &TracedCall) -> Step {
    let flags = syscalls::flags(call);
    let answer = match call.result {
        None => text!("waits again"),
        Some(result) => syscalls::error(result).unwrap_or_else(|| answer(call, result)),
    };
    Step {
        thread,
        begun: event.begun,
        ended: event.ended,
        title: [vec![&*call.name], flags].concat().join(" "),
        answer,
        bytes: event.bytes(),
        took: call.result.map(|_| since_wake_up(event)),
        ran: 0,
        times: 1,
        of: None,
        parts: Vec::new(),
    }
}

/// Returns the duration, counted from the wake-up for the call that it ended.
pub(super) fn since_wake_up(event: &Event) -> i64 {
    if event.ended < 0 { event.took() } else { event.ended - event.begun.max(0) }
}

/// Returns a result that is not a number of bytes, if it is relevant.
fn answer(call: &TracedCall, result: i64) -> String {
    if syscalls::waits(&call.name) { format!("= {result}") } else { String::new() }
}

impl Step {
    fn add(&mut self, part: StepPart) {
        let same = |one: &&mut StepPart| one.lane == part.lane && one.text == part.text;
        match self.parts.iter_mut().find(same) {
            Some(one) => {
                one.bytes = one.bytes.zip(part.bytes).map(|(one, other)| one + other);
                one.times += part.times;
                one.took += part.took;
            }
            None => self.parts.push(part),
        }
    }

    /// Compares the calls without their flags: the last of a sequence lacks MSG_MORE. Results of
    /// locks are ignored.
    fn is_like(&self, other: &Self) -> bool {
        let ended = self.took.is_some() && other.took.is_some();
        let same = self.answer == other.answer || self.is_lock();
        ended && same && self.name() == other.name()
    }

    fn is_lock(&self) -> bool {
        self.name() == "futex"
    }

    fn name(&self) -> &str {
        self.title.split(' ').next().unwrap_or_default()
    }

    fn merge(&mut self, other: Self) {
        if self.answer != other.answer {
            self.answer.clear();
        }
        if self.title != other.title {
            self.title = self.name().to_owned();
        }
        self.ended = other.ended;
        self.bytes = self.bytes.zip(other.bytes).map(|(one, other)| one + other);
        self.took = self.took.zip(other.took).map(|(one, other)| one + other);
        self.ran += other.ran;
        self.times += other.times;
        other.parts.into_iter().for_each(|part| self.add(part));
    }
}

/// Merges successive lock operations of a thread, whose number is random.
fn without_locks(steps: Vec<Step>) -> Vec<Step> {
    let mut few: Vec<Step> = Vec::new();
    for step in steps {
        match few.last_mut() {
            Some(last) if last.is_lock() && last.is_like(&step) => last.merge(step),
            _ => few.push(step),
        }
    }
    few
}

/// Folds repeated sequences.
fn fold(steps: Vec<Step>) -> Vec<Step> {
    let steps = without_locks(steps);
    let repeats = |at: usize, length: usize| {
        let same = (at.saturating_add(length)..steps.len())
            .take_while(|&place| steps[place].is_like(&steps[place - length]))
            .count();
        1 + same / length
    };
    // The shortest among sequences of equal coverage.
    let best = |at: usize| {
        let found = (1..=LONGEST).map(|length| (length, repeats(at, length)));
        let often = found.filter(|&(_, times)| times >= MIN_REPEATS);
        often.rev().max_by_key(|(length, times)| length * times).unwrap_or((1, 1))
    };
    let mut plan = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        let (length, times) = best(at);
        // A sequence that repeats as often from the next step on starts there.
        let later = length > 1 && repeats(at + 1, length) >= times;
        let (length, times) = if later { (1, 1) } else { (length, times) };
        plan.push((length, times));
        at += length * times;
    }
    let mut rest = steps.into_iter();
    let mut folded = Vec::new();
    for (length, times) in plan {
        let mut first: Vec<_> = rest.by_ref().take(length).collect();
        for _ in 1..times {
            first.iter_mut().zip(rest.by_ref()).for_each(|(one, other)| one.merge(other));
        }
        let many = first.len();
        let numbered = first.into_iter().enumerate().map(|(place, step)| Step {
            of: (times > 1 && many > 1).then_some((many, place)),
            ..step
        });
        folded.extend(numbered);
    }
    folded
}

/// Converts an event to parts of a step.
fn parts(event: &Event, is_server: bool) -> Vec<StepPart> {
    let lane = event.lane;
    let part = |flow, text: String, bytes| StepPart {
        lane,
        flow,
        text,
        bytes,
        times: 1,
        took: event.took(),
    };
    match &event.kind {
        EventKind::RunsUserCode
        | EventKind::Syscall(_)
        | EventKind::Packet { to_server: true, .. } => Vec::new(),
        EventKind::Sleeps { woken } => {
            let text = match woken {
                Some(waker) => text!("sleeps, woken by {waker}", waker = waker),
                None => text!("sleeps"),
            };
            // The time before the wake-up is irrelevant.
            let took = if event.begun < 0 { 0 } else { event.took() };
            vec![StepPart { took, ..part(Flow::Sleep, text, None) }]
        }
        EventKind::Runnable { preempted } => {
            let text = if *preempted { text!("is preempted") } else { text!("waits for a core") };
            vec![part(Flow::Sleep, text, None)]
        }
        EventKind::Copies { from, to, bytes, .. } => {
            let (from, whither) = (tr(from.name()), tr(to.name()));
            let text = text!("copies {from} -> {to}", from = from, to = whither);
            // The duration of a copy is unknown.
            vec![StepPart { took: 0, ..part(flow(*to, is_server), text, Some(*bytes)) }]
        }
        EventKind::Faults { in_user_mode, .. } => {
            let text = if *in_user_mode {
                text!("page fault in user mode")
            } else {
                text!("page fault in kernel mode")
            };
            vec![part(Flow::Fault, text, None)]
        }
        EventKind::CacheLookup { .. } => {
            vec![part(Flow::Other, text!("looks up the page cache"), None)]
        }
        EventKind::FaultAround { .. } => {
            vec![part(Flow::Other, text!("maps surrounding pages"), None)]
        }
        EventKind::Packet { device, bytes, again, .. } => packet(device, bytes, *again),
        EventKind::Disk { writes, bytes } => {
            let text = if *writes { text!("disk writes (DMA)") } else { text!("disk reads (DMA)") };
            vec![part(Flow::Disk, text, Some(*bytes))]
        }
        EventKind::Operation { name, result } => {
            let answer = syscalls::error(*result).map(|error| format!(" {error}"));
            let text = format!("io_uring {name}{}", answer.unwrap_or_default());
            vec![part(Flow::Other, text, event.bytes())]
        }
        EventKind::IoWorker { name } => {
            vec![part(Flow::Other, text!("io_uring {name}: to an io worker", name = name), None)]
        }
    }
}

/// Returns the direction of a copy.
fn flow(to: Memory, is_server: bool) -> Flow {
    match to {
        Memory::User if is_server => Flow::CopyUp,
        Memory::User => Flow::CopyOut,
        _ => Flow::CopyDown,
    }
}

/// Converts a packet to one part per provenance.
fn packet(device: &str, bytes: &Provenance, again: bool) -> Vec<StepPart> {
    let again = if again { text!(", retransmitted") } else { String::new() };
    let groups = [
        (Flow::SendReferred, msg!("page cache, by reference"), bytes.ours),
        (Flow::SendReferred, msg!("pages of another file"), bytes.cache),
        (Flow::SendReferred, msg!("user pages, by reference"), bytes.anonymous),
        (Flow::SendCopied, msg!("pages copied into"), bytes.copied()),
        (Flow::Other, msg!("bytes of unknown origin"), bytes.unsorted),
    ];
    let there = groups.into_iter().filter(|(_, _, bytes)| *bytes > 0);
    let parts = there.map(|(flow, what, bytes)| StepPart {
        lane: Lane::Device,
        flow,
        text: format!("{device}: {}{again}", tr(what)),
        bytes: Some(bytes),
        times: 1,
        took: 0,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(titles: &str) -> Vec<Step> {
        let step = |(at, title): (usize, char)| {
            let begun = i64::try_from(at).unwrap() * 10;
            let call = TracedCall { name: title.to_string(), arguments: [0; 6], result: Some(1) };
            let kind = EventKind::Syscall(call.clone());
            let event = Event {
                begun,
                ended: begun + 5,
                lane: Lane::Call,
                thread: Some(0),
                within: None,
                kind,
            };
            Step { bytes: Some(1), ..step(0, &event, &call) }
        };
        titles.chars().enumerate().map(step).collect()
    }

    fn folded(titles: &str) -> String {
        let parts =
            fold(sequence(titles)).into_iter().map(|step| format!("{}{}", step.title, step.times));
        parts.collect()
    }

    #[test]
    fn repeated_sequences_are_folded_without_loss() {
        assert_eq!(folded("abcd"), "a1b1c1d1");
        assert_eq!(folded("waaaae"), "w1a4e1");
        assert_eq!(folded("wabababe"), "w1a3b3e1");
        assert_eq!(folded("wababe"), "w1a1b1a1b1e1", "two calls are too few for a group");
        assert_eq!(folded("sasasas"), "s1a3s3", "the first is the head");
        let steps = fold(sequence("abababab"));
        assert_eq!((steps[1].bytes, steps[1].took, steps[1].ended), (Some(4), Some(20), 75));
        assert_eq!((steps[0].of, steps[1].of), (Some((2, 0)), Some((2, 1))));
    }
}
