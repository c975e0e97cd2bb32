//! Totals of a request: calls, switches, copies, faults, sleep.
//!
//! # Limitations
//! Late copies are determined at the receiver, where a partially read packet counts proportionally.

use karez_transfer::Via;
use std::collections::BTreeMap;

use super::event::{Event, EventKind, Memory, WakeSource};
use super::narrate::Narration;
use super::steps::since_wake_up;
use super::syscalls;
use crate::copies::Copies;
use crate::probe::{Disk, Provenance};

/// Totals of a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Number of calls.
    pub calls: u64,
    /// Bytes, for calls that move data.
    pub bytes: u64,
    /// Nanoseconds spent in it since the wake-up.
    pub took: i64,
}

/// Source of the figures about copies.
#[derive(Clone, Copy, Debug)]
pub(super) enum CopyEvidence {
    /// Tracepoints.
    Seen,
    /// The system calls; or the via, for data that moves without system calls.
    Inferred(Option<Via>),
}

/// Totals of a request.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// System calls of the server by name, from the one that was woken for the request to the last
    /// one of the response.
    pub calls: BTreeMap<String, CallTotals>,
    /// Two per system call and two per fault in user mode.
    pub mode_switches: u64,
    /// Faults of the server in user mode; `None` if unknown.
    pub faults_user: Option<u64>,
    /// Faults of the server in the kernel.
    pub faults_kernel: Option<u64>,
    /// Bytes copied by the CPU.
    pub copies: Copies,
    /// Bytes of the response by provenance; `None` if unknown.
    pub sent: Option<Provenance>,
    /// Bytes that TCP retransmitted.
    pub retransmitted: u64,
    /// Disk I/O of the file; `None` if unknown.
    pub disk: Option<Disk>,
    /// Number of sleeps of the server between the wake-up and the last byte.
    pub sleeps: u64,
    /// Their duration in nanoseconds.
    pub slept: i64,
    /// Number of preemptions of the server in that time.
    pub preempted: u64,
    /// Nanoseconds in which the server was runnable without a core.
    pub queued: i64,
    /// Wake-ups of the server's threads in order: index of the thread, and source.
    pub woken: Vec<(usize, WakeSource)>,
    /// Contradictions, which are bugs of the laboratory.
    pub contradictions: Vec<String>,
    /// Bytes of user memory sent by reference.
    referred: u64,
}

impl Totals {
    /// Sums up events for a response of the given head and body sizes, whose last byte arrived
    /// after `took` nanoseconds.
    pub(super) fn of(
        narration: &Narration,
        took: i64,
        response: (u64, u64),
        evidence: CopyEvidence,
    ) -> Self {
        let mut totals = Self::default();
        for event in &narration.events {
            match event.thread.map(|place| &narration.threads[place]) {
                Some(thread) if !thread.receives => totals.add(event, took),
                _ => {}
            }
        }
        totals.mode_switches = 2 * totals.calls.values().map(|call| call.calls).sum::<u64>();
        match evidence {
            CopyEvidence::Seen => totals.apply_tracepoints(narration, response.0 + response.1),
            CopyEvidence::Inferred(unseen) => totals.infer(response, unseen),
        }
        totals
    }

    /// Adds an event of a server thread.
    fn add(&mut self, event: &Event, took: i64) {
        match &event.kind {
            EventKind::Syscall(call) if call.result.is_some() => {
                let totals_of_call = self.calls.entry(call.name.clone()).or_default();
                let bytes = event.bytes().unwrap_or(0);
                totals_of_call.calls += 1;
                totals_of_call.bytes += bytes;
                totals_of_call.took += since_wake_up(event);
                if syscalls::is_zerocopy(call) {
                    self.referred += bytes;
                }
            }
            EventKind::Operation { name: "send_zc" | "sendmsg_zc", .. } => {
                self.referred += event.bytes().unwrap_or(0);
            }
            EventKind::Sleeps { woken } => {
                let place = event.thread.unwrap_or(0);
                self.woken.extend(woken.as_ref().map(|waker| (place, waker.clone())));
                if (0..took).contains(&event.begun) && woken.is_some() {
                    self.sleeps += 1;
                    self.slept += event.ended.min(took) - event.begun;
                }
            }
            EventKind::Runnable { preempted } if event.begun < took => {
                self.queued += event.took();
                self.preempted += u64::from(*preempted);
            }
            EventKind::Copies { from, to, bytes, derived: true } => match (from, to) {
                (Memory::PageCache, _) => self.copies.file_to_user += bytes,
                _ => self.copies.to_socket += bytes,
            },
            _ => {}
        }
    }

    /// Adds the figures of tracepoints.
    fn apply_tracepoints(&mut self, narration: &Narration, response: u64) {
        let (mut sent, mut disk, mut faults) = (Provenance::default(), Disk::default(), (0, 0));
        for event in &narration.events {
            let receives = event.thread.is_some_and(|place| narration.threads[place].receives);
            match &event.kind {
                EventKind::Packet { to_server: false, again: false, bytes, .. } => {
                    add(&mut sent, bytes);
                }
                EventKind::Packet { to_server: false, again: true, bytes, .. } => {
                    self.retransmitted += bytes.payload();
                }
                EventKind::Disk { writes, bytes } => count(&mut disk, *writes, *bytes),
                EventKind::Faults { in_user_mode: true, .. } if !receives => faults.0 += 1,
                EventKind::Faults { in_user_mode: false, .. } if !receives => faults.1 += 1,
                EventKind::Copies { bytes, derived: false, .. } if receives => {
                    self.copies.received += bytes;
                }
                _ => {}
            }
        }
        self.expect_equal("were copied by the receiver", self.copies.received, response);
        self.expect_equal("were sent by the server", sent.payload(), response);
        self.expect_equal("were copied to the socket", sent.copied(), self.copies.to_socket);
        self.copies.to_socket = sent.copied();
        if self.referred > 0 {
            self.copies.late = (sent.ours + sent.anonymous).saturating_sub(narration.referred);
        }
        self.mode_switches += 2 * faults.0;
        (self.faults_user, self.faults_kernel) = (Some(faults.0), Some(faults.1));
        (self.sent, self.disk) = (Some(sent), Some(disk));
    }

    /// Infers the figures without tracepoints: the receiver reads everything; loopback copies data
    /// sent by reference. Operations without system calls are inferred from the via.
    fn infer(&mut self, (head, body): (u64, u64), unseen: Option<Via>) {
        if let Some(via) = unseen {
            self.copies.file_to_user = if via == Via::Splice { 0 } else { body };
            self.copies.to_socket = match via {
                Via::Splice => head,
                Via::Zerocopy => 0,
                _ => head + body,
            };
            self.referred = if via == Via::Zerocopy { head + body } else { 0 };
        }
        self.copies.late = self.referred;
        self.copies.received = head + body;
        self.copies.inferred = true;
    }

    fn expect_equal(&mut self, what: &str, seen: u64, by_calls: u64) {
        if seen != by_calls {
            let found = format!("{seen} bytes {what} by their pages, but {by_calls} by the calls");
            self.contradictions.push(found);
        }
    }

    /// Returns the total number of system calls.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.calls.values().map(|call| call.calls).sum()
    }
}

fn add(to: &mut Provenance, bytes: &Provenance) {
    to.packets += bytes.packets;
    to.headers += bytes.headers;
    to.linear += bytes.linear;
    to.ours += bytes.ours;
    to.cache += bytes.cache;
    to.anonymous += bytes.anonymous;
    to.kernel += bytes.kernel;
    to.unsorted += bytes.unsorted;
}

fn count(disk: &mut Disk, writes: bool, bytes: u64) {
    let (requests, sum) = if writes {
        (&mut disk.writes, &mut disk.write_bytes)
    } else {
        (&mut disk.reads, &mut disk.read_bytes)
    };
    *requests += 1;
    *sum += bytes;
}
