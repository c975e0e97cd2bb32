//! Summary and notes of a trace as text.

use super::Trace;
use super::event::time;
use crate::table::grouped;
use crate::tier::Tier;
use crate::transport::Transport;

impl Trace {
    /// Describes how the request was observed.
    pub(super) fn seen(&self) -> String {
        match self.tier {
            Tier::T0 => {
                "tier T0: the server's system calls by ptrace; kernel activity is inferred (~)"
            }
            _ => "tier T1: every event by the kernel's tracepoints",
        }
        .to_owned()
    }

    /// Returns the figures, one line each.
    pub(super) fn summary(&self) -> Vec<String> {
        let totals = &self.totals;
        let by_name =
            totals.calls.iter().map(|(name, counted)| format!("{name} {}", counted.calls));
        let calls = format!(
            "{} system calls ({}), {} mode switches",
            totals.total_calls(),
            by_name.collect::<Vec<_>>().join(", "),
            grouped(totals.mode_switches)
        );
        let copies = &totals.copies;
        let about = if copies.inferred { "~" } else { "" };
        let copies = format!(
            "copied by the CPU: file -> user {about}{}, user -> socket {about}{}, late {about}{}, \
             by the receiver {about}{}",
            grouped(copies.file_to_user),
            grouped(copies.to_socket),
            grouped(copies.late),
            grouped(copies.received)
        );
        let mut lines = vec![calls, copies];
        if let Some(sent) = &totals.sent {
            let referred = sent.ours + sent.cache + sent.anonymous;
            lines.push(format!(
                "sent in {} packets: {} bytes by reference, {} copied before, {} of headers; {} \
                retransmitted",
                grouped(sent.packets),
                grouped(referred),
                grouped(sent.copied()),
                grouped(sent.headers),
                grouped(totals.retransmitted)
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
        Some(format!(
            "page faults: {user} in user mode, {kernel} in kernel mode; disk: {} bytes in {} \
             requests ({} of {} pages were in memory)",
            grouped(disk.read_bytes),
            disk.reads,
            grouped(cached),
            grouped(pages)
        ))
    }

    fn sleep(&self) -> String {
        let totals = &self.totals;
        let wakers = totals
            .woken
            .iter()
            .map(|(thread, waker)| format!("{} by {waker}", self.threads[*thread].name));
        let mut wakers: Vec<_> = wakers.collect();
        wakers.dedup();
        let shown: Vec<_> = wakers.iter().take(4).cloned().collect();
        let more = if wakers.len() > 4 {
            format!(", and {} more", wakers.len() - 4)
        } else {
            String::new()
        };
        let woken = if wakers.is_empty() {
            String::new()
        } else {
            format!("; wake-ups: {}{more}", shown.join(", "))
        };
        let slept = if self.tier == Tier::T0 {
            "sleep is not visible without tracepoints".to_owned()
        } else {
            format!(
                "slept {} times, {} us, and waited {} us for a core",
                totals.sleeps,
                time(totals.slept),
                time(totals.queued)
            )
        };
        format!("{} us from the wake-up to the last byte; {slept}{woken}", time(self.took))
    }

    /// Returns the notes.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = &self.without_t1 {
            notes.push(format!("no T1: {why}"));
            notes.push(
                "ptrace stops the server twice per call: times are many times longer, and the \
                 receiver, kernel threads, faults and devices are not traced"
                    .to_owned(),
            );
        } else {
            if self.tries > 1 {
                notes.push(format!("the fastest of {} requests", self.tries));
            }
            notes.push(
                "each traced event costs about a microsecond: compare the parts, and use karez lab \
                 vias for times"
                    .to_owned(),
            );
        }
        if !self.missing.is_empty() {
            notes.push(format!("missing on this kernel: {}", self.missing.join(", ")));
        }
        if self.lost > 0 {
            notes.push(format!(
                "{} events were lost because the ring buffer was full: the figures are too low",
                grouped(self.lost)
            ));
        }
        if self.transport == Transport::Loopback && self.tier > Tier::T0 {
            notes.push(
                "loopback has no DMA; receive processing runs on the sender's time".to_owned(),
            );
        }
        if self.totals.copies.late > 0 {
            notes.push("loopback copies MSG_ZEROCOPY pages late".to_owned());
        }
        let bugs = &self.totals.contradictions;
        notes.extend(bugs.iter().map(|found| format!("contradiction: {found}")));
        notes
    }
}
