//! The table of requests: its cells, its JSON, and the fastest model.

use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::RequestRow;
use super::tables::{NONE, calls, fastest, short_number};
use crate::language::{msg, text};
use crate::table::Table;

/// Maximum number of calls named in a cell.
const MAX_CALLS: usize = 5;

/// Groups rows by numbers of connections and active connections.
pub(super) fn groups(rows: &[RequestRow]) -> impl Iterator<Item = Vec<&RequestRow>> {
    let kind = |row: &RequestRow| (row.connections, row.active);
    let mut kinds: Vec<_> = rows.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(move |one| rows.iter().filter(|row| kind(row) == one).collect())
}

pub(super) fn table(rows: &[&RequestRow]) -> Table {
    let heading = vec![
        msg!("model"),
        msg!("connections"),
        msg!("active"),
        msg!("threads"),
        msg!("us/request"),
        msg!("CPU us/request"),
        msg!("switches/request"),
        msg!("calls/request"),
        msg!("in detail"),
    ];
    let row_cells = |row: &&RequestRow| {
        let [model, connections, active, total, calls, time, cpu] = cells(row);
        let threads = row.threads.values().sum::<u64>().to_string();
        let switches = format!("{:.2}", row.switches());
        vec![model, connections, active, threads, time, cpu, switches, total, calls]
    };
    Table { heading, rows: rows.iter().map(row_cells).collect(), ..Table::default() }
}

/// Returns the cells that requests and wake-ups have in common.
pub(super) fn cells(row: &RequestRow) -> [String; 7] {
    [
        row.model.name().to_owned(),
        row.connections.to_string(),
        row.active.to_string(),
        row.total_calls().map_or_else(|| NONE.to_owned(), short_number),
        most_frequent(row),
        format!("{:.2}", row.time()),
        format!("{:.2}", row.cpu()),
    ]
}

/// Names the most frequent calls and the number of others: threads of a library make many different
/// calls.
fn most_frequent(row: &RequestRow) -> String {
    let Some(made) = &row.calls else { return NONE.to_owned() };
    let mut by_count: Vec<_> = made.iter().collect();
    by_count.sort_by(|a, b| b.1.total_cmp(a.1));
    let shown = by_count.len().min(MAX_CALLS);
    let first: BTreeMap<_, _> =
        by_count[..shown].iter().map(|&(name, count)| (name.clone(), *count)).collect();
    match by_count.len() - shown {
        0 => calls(Some(&first)),
        others => {
            text!("{calls}, other calls {others}", calls = calls(Some(&first)), others = others)
        }
    }
}

/// Names the model with the fastest responses, if there is one.
pub(super) fn ranking(rows: &[&RequestRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let of = text!(
        "{number} connections, {active} active",
        number = first.connections,
        active = first.active
    );
    let all: Vec<_> = rows.iter().map(|row| (row.model, row.time())).collect();
    fastest(&of, &all)
}

pub(super) fn row_to_json(row: &RequestRow) -> Value {
    let samples = row.timed.iter().map(|run| {
        json!({
            "requests": run.requests, "us_per_request": run.time, "cpu_us": run.cpu,
            "switches": run.switches,
        })
    });
    json!({
        "model": row.model.name(),
        "connections": row.connections,
        "active": row.active,
        "threads": row.threads,
        "calls": row.calls,
        "calls_per_request": row.total_calls(),
        "us_per_request": row.time().to_json(),
        "cpu_us_per_request": row.cpu().to_json(),
        "switches_per_request": row.switches().to_json(),
        "samples": samples.collect::<Vec<_>>(),
    })
}
