//! Output formats of a comparison.

use serde_json::{Value, json};
use std::fmt;

use super::{Change, ChangeKind, Comparison, Drift, UnmatchedRows};
use crate::language::{msg, text};
use crate::report::{Part, Report, Section};
use crate::table::Table;

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.compare/2";

/// Maximum number of named unmatched rows.
const NAMED: usize = 5;

impl Comparison {
    fn table<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> Table {
        let heading = vec![
            msg!("experiment"),
            msg!("row"),
            msg!("figure"),
            msg!("before"),
            msg!("after"),
            msg!("change"),
        ];
        let rows = changes.map(|change| {
            let (before, after) = change.figures();
            let in_words = change.in_words();
            let Change { experiment, row, figure, .. } = change;
            vec![
                (*experiment).to_owned(),
                row.clone(),
                (*figure).to_owned(),
                before,
                after,
                in_words,
            ]
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    fn beyond_noise(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.is_beyond_noise())
    }

    fn under(&self) -> Table {
        let heading = vec![msg!("condition"), msg!("before"), msg!("after")];
        let rows = self.conditions.iter();
        let rows = rows.map(|one| vec![one.name.clone(), one.before.clone(), one.after.clone()]);
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    /// Returns drifts and unmatched rows.
    fn notes(&self) -> Vec<String> {
        let drifts = self.drifts.iter().map(|drift| {
            let Drift { experiment, figure, ratio, rows } = drift;
            text!(
                "{experiment}: {figure} of all {rows} rows together: x {ratio}, factored out",
                experiment = experiment,
                figure = figure,
                rows = rows,
                ratio = format!("{ratio:.2}")
            )
        });
        let sides = [text!("only in the first"), text!("only in the second")]
            .into_iter()
            .zip(&self.unmatched);
        let unmatched = sides.flat_map(|(side, unmatched)| {
            unmatched.iter().map(move |unmatched| format!("{side}: {}", unmatched.in_words()))
        });
        drifts.chain(unmatched).collect()
    }

    fn summary(&self) -> String {
        let beyond = self.beyond_noise().count();
        let doubtful = self.changes.len() - beyond;
        let mut words = text!(
            "{beyond} of {all} figures changed beyond the noise",
            beyond = beyond,
            all = self.compared
        );
        if doubtful > 0 {
            words += &text!(
                "; the ranges of {doubtful} more do not overlap, which may be chance after so few \
                 runs",
                doubtful = doubtful
            );
        }
        words
    }
}

impl UnmatchedRows {
    fn in_words(&self) -> String {
        let Self { experiment, entirely, rows } = self;
        if *entirely {
            return text!("{experiment}, {rows} rows", experiment = experiment, rows = rows.len());
        }
        let named = rows.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        match rows.len().saturating_sub(NAMED) {
            0 => format!("{experiment}: {named}"),
            more => text!(
                "{experiment}: {named} and {more} more",
                experiment = experiment,
                named = named,
                more = more
            ),
        }
    }

    fn to_json(&self) -> Value {
        json!({ "experiment": self.experiment, "rows": self.rows })
    }
}

impl Change {
    fn figures(&self) -> (String, String) {
        match &self.kind {
            ChangeKind::Counted(before, after) => (before.clone(), after.clone()),
            ChangeKind::Timed { before, after, .. } => (before.to_string(), after.to_string()),
        }
    }

    fn in_words(&self) -> String {
        match &self.kind {
            ChangeKind::Counted(..) => text!("counted"),
            ChangeKind::Timed { before, after, .. } => {
                let ratio = format!("x {:.2}", after.median / before.median);
                if self.is_beyond_noise() {
                    ratio
                } else {
                    text!("{ratio}, may be chance", ratio = ratio)
                }
            }
        }
    }

    fn to_json(&self) -> Value {
        let (before, after, by_chance) = match &self.kind {
            ChangeKind::Counted(before, after) => (json!(before), json!(after), Value::Null),
            ChangeKind::Timed { before, after, by_chance } => {
                (before.to_json(), after.to_json(), json!(by_chance))
            }
        };
        json!({
            "experiment": self.experiment, "row": self.row, "figure": self.figure, "before": before, "after": after,
            "expected_by_chance": by_chance, "beyond_noise": self.is_beyond_noise(),
        })
    }
}

impl Report for Comparison {
    fn to_json(&self) -> Value {
        let conditions = self.conditions.iter();
        json!({
            "schema": SCHEMA,
            "differs": self.differs(),
            "compared": self.compared,
            "conditions": conditions
                .map(|one| json!({ "name": one.name, "before": one.before, "after": one.after }))
                .collect::<Vec<_>>(),
            "changes": self.changes.iter().map(Change::to_json).collect::<Vec<_>>(),
            "drifts": self.drifts.iter()
                .map(|one| json!({
                    "experiment": one.experiment, "figure": one.figure, "ratio": one.ratio,
                    "rows": one.rows,
                }))
                .collect::<Vec<_>>(),
            "only_in_first": self.unmatched[0].iter().map(UnmatchedRows::to_json).collect::<Vec<_>>(),
            "only_in_second": self.unmatched[1].iter().map(UnmatchedRows::to_json).collect::<Vec<_>>(),
        })
    }

    /// Lists every change, including possible chance.
    fn to_csv(&self) -> String {
        self.table(self.changes.iter()).to_csv()
    }

    fn to_markdown(&self) -> String {
        let notes: String = self.notes().iter().map(|note| format!("- {note}\n")).collect();
        let (under, changes) =
            (self.under().to_markdown(), self.table(self.beyond_noise()).to_markdown());
        format!("{under}\n{changes}\n{}\n\n{notes}", self.summary())
    }

    fn section(&self) -> Section {
        let mut parts = vec![Part::Paragraph(self.summary())];
        if !self.conditions.is_empty() {
            parts.push(Part::Table(text!("Different conditions"), self.under()));
        }
        if self.differs() {
            let table = self.table(self.beyond_noise());
            parts.push(Part::Table(text!("Beyond the noise"), table));
        }
        let doubtful = self.changes.iter().filter(|change| !change.is_beyond_noise());
        let doubtful = self.table(doubtful);
        if !doubtful.rows.is_empty() {
            parts.push(Part::Table(text!("Ranges apart, possibly by chance"), doubtful));
        }
        parts.push(Part::Notes(self.notes()));
        Section { anchor: "compare".to_owned(), title: text!("Changes between two reports"), parts }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.conditions.is_empty() {
            writeln!(f, "{}", self.under().to_text())?;
        }
        if self.differs() {
            writeln!(f, "{}", self.table(self.beyond_noise()).to_text())?;
        }
        for line in self.notes() {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{}", self.summary())
    }
}
