//! Charts of the models: the cost of a wake-up by number of descriptors, and the tables.

use karez_reactor::Model;

use super::tables::{ranking, table};
use super::{Models, request_table};
use crate::chart::{Line, lines};
use crate::language::text;
use crate::report::{Part, Section, skipped_lines};
use crate::stats::MedianRange;

pub(super) fn section(models: &Models) -> Section {
    let mut parts = vec![Part::Command("karez lab models".to_owned())];
    let mut active: Vec<_> = models.rows.iter().map(|row| row.active).collect();
    active.sort_unstable();
    active.dedup();
    parts.extend(active.into_iter().filter_map(|active| wake_ups(models, active)));
    parts.push(Part::Table(text!("Cost of an idle descriptor"), models.slopes()));
    parts.push(Part::Table(text!("The classic table"), models.classic()));
    for rows in models.groups() {
        parts.push(Part::Table(ranking(&rows), table(&rows)));
    }
    parts.extend(requests(models));
    let mut notes = models.notes();
    notes.extend(skipped_lines(&models.skipped));
    parts.push(Part::Notes(notes));
    Section { anchor: "models".to_owned(), title: text!("I/O models"), parts }
}

/// Draws the CPU time by number of descriptors, one line per model; `None` if only one number was
/// measured.
fn wake_ups(models: &Models, active: u32) -> Option<Part> {
    let rows = models.rows.iter().filter(|row| row.active == active && !row.timed.is_empty());
    let lines_by_model = by_model(rows.map(|row| (row.model, row.descriptors, row.cpu())));
    let caption = text!(
        "CPU per wake-up, µs, by the number of descriptors ({active} active): median and range. \
         Both scales are logarithmic.",
        active = active
    );
    let (across, up) = (text!("descriptors"), text!("CPU µs per wake-up"));
    let svg = lines(&caption, &across, &up, &lines_by_model);
    (!lines_by_model.is_empty()).then_some(Part::Figure(caption, svg))
}

/// Draws the CPU time of a request by number of connections, one line per model, and adds the
/// tables.
fn requests(models: &Models) -> Vec<Part> {
    let mut parts =
        vec![Part::Heading("models-requests".to_owned(), text!("Requests to a whole reactor"))];
    let mut active: Vec<_> = models.requests.iter().map(|row| row.active).collect();
    active.sort_unstable();
    active.dedup();
    for active in active {
        let rows = models.requests.iter();
        let rows = rows.filter(|row| row.active == active && !row.timed.is_empty());
        let lines_by_model = by_model(rows.map(|row| (row.model, row.connections, row.cpu())));
        let caption = text!(
            "CPU per request, µs, by the number of connections ({active} active).",
            active = active
        );
        if !lines_by_model.is_empty() {
            let (across, up) = (text!("connections"), text!("CPU µs per request"));
            let svg = lines(&caption, &across, &up, &lines_by_model);
            parts.push(Part::Figure(caption, svg));
        }
    }
    let tables = request_table::groups(&models.requests);
    parts.extend(
        tables.map(|rows| Part::Table(request_table::ranking(&rows), request_table::table(&rows))),
    );
    parts
}

/// Returns one line per model that was measured with several numbers.
fn by_model(points: impl Iterator<Item = (Model, u32, MedianRange)>) -> Vec<Line> {
    let all: Vec<_> = points.collect();
    let line = |&model: &Model| {
        let of_it = all.iter().filter(|(of, ..)| *of == model);
        let points = of_it.map(|&(_, count, cpu)| (f64::from(count), cpu)).collect();
        Line { name: model.name().to_owned(), points }
    };
    Model::ALL.iter().map(line).filter(|line| line.points.len() > 1).collect()
}
