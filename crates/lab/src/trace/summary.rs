//! Summary and notes of a trace as text.

use super::Trace;
use super::event::time;
use crate::language::text;
use crate::table::grouped;
use crate::tier::Tier;
use crate::transport::Transport;

impl Trace {
    /// Describes how the request was observed.
    pub(super) fn seen(&self) -> String {
        match self.tier {
            Tier::T0 => text!(
                "tier T0: the server's system calls by ptrace; kernel activity is inferred (~)"
            ),
            _ => text!("tier T1: every event by the kernel's tracepoints"),
        }
    }

    /// Returns the figures, one line each.
    pub(super) fn summary(&self) -> Vec<String> {
        let totals = &self.totals;
        let by_name =
            totals.calls.iter().map(|(name, counted)| format!("{name} {}", counted.calls));
        let calls = text!(
            "{number} system calls ({names}), {switches} mode switches",
            number = totals.total_calls(),
            names = by_name.collect::<Vec<_>>().join(", "),
            switches = grouped(totals.mode_switches)
        );
        let copies = &totals.copies;
        let about = if copies.inferred { "~" } else { "" };
        let bytes = |bytes: u64| format!("{about}{}", grouped(bytes));
        let copies = text!(
            "copied by the CPU: file -> user {to_user}, user -> socket {to_socket}, late {late}, \
             by the receiver {received}",
            to_user = bytes(copies.file_to_user),
            to_socket = bytes(copies.to_socket),
            late = bytes(copies.late),
            received = bytes(copies.received)
        );
        let mut lines = vec![calls, copies];
        if let Some(sent) = &totals.sent {
            let referred = sent.ours + sent.cache + sent.anonymous;
            lines.push(text!(
                "sent in {packets} packets: {referred} bytes by reference, {copied} copied before, \
                 {headers} of headers; {retransmitted} retransmitted",
                packets = grouped(sent.packets),
                referred = grouped(referred),
                copied = grouped(sent.copied()),
                headers = grouped(sent.headers),
                retransmitted = grouped(totals.retransmitted)
            ));
        }
        lines.extend(self.faults_and_disk());
        lines.push(self.sleep());
        lines
    }

    fn faults_and_disk(&self) -> Option<String> {
        let totals = &self.totals;
        let (user, kernel) = totals.faults_user.zip(totals.faults_kernel)?;
        let disk = totals.disk?;
        let (cached, pages) = self.pages;
        Some(text!(
            "page faults: {user} in user mode, {kernel} in kernel mode; disk: {bytes} bytes in \
             {requests} requests ({cached} of {pages} pages were in memory)",
            user = user,
            kernel = kernel,
            bytes = grouped(disk.read_bytes),
            requests = disk.reads,
            cached = grouped(cached),
            pages = grouped(pages)
        ))
    }

    fn sleep(&self) -> String {
        let totals = &self.totals;
        let wakers = totals.woken.iter().map(|(thread, waker)| {
            text!("{thread} by {waker}", thread = self.threads[*thread].name, waker = waker)
        });
        let mut wakers: Vec<_> = wakers.collect();
        wakers.dedup();
        let shown: Vec<_> = wakers.iter().take(4).cloned().collect();
        let more = if wakers.len() > 4 {
            text!(", and {more} more", more = wakers.len() - 4)
        } else {
            String::new()
        };
        let woken = if wakers.is_empty() {
            String::new()
        } else {
            text!("; wake-ups: {wakers}{more}", wakers = shown.join(", "), more = more)
        };
        let slept = if self.tier == Tier::T0 {
            text!("sleep is not visible without tracepoints")
        } else {
            text!(
                "slept {times} times, {slept} us, and waited {queued} us for a core",
                times = totals.sleeps,
                slept = time(totals.slept),
                queued = time(totals.queued)
            )
        };
        text!(
            "{took} us from the wake-up to the last byte; {slept}{woken}",
            took = time(self.took),
            slept = slept,
            woken = woken
        )
    }

    /// Returns the notes.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = &self.without_t1 {
            notes.push(text!("no T1: {why}", why = why));
            notes.push(text!(
                "ptrace stops the server twice per call: times are many times longer, and the \
                 receiver, kernel threads, faults and devices are not traced"
            ));
        } else {
            if self.tries > 1 {
                notes.push(text!("the fastest of {number} requests", number = self.tries));
            }
            notes.push(text!(
                "each traced event costs about a microsecond: compare the parts, and use karez lab \
                 vias for times"
            ));
        }
        if !self.missing.is_empty() {
            notes.push(text!("missing on this kernel: {names}", names = self.missing.join(", ")));
        }
        if self.lost > 0 {
            notes.push(text!(
                "{number} events were lost because the ring buffer was full: the figures are too low",
                number = grouped(self.lost)
            ));
        }
        if self.transport == Transport::Loopback && self.tier > Tier::T0 {
            notes.push(text!("loopback has no DMA; receive processing runs on the sender's time"));
        }
        if self.totals.copies.late > 0 {
            notes.push(text!("loopback copies MSG_ZEROCOPY pages late"));
        }
        let bugs = &self.totals.contradictions;
        notes.extend(bugs.iter().map(|found| text!("contradiction: {found}", found = found)));
        notes
    }
}
