//! EventKind a request comes to: calls, switches, copies, faults, sleep.
//!
//! EventKind it does badly: where bytes are copied late is narration by where they lie at the receiver, so
//! that a packet of which only a part was taken counts by its share.

use karez_transfer::Via;
use std::collections::BTreeMap;

use super::event::{Event, EventKind, Memory, WakeSource};
use super::narrate::Narration;
use super::steps::since_wake_up;
use super::syscalls;
use crate::copies::Copies;
use crate::probe::{Disk, Provenance};

/// How often a call was made, and what it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// How often.
    pub calls: u64,
    /// Bytes, for calls that move some.
    pub bytes: u64,
    /// Nanoseconds since the wake-up that were spent in it.
    pub took: i64,
}

/// How copies are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum CopyEvidence {
    /// The kernel's tracepoints narration.
    Seen,
    /// By the system calls; or by the via, where the bytes move without any.
    Inferred(Option<Via>),
}

/// EventKind a request comes to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The server's system calls by name, from the one that woke up for the request to the last
    /// that answered.
    pub calls: BTreeMap<String, CallTotals>,
    /// Two a system call, two a fault in user mode.
    pub mode_switches: u64,
    /// Faults of the server in user mode; `None` where nobody sees them.
    pub faults_user: Option<u64>,
    /// Faults of the server inside the kernel.
    pub faults_kernel: Option<u64>,
    /// Bytes copied by the CPU.
    pub copies: Copies,
    /// Where the bytes of the response lay as they left; `None` where nobody sees it.
    pub sent: Option<Provenance>,
    /// Bytes that TCP sent again.
    pub retransmitted: u64,
    /// EventKind the disk did for the file; `None` where nobody sees it.
    pub disk: Option<Disk>,
    /// How often the server slept between the wake-up and the last byte.
    pub sleeps: u64,
    /// How long, in nanoseconds.
    pub slept: i64,
    /// How often it had to leave its core to another meanwhile.
    pub preempted: u64,
    /// How long it could go on and had no core, in nanoseconds.
    pub queued: i64,
    /// Who woke the server's threads, in order: a thread by its place, and the waker.
    pub woken: Vec<(usize, WakeSource)>,
    /// EventKind contradicts itself: a bug of the laboratory's.
    pub contradictions: Vec<String>,
    /// Bytes that a call let the socket refer to in memory of the server.
    referred: u64,
}

impl Totals {
    /// Of what was narration of an response with so many bytes of head and body, the last of which came
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

    /// EventKind a thread of the server did.
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

    /// EventKind tracepoints narration.
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
        self.expect_equal("left the server", sent.payload(), response);
        self.expect_equal("were copied to the socket", sent.copied(), self.copies.to_socket);
        self.copies.to_socket = sent.copied();
        if self.referred > 0 {
            self.copies.late = (sent.ours + sent.anonymous).saturating_sub(narration.referred);
        }
        self.mode_switches += 2 * faults.0;
        (self.faults_user, self.faults_kernel) = (Some(faults.0), Some(faults.1));
        (self.sent, self.disk) = (Some(sent), Some(disk));
    }

    /// Without tracepoints: the receiver reads; loopback copies what was referred to. Of operations
    /// that make no system call it is only known by which via they are made.
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

    /// All calls together.
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
