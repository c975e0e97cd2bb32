//! The tables of the vias: their cells and captions.

use karez_transfer::Via;

use super::{ViaRow, Vias};
use crate::language::{msg, text, tr_word};
use crate::mutation::CopyVerdict;
use crate::probe::ProcessCounts;
use crate::selftest::Counter;
use crate::table::{Table, grouped, size};
use crate::transport::Transport;

/// Placeholder of a value that was not counted, or whose counter failed the self-test.
const NONE: &str = "n/a";

/// Counters that the table relies on.
pub(super) const COUNTERS: [Counter; 5] =
    [Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Receiver, Counter::Disk];

/// Columns of a group; a table of all groups has three more in front.
const COLUMNS: [&str; 12] = [
    msg!("via"),
    msg!("calls"),
    msg!("mode switches"),
    msg!("waits/preempted"),
    msg!("faults user+kernel"),
    msg!("copied before receiver"),
    msg!("late copies among them"),
    msg!("by receiver"),
    msg!("disk bytes (requests)"),
    msg!("NIC DMA"),
    msg!("CPU ms/GB"),
    msg!("GB/s"),
];

impl Vias {
    /// Groups rows by transport, cache state and size.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[ViaRow]> {
        let group = |row: &ViaRow| (row.transport, row.cache, row.bytes);
        self.rows.chunk_by(move |one, next| group(one) == group(next))
    }

    pub(super) fn table_of(&self, rows: &[ViaRow]) -> Table {
        let rows = rows.iter().map(|row| self.cells(row)).collect();
        Table { heading: COLUMNS.to_vec(), rows, ..Table::default() }
    }

    /// Returns whether the copies of these rows may be shown.
    pub(super) fn are_copies_known(&self, rows: &[ViaRow]) -> bool {
        rows.iter().all(|row| row.copies.inferred)
            || self.is_usable(&[Counter::Kernel, Counter::PageCache, Counter::Receiver])
    }

    /// Returns whether these counters passed the preceding self-test.
    pub(crate) fn is_usable(&self, counters: &[Counter]) -> bool {
        counters.iter().all(|counter| self.usable.get(counter.name()) == Some(&true))
    }

    pub(super) fn table_of_all(&self) -> Table {
        let heading =
            [msg!("transport"), msg!("cache"), msg!("bytes")].into_iter().chain(COLUMNS).collect();
        let rows = self.rows.iter().map(|row| {
            let mut cells =
                vec![row.transport.to_string(), tr_word(row.cache.name()), row.bytes.to_string()];
            cells.extend(self.cells(row));
            cells
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    fn cells(&self, row: &ViaRow) -> Vec<String> {
        let own = row.counted.sender_counts().filter(|_| self.is_usable(&[Counter::Calls]));
        let [switches, waits, faults] = own.map_or_else(|| from_getrusage(row), counted);
        [
            vec![via(row), calls(row, own.is_some()), switches, waits, faults],
            self.copies(row),
            vec![NONE.to_owned(), format!("{:.0}", row.cpu()), format!("{:.2}", row.speed())],
        ]
        .concat()
    }

    /// Returns the cells of copies and disk I/O.
    fn copies(&self, row: &ViaRow) -> Vec<String> {
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
}

/// Returns whether data copied into kernel pages was copied again into each packet. At the driver
/// this cannot be distinguished from a single copy.
pub(super) fn is_copied_again(row: &ViaRow) -> bool {
    let by_reference = matches!(row.counted.effective, Via::Sendfile | Via::Splice | Via::Zerocopy);
    row.transport == Transport::VethWithoutScatterGather && !by_reference
}

/// Returns mode switches, context switches and faults, as counted.
fn counted(own: &ProcessCounts) -> [String; 3] {
    let faults = own.faults_user.zip(own.faults_kernel);
    [
        grouped(own.mode_switches()),
        format!("{}/{}", own.voluntary, own.involuntary),
        faults.map_or_else(|| NONE.to_owned(), |(user, kernel)| format!("{user}+{kernel}")),
    ]
}

/// Returns the same from getrusage, which does not distinguish faults by mode.
fn from_getrusage(row: &ViaRow) -> [String; 3] {
    let used = row.counted.sender;
    let made: u64 = row.counted.calls.values().sum();
    [
        format!("~{}", grouped(2 * made)),
        format!("{}/{}", used.voluntary, used.involuntary),
        text!("{number} in all", number = used.minor_faults + used.major_faults),
    ]
}

/// Returns the result of the mutation probe, if copies were not counted.
fn proof(row: &ViaRow) -> String {
    match &row.verdict {
        Some(verdict @ (CopyVerdict::Aliased | CopyVerdict::Copied)) if row.copies.inferred => {
            format!(" ({})", tr_word(&verdict.to_string()))
        }
        _ => String::new(),
    }
}

/// Returns the requested via, and the one that ran instead.
fn via(row: &ViaRow) -> String {
    if row.counted.effective == row.via {
        return row.via.to_string();
    }
    text!("{via} (ran {effective})", via = row.via, effective = row.counted.effective)
}

/// Returns all counted system calls, otherwise those of the transfer.
fn calls(row: &ViaRow, are_counted: bool) -> String {
    match row.counted.sender_counts() {
        Some(own) if are_counted => grouped(own.total_calls()),
        _ => grouped(row.counted.calls.values().sum()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share, for people to read")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Describes the rows of a table.
pub(super) fn caption(rows: &[ViaRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let over = describe(first.transport);
    text!(
        "{size} of a {cache} file over {transport}",
        size = size(first.bytes),
        cache = tr_word(first.cache.name()),
        transport = over
    )
}

fn describe(transport: Transport) -> String {
    match transport {
        Transport::Unix => text!("a UNIX socket"),
        Transport::Loopback => text!("loopback"),
        Transport::Veth => text!("a veth"),
        Transport::VethWithoutScatterGather => text!("a veth without scatter-gather"),
    }
}
