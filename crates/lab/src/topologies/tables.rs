//! The tables of the layouts: their columns, and the best layout of each group.

use std::cmp::Ordering;

use super::{ClientMix, LoadSample, ResponseStats, Topologies, TopologyRow};
use crate::language::{msg, text};
use crate::stats::MedianRange;
use crate::table::Table;

/// Placeholder of a missing value.
const NONE: &str = "n/a";

pub(super) const BLOCKED_JOBS: &str =
    msg!("One job is blocked at a FIFO while other clients send requests");

impl Topologies {
    /// Groups rows by clients.
    pub(super) fn groups(&self) -> impl Iterator<Item = Vec<&TopologyRow>> {
        let mut kinds: Vec<_> = self.rows.iter().map(|row| row.clients).collect();
        kinds.dedup();
        let of = |kind| self.rows.iter().filter(move |row| row.clients == kind).collect();
        kinds.into_iter().map(of)
    }

    pub(super) fn blocked_jobs_table(&self) -> Table {
        let heading = vec![
            msg!("model × topology"),
            msg!("threads"),
            msg!("requests while blocked"),
            msg!("responses while blocked"),
            msg!("responses afterwards"),
        ];
        let rows = self.blocked_jobs.iter().map(|job| {
            vec![
                format!("{} × {}", job.model, job.topology),
                job.threads.values().sum::<u64>().to_string(),
                job.requests.to_string(),
                job.responses.to_string(),
                (job.requests - job.responses).to_string(),
            ]
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    pub(super) fn table_of_all(&self) -> Table {
        let columns = [FAST_COLUMNS, SERVER_COLUMNS].concat();
        let mut all = table(&columns, &self.rows.iter().collect::<Vec<_>>());
        all.heading.insert(1, msg!("clients"));
        for (cells, row) in all.rows.iter_mut().zip(&self.rows) {
            cells.insert(1, row.clients.name());
        }
        all
    }
}

/// A column: heading, applicability to a mix of clients, cell.
pub(super) type Column = (&'static str, fn(&ClientMix) -> bool, fn(&TopologyRow) -> String);

/// Columns of the fast clients.
pub(super) const FAST_COLUMNS: [Column; 7] = [
    (msg!("fast/s"), always, |row| whole(rate(row))),
    (msg!("p50 us"), always, |row| latency(row, fast, |stats| stats.p50)),
    (msg!("p99 us"), always, |row| latency(row, fast, |stats| stats.p99)),
    (msg!("p99.9 us"), always, |row| latency(row, fast, |stats| stats.p999)),
    (msg!("max us"), always, |row| latency(row, fast, |stats| stats.max)),
    (msg!("Jain"), always, |row| format!("{:.3}", row.median_range(|run| run.fast.jain()).median)),
    (msg!("last/first"), always, |row| {
        format!("{:.2}", row.median_range(|run| run.fast.min_max_ratio()).median)
    }),
];

/// Columns of the other clients and of the server's resource usage.
pub(super) const SERVER_COLUMNS: [Column; 7] = [
    (msg!("threads"), always, |row| row.threads().values().sum::<u64>().to_string()),
    (msg!("CPU us/response"), always, |row| {
        format!("{:.1}", row.median_range(|run| run.per_response(run.cpu / 1000.0)))
    }),
    (msg!("switches/answer"), always, |row| {
        format!("{:.2}", row.median_range(|run| run.per_response(run.voluntary + run.involuntary)))
    }),
    (msg!("slow MB/s"), has_slow, |row| {
        whole(row.median_range(|run| run.per_second(run.slow.bytes / 1e6)))
    }),
    (msg!("blocking/s"), has_blocking, |row| {
        whole(row.median_range(|run| run.per_second(run.blocking.responses())))
    }),
    (msg!("blocking p50 us"), has_blocking, |row| latency(row, blocking, |stats| stats.p50)),
    (msg!("blocking p99 us"), has_blocking, |row| latency(row, blocking, |stats| stats.p99)),
];

fn always(_: &ClientMix) -> bool {
    true
}

fn has_slow(clients: &ClientMix) -> bool {
    clients.slow > 0
}

fn has_blocking(clients: &ClientMix) -> bool {
    clients.blocking > 0
}

pub(super) fn fast(run: &LoadSample) -> &ResponseStats {
    &run.fast
}

pub(super) fn blocking(run: &LoadSample) -> &ResponseStats {
    &run.blocking
}

fn latency(
    row: &TopologyRow,
    kind: fn(&LoadSample) -> &ResponseStats,
    figure: fn(&ResponseStats) -> f64,
) -> String {
    row.latency(kind, figure).map_or_else(|| NONE.to_owned(), whole)
}

fn whole(spread: MedianRange) -> String {
    format!("{spread:.0}")
}

/// Builds a table of the columns that apply to any row.
pub(super) fn table(columns: &[Column], rows: &[&TopologyRow]) -> Table {
    let there = |column: &&Column| rows.iter().any(|row| (column.1)(&row.clients));
    let columns: Vec<_> = columns.iter().filter(there).collect();
    let cells = |row: &&TopologyRow| {
        let cell = |(_, there, cell): &&Column| {
            if there(&row.clients) { cell(row) } else { NONE.to_owned() }
        };
        let layout = format!("{} × {}", row.model, row.topology);
        std::iter::once(layout).chain(columns.iter().map(cell)).collect()
    };
    Table {
        heading: std::iter::once(msg!("layout"))
            .chain(columns.iter().map(|column| column.0))
            .collect(),
        rows: rows.iter().map(cells).collect(),
        ..Table::default()
    }
}

pub(super) fn rate(row: &TopologyRow) -> MedianRange {
    row.median_range(|run| run.per_second(run.fast.responses()))
}

/// Names the layout with the highest rate of fast responses, and the one with the smallest median
/// latency, if there are any.
pub(super) fn ranking(rows: &[&TopologyRow]) -> String {
    let Some(of) = rows.first().map(|row| row.clients.name()) else { return String::new() };
    let p50 = |row: &TopologyRow| row.latency(fast, |stats| stats.p50);
    let most = |a: &MedianRange, b: &MedianRange| b.median.total_cmp(&a.median);
    let soonest = |a: &MedianRange, b: &MedianRange| a.median.total_cmp(&b.median);
    let (rate, soon) = (first(rows, |row| Some(rate(row)), most), first(rows, p50, soonest));
    text!(
        "{of}: highest rate of fast responses: {rate}; lowest median latency: {latency}",
        of = of,
        rate = rate,
        latency = soon
    )
}

/// Names the first layout, or all whose ranges overlap with it.
fn first(
    rows: &[&TopologyRow],
    figure: impl Fn(&TopologyRow) -> Option<MedianRange>,
    order: impl Fn(&MedianRange, &MedianRange) -> Ordering,
) -> String {
    let figures: Vec<_> = rows.iter().filter_map(|row| Some((row, figure(row)?))).collect();
    let Some((_, best)) = figures.iter().min_by(|a, b| order(&a.1, &b.1)) else {
        return NONE.to_owned();
    };
    let with = figures.iter().filter(|(_, spread)| spread.overlaps(best));
    let with: Vec<_> = with.map(|(row, _)| format!("{} × {}", row.model, row.topology)).collect();
    match &with[..] {
        [alone] => alone.clone(),
        _ => text!("no ranking among {layouts}", layouts = with.join(", ")),
    }
}
