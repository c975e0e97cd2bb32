//! The tables of wake-ups: their cells, and the fastest model of each group.

use karez_reactor::Model;
use std::collections::BTreeMap;

use super::{MODELS, Models, WaitRow};
use crate::language::{msg, text};
use crate::stats::MedianRange;
use crate::table::{Table, grouped};

/// Placeholder of a missing value.
pub(super) const NONE: &str = "n/a";

/// M. Kerrisk, Linux Conf Australia 2006: CPU seconds for 100,000 operations with one random ready
/// descriptor, for poll, select and epoll.
const PUBLISHED: [(u32, [f64; 3]); 4] = [
    (10, [1.12, 1.28, 0.65]),
    (100, [6.8, 7.1, 0.68]),
    (1000, [157.0, 151.0, 0.89]),
    (10_000, [1750.0, 1087.0, 0.97]),
];

const CLASSIC: [Model; 3] = [Model::Poll, Model::Select, Model::EpollLevel];

/// Converts microseconds per operation to seconds for 100,000 operations.
const SCALE: f64 = 100_000.0 / 1e6;

impl Models {
    /// Groups rows by numbers of descriptors and active descriptors.
    pub(super) fn groups(&self) -> impl Iterator<Item = Vec<&WaitRow>> {
        let mut kinds: Vec<_> = self.rows.iter().map(|row| (row.descriptors, row.active)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let of = |kind| self.rows.iter().filter(move |row| (row.descriptors, row.active) == kind);
        kinds.into_iter().map(move |kind| of(kind).collect())
    }

    pub(super) fn slopes(&self) -> Table {
        let rows = MODELS.iter().filter_map(|&model| {
            Some(vec![model.name().to_owned(), self.slope(model)?.to_string()])
        });
        Table {
            heading: vec![msg!("model"), msg!("CPU ns per idle descriptor [95 %]")],
            rows: rows.collect(),
            ..Table::default()
        }
    }

    pub(super) fn classic_cells(
        &self,
    ) -> impl Iterator<Item = (u32, Model, Option<MedianRange>, f64)> {
        PUBLISHED.iter().flat_map(move |&(count, published)| {
            CLASSIC.into_iter().zip(published).map(move |(model, published)| {
                let row = self.find(model, count, 1).filter(|row| !row.timed.is_empty());
                let ours =
                    row.map(|row| MedianRange::of(row.timed.iter().map(|run| run.cpu * SCALE)));
                (count, model, ours, published)
            })
        })
    }

    pub(super) fn classic(&self) -> Table {
        let heading = vec![
            msg!("descriptors"),
            msg!("model"),
            msg!("CPU s, 100,000 operations"),
            msg!("published"),
        ];
        let rows = self.classic_cells().map(|(count, model, ours, published)| {
            let ours = ours.map_or_else(|| NONE.to_owned(), |ours| format!("{ours:.3}"));
            vec![grouped(u64::from(count)), model.name().to_owned(), ours, published.to_string()]
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }
}

pub(super) fn table(rows: &[&WaitRow]) -> Table {
    let heading = vec![
        msg!("model"),
        msg!("descriptors"),
        msg!("active"),
        msg!("calls/wake-up"),
        msg!("in detail"),
        msg!("us/wake-up"),
        msg!("CPU us/wake-up"),
    ];
    Table { heading, rows: rows.iter().map(|row| cells(row)).collect(), ..Table::default() }
}

/// Names the fastest model of a group, if there is one.
pub(super) fn ranking(rows: &[&WaitRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let of = text!(
        "{number} descriptors, {active} active",
        number = first.descriptors,
        active = first.active
    );
    let all: Vec<_> = rows.iter().map(|row| (row.model, row.wait_time())).collect();
    fastest(&of, &all)
}

/// Names the model with the smallest median, unless the range of another overlaps.
pub(super) fn fastest(of: &str, all: &[(Model, MedianRange)]) -> String {
    let least = all.iter().min_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let Some((_, best)) = least else { return String::new() };
    let with = all.iter().filter(|(_, time)| time.overlaps(best));
    let with: Vec<_> = with.map(|(model, _)| model.name()).collect();
    match &with[..] {
        [alone] if all.len() > 1 => text!("{of}: {model} is the fastest", of = of, model = alone),
        _ => text!("{of}: no ranking among {models}", of = of, models = with.join(", ")),
    }
}

pub(super) fn cells(row: &WaitRow) -> Vec<String> {
    vec![
        row.model.name().to_owned(),
        row.descriptors.to_string(),
        row.active.to_string(),
        row.total_calls().map_or_else(|| NONE.to_owned(), |count| count.to_string()),
        calls(row.calls.as_ref()),
        format!("{:.2}", row.wait_time()),
        format!("{:.2}", row.cpu()),
    ]
}

/// Lists calls by name for a cell.
pub(super) fn calls(calls: Option<&BTreeMap<String, f64>>) -> String {
    let named = |(name, count): (&String, &f64)| format!("{name} {}", short_number(*count));
    calls.map_or_else(
        || NONE.to_owned(),
        |calls| calls.iter().map(named).collect::<Vec<_>>().join(", "),
    )
}

/// Formats a number with at most two decimals.
pub(super) fn short_number(number: f64) -> String {
    let text = format!("{number:.2}");
    if number > 0.0 && text == "0.00" {
        return "<0.01".to_owned();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
