//! The layouts on a page: who is answered while a job is held, how many fast requests and how late,
//! drawn for each mix of clients, and then the tables.

use super::tables::{BESIDE, FAST, HELD, ranking, rate, table};
use super::{Row, Sample, Topologies};
use crate::chart::bars;
use crate::report::{Part, Section, skipped_lines};
use crate::stats::MedianRange;

pub(super) fn section(topologies: &Topologies) -> Section {
    let mut parts = vec![Part::Table(HELD.to_owned(), topologies.table_of_held())];
    for rows in topologies.groups() {
        let of = rows.first().map(|row| row.clients.name()).unwrap_or_default();
        parts.push(Part::Heading(of));
        let rate = |row: &Row| Some(rate(row));
        parts.push(figure("Fast requests a second: median and range.", &rows, rate));
        let late = |row: &Row| row.latency(|run: &Sample| &run.fast, |had| had.p99);
        parts.push(figure("p99 of fast requests, µs: median and range.", &rows, late));
        parts.push(Part::Table(ranking(&rows), table(&FAST, &rows)));
        let beside = table(&BESIDE, &rows);
        parts.push(Part::Table("What it used, and the others".to_owned(), beside));
    }
    let mut notes = topologies.notes();
    notes.extend(skipped_lines(&topologies.skipped));
    parts.push(Part::Notes(notes));
    Section { anchor: "topologies".to_owned(), title: "Layouts of threads".to_owned(), parts }
}

/// Who has no such figure has no bar.
fn figure(caption: &str, rows: &[&Row], of: impl Fn(&Row) -> Option<MedianRange>) -> Part {
    let name = |row: &Row| format!("{} × {}", row.model, row.topology);
    let drawn: Vec<_> = rows.iter().filter_map(|row| Some((name(row), of(row)?))).collect();
    Part::Figure(caption.to_owned(), bars(caption, &drawn))
}
