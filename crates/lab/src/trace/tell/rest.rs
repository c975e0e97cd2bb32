//! What is told as it is: faults, lookups, packets, disks; and the copies that follow from it.
//!
//! What it does badly: that a read copies out of the page cache is known by a lookup at the time of
//! the call, or where the kernel tells none, by its name.

use std::collections::BTreeMap;

use super::Teller;
use crate::probe::Provenance;
use crate::trace::calls;
use crate::trace::event::{Event, Lane, Memory, What};
use crate::trace::recorder::{Kind, Raw};

impl Teller<'_> {
    /// Everything that is told as it is.
    pub(super) fn rest(&mut self) {
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
    pub(super) fn derived(&mut self) {
        let is_lookup = |event: &&Event| matches!(event.what, What::LooksUp { .. });
        let lookups = self.told.events.iter().filter(is_lookup).map(|event| event.begun);
        // They were told in their order.
        let lookups: Vec<_> = lookups.collect();
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
            } else if calls::reads_file(name) && self.reads_through_cache(event, &lookups) {
                (Memory::PageCache, Memory::User)
            } else {
                continue;
            };
            let what = What::Copies { from, to, bytes, derived: true };
            copies.push(Event { lane: Lane::Kernel, what, ..event.clone() });
        }
        self.told.events.extend(copies);
    }

    fn reads_through_cache(&self, call: &Event, lookups: &[i64]) -> bool {
        if !self.cast.tells_lookups {
            return !self.cast.reads_directly && call.reads_at_an_offset();
        }
        let next = lookups.partition_point(|&at| at < call.begun);
        lookups.get(next).is_some_and(|&at| at <= call.ended)
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
