//! Output formats of a self-test.

use serde_json::{Map, Value, json};
use std::fmt;

use super::{Check, CheckVerdict, Counter, SelfTest};
use crate::machine::machine;
use crate::report::{Part, Report, Section};
use crate::table::{Table, grouped};

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.selftest/2";

/// Maximum number of figures shown for a passed check.
const MAX_FIGURES: usize = 12;

impl Report for SelfTest {
    fn to_json(&self) -> Value {
        let counters: Map<_, _> = Counter::ALL
            .iter()
            .map(|&counter| (counter.name().to_owned(), json!(self.usable(counter))))
            .collect();
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "tiers": self.tiers.to_json(),
            "passed": self.passed(),
            "checks": self.checks.iter().map(check_to_json).collect::<Vec<_>>(),
            "usable": counters,
        })
    }

    /// Lists every figure of every check.
    fn to_csv(&self) -> String {
        let heading = vec!["check", "name", "verdict", "figure", "expected", "counted"];
        let rows = self.checks.iter().flat_map(|check| {
            check.figures.iter().map(|figure| {
                vec![
                    check.letter.to_string(),
                    check.name.to_owned(),
                    verdict_and_reason(&check.verdict).0.to_owned(),
                    figure.subject.clone(),
                    figure.expected.to_string(),
                    figure.counted.to_string(),
                ]
            })
        });
        Table { heading, rows: rows.collect() }.to_csv()
    }

    fn to_markdown(&self) -> String {
        format!("{}\n{}\n", self.table().to_markdown(), self.summary())
    }

    fn section(&self) -> Section {
        let parts = vec![
            Part::Paragraph(self.tiers.to_string()),
            Part::Table(self.summary(), self.table()),
        ];
        Section {
            anchor: "selftest".to_owned(),
            title: "Self-test of the counters".to_owned(),
            parts,
        }
    }
}

impl SelfTest {
    /// Returns one row per check.
    fn table(&self) -> Table {
        let heading = vec!["check", "name", "verdict", "figures as expected", "tries", "reason"];
        let rows = self.checks.iter().map(|check| {
            let right = check.figures.iter().filter(|one| one.expected == one.counted).count();
            let (verdict, reason) = verdict_and_reason(&check.verdict);
            vec![
                check.letter.to_string(),
                check.name.to_owned(),
                verdict.to_owned(),
                format!("{right} of {}", check.figures.len()),
                check.tries.to_string(),
                reason.unwrap_or_default().to_owned(),
            ]
        });
        Table { heading, rows: rows.collect() }
    }

    fn summary(&self) -> String {
        let count = |wanted: &str| {
            self.checks
                .iter()
                .filter(|check| verdict_and_reason(&check.verdict).0 == wanted)
                .count()
        };
        let (ok, failed, skipped) = (count("ok"), count("failed"), count("skipped"));
        format!("{ok} ok, {failed} failed, {skipped} skipped")
    }
}

fn check_to_json(check: &Check) -> Value {
    let figure = |figure: &super::CheckedFigure| {
        json!({
            "subject": figure.subject, "expected": figure.expected, "counted": figure.counted,
        })
    };
    let (verdict, reason) = verdict_and_reason(&check.verdict);
    json!({
        "check": check.letter.to_string(),
        "name": check.name,
        "verdict": verdict,
        "reason": reason,
        "tries": check.tries,
        "validates": check.validates.iter().map(|counter| counter.name()).collect::<Vec<_>>(),
        "figures": check.figures.iter().map(figure).collect::<Vec<_>>(),
    })
}

fn verdict_and_reason(verdict: &CheckVerdict) -> (&'static str, Option<&str>) {
    match verdict {
        CheckVerdict::Ok => ("ok", None),
        CheckVerdict::Failed(reason) => ("failed", Some(reason)),
        CheckVerdict::Skipped(reason) => ("skipped", Some(reason)),
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tiers)?;
        for check in &self.checks {
            write!(f, "\n{check}")?;
        }
        let unusable: Vec<_> = Counter::ALL
            .iter()
            .filter(|&&counter| !self.usable(counter))
            .map(|c| c.name())
            .collect();
        writeln!(f, "\n{}", self.summary())?;
        if !unusable.is_empty() {
            writeln!(f, "not used in any report: {}", unusable.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match verdict_and_reason(&self.verdict) {
            (verdict, None) if self.tries > 1 => {
                writeln!(f, "{}. {}: {verdict} (try {})", self.letter, self.name, self.tries)?;
            }
            (verdict, None) => writeln!(f, "{}. {}: {verdict}", self.letter, self.name)?,
            (verdict, Some(reason)) => {
                writeln!(f, "{}. {}: {verdict}: {reason}", self.letter, self.name)?;
            }
        }
        let wrong = |figure: &&super::CheckedFigure| figure.expected != figure.counted;
        let (all, some) = (self.figures.len(), self.verdict == CheckVerdict::Ok);
        let shown: Vec<_> = if some || all <= MAX_FIGURES {
            self.figures.iter().take(MAX_FIGURES).collect()
        } else {
            self.figures.iter().filter(wrong).collect()
        };
        for figure in &shown {
            let mark = if wrong(figure) { "  <- not as expected" } else { "" };
            let (expected, counted) = (grouped(figure.expected), grouped(figure.counted));
            writeln!(
                f,
                "   {:<58} expected {expected:>12}  counted {counted:>12}{mark}",
                figure.subject
            )?;
        }
        if some && all > shown.len() {
            writeln!(f, "   and {} more, all as expected", all - shown.len())?;
        }
        Ok(())
    }
}
