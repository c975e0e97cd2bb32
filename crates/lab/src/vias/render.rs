//! Output formats of the vias.

use karez_transfer::Via;
use serde_json::{Value, json};
use std::fmt;

use super::tables::{COUNTERS, caption, is_copied_again};
use super::{ViaRow, Vias, charts};
use crate::language::text;
use crate::machine::machine;
use crate::probe::call_name;
use crate::report::{Report, Section, skipped_lines};
use crate::selftest::Counter;
use crate::table::size;
use crate::transport::ReceiveMode;

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.vias/2";

impl Report for Vias {
    /// Lists every combination in one table.
    fn to_csv(&self) -> String {
        self.table_of_all().to_csv()
    }

    fn to_markdown(&self) -> String {
        let tiers = self.tiers.to_string();
        let notes = tiers.lines().map(str::to_owned).chain(self.notes());
        let notes = notes.chain(skipped_lines(&self.skipped)).map(|note| format!("- {note}\n"));
        format!("{}\n{}", self.table_of_all().to_markdown(), notes.collect::<String>())
    }

    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "tiers": self.tiers.to_json(),
            "usable": self.usable,
            "counting_overhead": self.overhead.to_json(),
            "chunk": self.chunk,
            "receiver": self.receive_mode.name(),
            "seed": self.seed,
            "notes": self.notes(),
            "skipped": self.skipped.iter().map(|(subject, reason)| json!({ "subject": subject, "reason": reason }))
                .collect::<Vec<_>>(),
            "rows": self.rows.iter().map(|row| self.row_to_json(row)).collect::<Vec<_>>(),
        })
    }

    fn section(&self) -> Section {
        charts::section(self)
    }
}

impl Vias {
    /// Returns the notes of the table.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            text!("Copies are those of the payload; 1 x is the whole payload once."),
            self.pieces(),
            text!("NIC DMA: none of these transports has a device with DMA."),
            text!("Over lo and veth the receive softirq runs on the sender's time."),
            text!("Overlapping ranges do not rank."),
        ];
        if self.rows.iter().any(|row| row.counted.counts.is_some()) {
            let longer = self.overhead;
            notes.push(text!(
                "Counting made runs {longer} times as long; times come from runs without it.",
                longer = format!("{longer:.2}")
            ));
        }
        if self.rows.iter().any(|row| row.counted.zerocopy.copied > 0) {
            notes
                .push(text!("MSG_ZEROCOPY copies late on lo and veth, as its completions report."));
        }
        if self.rows.iter().any(is_copied_again) {
            notes.push(text!(
                ">= without scatter-gather: bytes copied to the socket are copied once more into \
                 each packet, which is not counted."
            ));
        }
        if self.rows.iter().any(|row| row.copies.inferred) {
            notes.push(text!(
                "~ marks values inferred from the via or from its calls, not counted."
            ));
            notes.push(text!(
                "aliased, copied: the result of the mutation probe for 16 KiB: whether a write to \
                 the file before the receiver reads changes the received bytes."
            ));
        }
        notes
    }

    /// Describes chunk size and receive mode.
    fn pieces(&self) -> String {
        let most = self.chunk.map_or_else(
            || text!("with the default length per call"),
            |chunk| text!("at most {size} per call", size = size(u64::from(chunk))),
        );
        let taken = match self.receive_mode {
            ReceiveMode::Read => text!("the receiver reads"),
            ReceiveMode::Decrypt => text!("the receiver reads by kernel TLS"),
            ReceiveMode::Discard => text!("the receiver discards without a copy"),
        };
        text!("Sent {most}; {taken}.", most = most, taken = taken)
    }

    fn row_to_json(&self, row: &ViaRow) -> Value {
        let own = row.counted.sender_counts().filter(|_| self.is_usable(&[Counter::Calls]));
        let by_name = own.map(|own| {
            let each =
                own.calls.iter().map(|(number, call)| (call_name(*number), json!(call.calls)));
            each.collect::<serde_json::Map<_, _>>()
        });
        let disk = row.disk().filter(|_| self.is_usable(&[Counter::Disk]));
        let copies = row.copies.inferred || self.is_usable(&[Counter::Kernel, Counter::PageCache]);
        let samples = row.timed.iter().map(|run| {
            json!({ "seconds": run.seconds, "sender_cpu": run.sender, "receiver_cpu": run.receiver })
        });
        json!({
            "via": row.via.name(),
            "effective_via": row.counted.effective.name(),
            "fallbacks": row.counted.fallbacks.iter()
                .map(|(from, errno)| json!({ "from": from, "errno": errno })).collect::<Vec<_>>(),
            "transport": row.transport.name(),
            "cache": row.cache.name(),
            "bytes": row.bytes,
            "transfer_calls": row.counted.calls,
            "calls": by_name,
            "mode_switches": own.map(|own| own.mode_switches()),
            "voluntary_switches": own.map(|own| own.voluntary),
            "involuntary_switches": own.map(|own| own.involuntary),
            "faults_user": own.and_then(|own| own.faults_user),
            "faults_kernel": own.and_then(|own| own.faults_kernel),
            "minor_faults": row.counted.sender.minor_faults,
            "major_faults": row.counted.sender.major_faults,
            "copies": copies.then(|| json!({
                "inferred": row.copies.inferred,
                "at_least": is_copied_again(row),
                "file_to_user": row.copies.file_to_user,
                "to_socket": row.copies.to_socket,
                "late": row.copies.late,
                "receiver": row.copies.received,
            })),
            "mutation": row.verdict.as_ref().map(ToString::to_string),
            "disk": disk.map(|disk| json!({ "bytes": disk.read_bytes, "requests": disk.reads })),
            "nic_dma": Value::Null,
            "tries": row.counted.tries,
            "contradictions": row.contradictions,
            "cpu_ms_per_gb": row.cpu().to_json(),
            "gb_per_s": row.speed().to_json(),
            "samples": samples.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Vias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tiers)?;
        for rows in self.groups() {
            writeln!(f, "\n{}", caption(rows))?;
            write!(f, "{}", self.table_of(rows).to_text())?;
        }
        writeln!(f)?;
        for note in self.notes() {
            writeln!(f, "{note}")?;
        }
        for line in skipped_lines(&self.skipped) {
            writeln!(f, "{line}")?;
        }
        for found in self.rows.iter().flat_map(|row| &row.contradictions) {
            writeln!(f, "{}", text!("contradiction: {found}", found = found))?;
        }
        let failed = COUNTERS.iter().filter(|&&counter| !self.is_usable(&[counter]));
        let failed: Vec<_> = failed.map(|counter| counter.name()).collect();
        if !failed.is_empty() {
            let failed = failed.join(", ");
            writeln!(
                f,
                "{}",
                text!("not used without a passed self-test: {failed}", failed = failed)
            )?;
        }
        Ok(())
    }
}

/// Lookup by via.
impl Vias {
    /// Returns the rows of one via.
    pub fn of(&self, via: Via) -> impl Iterator<Item = &ViaRow> {
        self.rows.iter().filter(move |row| row.via == via)
    }
}
