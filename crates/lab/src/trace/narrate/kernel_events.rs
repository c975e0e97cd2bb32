//! Events recorded directly: faults, lookups, packets, disk requests; and the copies derived from
//! them.
//!
//! # Limitations
//! A read is known to copy from the page cache by a lookup during the call or, if lookups are not
//! recorded, by its name.

use std::collections::BTreeMap;

use super::Narrator;
use crate::probe::Provenance;
use crate::trace::event::{Event, EventKind, Lane, Memory};
use crate::trace::recorder::{Record, RecordKind};
use crate::trace::syscalls;

impl Narrator<'_> {
    /// Adds all directly recorded events.
    pub(super) fn kernel_events(&mut self) {
        let mut retransmissions = Retransmissions::default();
        let recording = self.recording;
        for record in &recording.events {
            let is_device = matches!(record.kind, RecordKind::Packet | RecordKind::Disk);
            let is_foreign = record.thread == 0 || !self.is_in_time(record);
            if is_device
                && (record.time < self.participants.begun
                    || record.process == self.participants.client
                        && record.time > self.participants.ended)
                || !is_device && is_foreign
            {
                continue;
            }
            let Some((lane, kind)) = self.kind(record, &mut retransmissions) else { continue };
            if record.kind == RecordKind::Receive && record.process == self.participants.client {
                self.narration.referred += referred(&record.arguments);
            }
            let thread = self.known(record.thread);
            if thread.is_none() && !is_device {
                continue;
            }
            let lane =
                if is_device { lane } else { thread.map_or(lane, |place| self.lane(place, lane)) };
            self.push(record.begun, record.time, lane, thread, kind);
        }
    }

    fn kind(
        &self,
        record: &Record,
        retransmissions: &mut Retransmissions,
    ) -> Option<(Lane, EventKind)> {
        let arguments = &record.arguments;
        let pages = arguments[1].saturating_sub(arguments[0]);
        Some(match record.kind {
            RecordKind::Fault => {
                let (in_user_mode, to_write) = (arguments[2] != 0, arguments[1] & 2 != 0);
                (Lane::Kernel, EventKind::Faults { in_user_mode, to_write })
            }
            RecordKind::Lookup => (Lane::Kernel, EventKind::CacheLookup { pages: pages.max(1) }),
            RecordKind::FaultAround => (Lane::Kernel, EventKind::FaultAround { pages: pages + 1 }),
            RecordKind::Receive => {
                let (from, to) = (Memory::Socket, Memory::User);
                (Lane::Kernel, EventKind::Copies { from, to, bytes: arguments[8], derived: false })
            }
            RecordKind::Packet => {
                let bytes = provenance(arguments);
                // The packets of a UNIX socket are recorded by their receiver.
                let to_server = if arguments[8] == 0 {
                    record.process == self.participants.server
                } else {
                    arguments[8] == 2
                };
                let again = arguments[8] == 1
                    && retransmissions.is_retransmission(arguments[9], bytes.payload());
                let device =
                    if arguments[8] == 0 { "unix".to_owned() } else { record.name.clone() };
                (Lane::Device, EventKind::Packet { device, bytes, to_server, again })
            }
            RecordKind::Disk => {
                (Lane::Device, EventKind::Disk { writes: arguments[0] != 0, bytes: arguments[1] })
            }
            RecordKind::Uring => {
                let name = syscalls::operation(arguments[0]);
                (Lane::Kernel, EventKind::Operation { name, result: arguments[1].cast_signed() })
            }
            RecordKind::IoWorker => {
                (Lane::Kernel, EventKind::IoWorker { name: syscalls::operation(arguments[0]) })
            }
            RecordKind::Call
            | RecordKind::SwitchOut
            | RecordKind::SwitchIn
            | RecordKind::WakeUp => return None,
        })
    }

    /// Adds copies of the server that no tracepoint reports, derived from the results of calls and
    /// operations.
    pub(super) fn derived_copies(&mut self) {
        let is_lookup = |event: &&Event| matches!(event.kind, EventKind::CacheLookup { .. });
        let lookups = self.narration.events.iter().filter(is_lookup).map(|event| event.begun);
        // They are ordered by time.
        let lookups: Vec<_> = lookups.collect();
        let mut copies = Vec::new();
        for event in &self.narration.events {
            let (name, bytes) = match &event.kind {
                EventKind::Syscall(call) if !syscalls::is_zerocopy(call) => {
                    (&*call.name, event.bytes())
                }
                EventKind::Operation { name, .. } => (*name, event.bytes()),
                _ => continue,
            };
            let thread = event.thread.map(|place| &self.narration.threads[place]);
            let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else { continue };
            if thread.is_none_or(|thread| thread.receives) {
                continue;
            }
            let (from, to) = if syscalls::sends(name) || syscalls::may_send(name, bytes) {
                (Memory::User, Memory::Socket)
            } else if syscalls::reads_file(name) && self.reads_through_cache(event, &lookups) {
                (Memory::PageCache, Memory::User)
            } else {
                continue;
            };
            let kind = EventKind::Copies { from, to, bytes, derived: true };
            copies.push(Event { lane: Lane::Kernel, kind, ..event.clone() });
        }
        self.narration.events.extend(copies);
    }

    fn reads_through_cache(&self, call: &Event, lookups: &[i64]) -> bool {
        if !self.participants.reports_lookups {
            return !self.participants.reads_directly && call.reads_at_an_offset();
        }
        let next = lookups.partition_point(|&at| at < call.begun);
        lookups.get(next).is_some_and(|&at| at <= call.ended)
    }
}

/// Returns the share of the bytes copied out of a packet that lay in pages not owned by the kernel.
fn referred(arguments: &[u64; 10]) -> u64 {
    let bytes = provenance(arguments);
    (bytes.ours + bytes.anonymous) * arguments[8] / bytes.payload().max(1)
}

fn provenance(arguments: &[u64; 10]) -> Provenance {
    Provenance {
        packets: arguments[0],
        headers: arguments[1],
        linear: arguments[2],
        ours: arguments[3],
        cache: arguments[4],
        anonymous: arguments[5],
        kernel: arguments[6],
        unsorted: arguments[7],
    }
}

/// Ranges that TCP has sent, by sequence numbers relative to the first.
#[derive(Default)]
struct Retransmissions {
    first: Option<u64>,
    sent: BTreeMap<u64, u64>,
}

impl Retransmissions {
    /// Returns whether the whole range was sent before.
    fn is_retransmission(&mut self, sequence: u64, payload: u64) -> bool {
        let first = *self.first.get_or_insert(sequence);
        let begin = sequence.wrapping_sub(first) & u64::from(u32::MAX);
        let end = begin + payload;
        let before = self.sent.range(..=begin).next_back();
        if payload == 0 || before.is_some_and(|(_, &until)| until >= end) {
            return payload > 0;
        }
        // Extends the preceding range if they are adjacent.
        let from = before.filter(|(_, until)| **until >= begin).map_or(begin, |(from, _)| *from);
        self.sent.insert(from, end);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_are_detected() {
        let mut retransmissions = Retransmissions::default();
        let first = u64::from(u32::MAX) - 50;
        assert!(!retransmissions.is_retransmission(first, 100));
        assert!(
            !retransmissions.is_retransmission((first + 100) & 0xffff_ffff, 100),
            "around the corner"
        );
        assert!(retransmissions.is_retransmission(first, 200));
        assert!(
            !retransmissions.is_retransmission((first + 300) & 0xffff_ffff, 10),
            "behind a hole"
        );
        assert!(
            !retransmissions.is_retransmission((first + 200) & 0xffff_ffff, 100),
            "in the hole"
        );
        assert!(retransmissions.is_retransmission((first + 200) & 0xffff_ffff, 50));
        assert!(!retransmissions.is_retransmission(first, 0), "an acknowledgement");
    }
}
