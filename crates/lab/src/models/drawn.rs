//! The models on a page: a wake-up by the number of descriptors, drawn, and then every table.

use super::render::{ranking, table};
use super::{MODELS, Models};
use crate::chart::{Line, lines};
use crate::report::{Part, Section, skipped};

pub(super) fn section(models: &Models) -> Section {
    let mut parts = Vec::new();
    let mut active: Vec<_> = models.rows.iter().map(|row| row.active).collect();
    active.sort_unstable();
    active.dedup();
    parts.extend(active.into_iter().filter_map(|active| wake_ups(models, active)));
    parts.push(Part::Table("What an idle descriptor costs".to_owned(), models.slopes()));
    parts.push(Part::Table("The classic table".to_owned(), models.classic()));
    for rows in models.groups() {
        parts.push(Part::Table(ranking(&rows), table(&rows)));
    }
    let mut notes = models.notes();
    notes.extend(skipped(&models.skipped));
    parts.push(Part::Notes(notes));
    Section { anchor: "models", title: "Ways to wait".to_owned(), parts }
}

/// CPU by the number of descriptors, a line a model; nothing where only one number was tried.
fn wake_ups(models: &Models, active: u32) -> Option<Part> {
    let drawn: Vec<_> = MODELS
        .iter()
        .map(|&model| {
            let of_it = models.rows.iter().filter(|row| row.model == model);
            let of_it = of_it.filter(|row| row.active == active && !row.timed.is_empty());
            let points = of_it.map(|row| (f64::from(row.descriptors), row.cpu())).collect();
            Line { name: model.name().to_owned(), points }
        })
        .filter(|line| line.points.len() > 1)
        .collect();
    let caption = format!(
        "CPU of a wake-up, µs, by the number of descriptors of which {active} {} active: median \
         and range. Both scales are logarithmic.",
        if active == 1 { "is" } else { "are" }
    );
    let svg = lines(&caption, "descriptors", "CPU µs a wake-up", &drawn);
    (!drawn.is_empty()).then_some(Part::Figure(caption, svg))
}
