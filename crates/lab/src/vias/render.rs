//! The table of the vias: for a terminal, as JSON of a versioned form, CSV and Markdown.

use karez_transfer::Via;
use serde_json::{Value, json};
use std::fmt;

use super::{Row, Vias, drawn};
use crate::machine::machine;
use crate::mutation::Fate;
use crate::probe::{ProcessCounts, call_name};
use crate::report::{Report, Section, skipped};
use crate::selftest::Counter;
use crate::table::{Table, grouped, size};
use crate::transport::{Taking, Transport};

/// The form of the JSON; the number rises when a field changes its meaning or goes.
const SCHEMA: &str = "karez.lab.vias/1";

/// What is not there: it could not be counted, or its counter failed the self-test.
const NONE: &str = "n/a";

/// The counters that the table rests on.
const COUNTERS: [Counter; 5] =
    [Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Receiver, Counter::Disk];

/// The columns of a group; a table of all has four before them.
const COLUMNS: [&str; 12] = [
    "via",
    "calls",
    "mode switches",
    "waits/preempted",
    "faults user+kernel",
    "copied before receiver",
    "of it late",
    "by receiver",
    "disk bytes (requests)",
    "NIC DMA",
    "CPU ms/GB",
    "GB/s",
];

impl Report for Vias {
    /// Every combination in one table.
    fn to_csv(&self) -> String {
        self.table_of_all().to_csv()
    }

    fn to_markdown(&self) -> String {
        let told = self.tiers.to_string();
        let notes = told.lines().map(str::to_owned).chain(self.notes());
        let notes = notes.chain(skipped(&self.skipped)).map(|note| format!("- {note}\n"));
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
            "receiver": self.taking.name(),
            "seed": self.seed,
            "notes": self.notes(),
            "skipped": self.skipped.iter().map(|(what, why)| json!({ "what": what, "why": why }))
                .collect::<Vec<_>>(),
            "rows": self.rows.iter().map(|row| self.row_to_json(row)).collect::<Vec<_>>(),
        })
    }

    fn section(&self) -> Section {
        drawn::section(self)
    }
}

impl Vias {
    /// What has to be known to read the table.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "Copies are of the payload; 1 x is the whole of it once.".to_owned(),
            self.pieces(),
            "NIC DMA: none of these transports has a device that fetches from memory.".to_owned(),
            "The softirq that receives runs on the sender's time over lo and veth.".to_owned(),
            "Where ranges overlap, neither is the faster.".to_owned(),
        ];
        if self.rows.iter().any(|row| row.counted.counts.is_some()) {
            let longer = self.overhead;
            notes.push(format!(
                "Counting made runs {longer:.2} times as long; times are of runs without."
            ));
        }
        if self.rows.iter().any(|row| row.counted.zerocopy.copied > 0) {
            notes.push("MSG_ZEROCOPY copies late on lo and veth: the kernel said so.".to_owned());
        }
        if self.rows.iter().any(is_copied_again) {
            let again = ">= where there is no scatter-gather: what was copied to the socket is \
                         copied once more into each packet, which is not counted.";
            notes.push(again.to_owned());
        }
        if self.rows.iter().any(|row| row.copies.inferred) {
            notes.push(
                "~ marks what follows from the via or from its calls and was not counted."
                    .to_owned(),
            );
            let proof = "aliased, copied: what the mutation probe proves for 16 KiB: that the file \
                         is overwritten before the receiver reads shows in what it reads, or not.";
            notes.push(proof.to_owned());
        }
        notes
    }

    /// In what pieces the bytes went.
    fn pieces(&self) -> String {
        let most = self.chunk.map_or_else(
            || "as much a call as suits the via".to_owned(),
            |chunk| format!("at most {} a call", size(u64::from(chunk))),
        );
        let taken = match self.taking {
            Taking::Read => "the receiver reads",
            Taking::WithoutCopy => "the receiver throws away without a copy",
        };
        format!("Sent {most}; {taken}.")
    }

    /// Rows of the same transport, state and size.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Row]> {
        let group = |row: &Row| (row.transport, row.cache, row.bytes);
        self.rows.chunk_by(move |one, next| group(one) == group(next))
    }

    pub(super) fn table_of(&self, rows: &[Row]) -> Table {
        let rows = rows.iter().map(|row| self.cells(row)).collect();
        Table { heading: COLUMNS.to_vec(), rows }
    }

    /// Whether what these rows say of copies may be shown.
    pub(super) fn are_copies_known(&self, rows: &[Row]) -> bool {
        rows.iter().all(|row| row.copies.inferred)
            || self.is_usable(&[Counter::Kernel, Counter::PageCache, Counter::Receiver])
    }

    fn is_usable(&self, counters: &[Counter]) -> bool {
        counters.iter().all(|counter| self.usable.get(counter.name()) == Some(&true))
    }

    fn table_of_all(&self) -> Table {
        let heading = ["transport", "cache", "bytes"].into_iter().chain(COLUMNS).collect();
        let rows = self.rows.iter().map(|row| {
            let mut cells =
                vec![row.transport.to_string(), row.cache.to_string(), row.bytes.to_string()];
            cells.extend(self.cells(row));
            cells
        });
        Table { heading, rows: rows.collect() }
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let own = row.counted.sent_by().filter(|_| self.is_usable(&[Counter::Calls]));
        let [switches, waits, faults] = own.map_or_else(|| told(row), counted);
        [
            vec![via(row), calls(row, own.is_some()), switches, waits, faults],
            self.copies(row),
            vec![NONE.to_owned(), format!("{:.0}", row.cpu()), format!("{:.2}", row.speed())],
        ]
        .concat()
    }

    /// What was copied, and what the disk did.
    fn copies(&self, row: &Row) -> Vec<String> {
        let or_none = |cell: Option<String>| cell.unwrap_or_else(|| NONE.to_owned());
        let inferred = if row.copies.inferred { "~" } else { "" };
        let at_least = if is_copied_again(row) { ">=" } else { "" };
        let times = |bytes: u64| format!("{inferred}{:.2} x", share(bytes, row.bytes));
        let known = row.copies.inferred || self.is_usable(&[Counter::Kernel, Counter::PageCache]);
        let received = row.copies.inferred || self.is_usable(&[Counter::Receiver]);
        let disk = row.disk().filter(|_| self.is_usable(&[Counter::Disk]));
        vec![
            or_none(known.then(|| {
                format!("{at_least}{}{}", times(row.copies.before_receiver()), proof(row))
            })),
            or_none(known.then(|| times(row.copies.late))),
            or_none(received.then(|| times(row.copies.received))),
            or_none(disk.map(|disk| format!("{} ({})", grouped(disk.read_bytes), disk.reads))),
        ]
    }

    fn row_to_json(&self, row: &Row) -> Value {
        let own = row.counted.sent_by().filter(|_| self.is_usable(&[Counter::Calls]));
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
            "ran": row.counted.ran.name(),
            "fallbacks": row.counted.fallbacks.iter()
                .map(|(from, errno)| json!({ "from": from, "errno": errno })).collect::<Vec<_>>(),
            "transport": row.transport.name(),
            "cache": row.cache.name(),
            "bytes": row.bytes,
            "calls_of_transfer": row.counted.calls,
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
            "mutation": row.fate.as_ref().map(ToString::to_string),
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

/// Whether what was copied into the kernel's pages was copied once more into each packet. At the
/// driver that cannot be told from one copy.
fn is_copied_again(row: &Row) -> bool {
    let by_reference = matches!(row.counted.ran, Via::Sendfile | Via::Splice | Via::Zerocopy);
    row.transport == Transport::VethWithoutScatterGather && !by_reference
}

/// Mode switches, context switches and faults, as they were counted.
fn counted(own: &ProcessCounts) -> [String; 3] {
    let faults = own.faults_user.zip(own.faults_kernel);
    [
        grouped(own.mode_switches()),
        format!("{}/{}", own.voluntary, own.involuntary),
        faults.map_or_else(|| NONE.to_owned(), |(user, kernel)| format!("{user}+{kernel}")),
    ]
}

/// The same as anyone is told of a thread: getrusage does not say in which mode a fault was.
fn told(row: &Row) -> [String; 3] {
    let used = row.counted.sender;
    let made: u64 = row.counted.calls.values().sum();
    [
        format!("~{}", grouped(2 * made)),
        format!("{}/{}", used.voluntary, used.involuntary),
        format!("{} in all", used.minor_faults + used.major_faults),
    ]
}

/// What anyone can prove of copies that nobody has counted.
fn proof(row: &Row) -> String {
    match &row.fate {
        Some(fate @ (Fate::Aliased | Fate::Copied)) if row.copies.inferred => format!(" ({fate})"),
        _ => String::new(),
    }
}

/// What was asked for, and what ran instead.
fn via(row: &Row) -> String {
    if row.counted.ran == row.via {
        return row.via.to_string();
    }
    format!("{} (ran {})", row.via, row.counted.ran)
}

/// All system calls where they were counted, else those that the transfer made.
fn calls(row: &Row, are_counted: bool) -> String {
    match row.counted.sent_by() {
        Some(own) if are_counted => grouped(own.calls_in_all()),
        _ => grouped(row.counted.calls.values().sum()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share, for people to read")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
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
        for line in skipped(&self.skipped) {
            writeln!(f, "{line}")?;
        }
        for found in self.rows.iter().flat_map(|row| &row.contradictions) {
            writeln!(f, "contradiction: {found}")?;
        }
        let failed = COUNTERS.iter().filter(|&&counter| !self.is_usable(&[counter]));
        let failed: Vec<_> = failed.map(|counter| counter.name()).collect();
        if !failed.is_empty() {
            writeln!(f, "not used, for want of a passed self-test: {}", failed.join(", "))?;
        }
        Ok(())
    }
}

/// What a table of these rows is about.
pub(super) fn caption(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let over = describe(first.transport);
    format!("{} of a {} file over {over}", size(first.bytes), first.cache)
}

fn describe(transport: Transport) -> &'static str {
    match transport {
        Transport::Unix => "a UNIX socket",
        Transport::Loopback => "lo",
        Transport::Veth => "a veth",
        Transport::VethWithoutScatterGather => "a veth without scatter-gather",
    }
}

/// A reader of a report may look for a via by name.
impl Vias {
    /// The rows of one via.
    pub fn of(&self, via: Via) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.via == via)
    }
}
