//! Charts of the layouts: responses while a job blocks, rate and latency of fast requests for each
//! mix of clients, and the tables.

use super::tables::{BLOCKED_JOBS, FAST_COLUMNS, SERVER_COLUMNS, ranking, rate, table};
use super::{LoadSample, Topologies, TopologyRow};
use crate::chart::bars;
use crate::language::{Language, in_language, text, tr};
use crate::report::{Part, Section, skipped_lines};
use crate::stats::MedianRange;

pub(super) fn section(topologies: &Topologies) -> Section {
    let mut parts = vec![
        Part::Command("karez lab topologies".to_owned()),
        Part::Table(tr(BLOCKED_JOBS), topologies.blocked_jobs_table()),
    ];
    for rows in topologies.groups() {
        let clients = rows.first().map(|row| row.clients);
        let anchor = clients.map(|of| in_language(Language::English, || of.name()));
        let anchor = anchor.unwrap_or_default().replace(" + ", "-").replace(' ', "-");
        let of = clients.map(|of| of.name()).unwrap_or_default();
        parts.push(Part::Heading(format!("topologies-{anchor}"), of));
        let rate = |row: &TopologyRow| Some(rate(row));
        parts.push(figure(&text!("Fast requests per second: median and range."), &rows, rate));
        let late = |row: &TopologyRow| row.latency(|run: &LoadSample| &run.fast, |stats| stats.p99);
        parts.push(figure(&text!("p99 of fast requests, µs: median and range."), &rows, late));
        parts.push(Part::Table(ranking(&rows), table(&FAST_COLUMNS, &rows)));
        let beside = table(&SERVER_COLUMNS, &rows);
        parts.push(Part::Table(text!("Resources, slow and blocking responses"), beside));
    }
    let mut notes = topologies.notes();
    notes.extend(skipped_lines(&topologies.skipped));
    parts.push(Part::Notes(notes));
    Section { anchor: "topologies".to_owned(), title: text!("Threading topologies"), parts }
}

/// Draws one bar per layout that has the figure.
fn figure(
    caption: &str,
    rows: &[&TopologyRow],
    of: impl Fn(&TopologyRow) -> Option<MedianRange>,
) -> Part {
    let name = |row: &TopologyRow| format!("{} × {}", row.model, row.topology);
    let bars_by_layout: Vec<_> =
        rows.iter().filter_map(|row| Some((name(row), of(row)?))).collect();
    Part::Figure(caption.to_owned(), bars(caption, &bars_by_layout))
}
