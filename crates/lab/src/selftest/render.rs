//! Output formats of a self-test.

use serde_json::{Map, Value, json};
use std::fmt;

use super::{Check, CheckVerdict, Counter, SelfTest};
use crate::language::{msg, text, tr, tr_name, tr_word};
use crate::machine::machine;
use crate::report::{Part, Report, Section};
use crate::svg::columns;
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
        Table { heading, rows: rows.collect(), ..Table::default() }.to_csv()
    }

    fn to_markdown(&self) -> String {
        format!("{}\n{}\n", self.table().to_markdown(), self.summary())
    }

    fn section(&self) -> Section {
        let parts = vec![
            Part::Paragraph(self.tiers.to_string()),
            Part::Command("karez lab selftest".to_owned()),
            Part::Table(self.summary(), self.table()),
        ];
        Section { anchor: "selftest".to_owned(), title: text!("Self-test of the counters"), parts }
    }
}

impl SelfTest {
    /// Returns one row per check.
    fn table(&self) -> Table {
        let heading = vec![
            msg!("check"),
            msg!("name"),
            msg!("verdict"),
            msg!("figures as expected"),
            msg!("tries"),
            msg!("reason"),
        ];
        let rows = self.checks.iter().map(|check| {
            let right = check.figures.iter().filter(|one| one.expected == one.counted).count();
            let (verdict, reason) = verdict_and_reason(&check.verdict);
            vec![
                check.letter.to_string(),
                tr(check.name),
                tr(verdict),
                text!("{right} of {all}", right = right, all = check.figures.len()),
                check.tries.to_string(),
                reason.map(tr_word).unwrap_or_default(),
            ]
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    fn summary(&self) -> String {
        let count = |wanted: &str| {
            self.checks
                .iter()
                .filter(|check| verdict_and_reason(&check.verdict).0 == wanted)
                .count()
        };
        let (ok, failed, skipped) = (count("ok"), count("failed"), count("skipped"));
        text!(
            "{ok} ok, {failed} failed, {skipped} skipped",
            ok = ok,
            failed = failed,
            skipped = skipped
        )
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
        CheckVerdict::Ok => (msg!("ok"), None),
        CheckVerdict::Failed(reason) => (msg!("failed"), Some(reason)),
        CheckVerdict::Skipped(reason) => (msg!("skipped"), Some(reason)),
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
            let names = unusable.join(", ");
            writeln!(f, "{}", text!("not used in any report: {names}", names = names))?;
        }
        Ok(())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, reason) = verdict_and_reason(&self.verdict);
        write!(f, "{}. {}: {}", self.letter, tr(self.name), tr(verdict))?;
        match reason {
            None if self.tries > 1 => {
                writeln!(f, " {}", text!("(try {number})", number = self.tries))?;
            }
            None => writeln!(f)?,
            Some(reason) => writeln!(f, ": {}", tr_word(reason))?,
        }
        let wrong = |figure: &&super::CheckedFigure| figure.expected != figure.counted;
        let (all, some) = (self.figures.len(), self.verdict == CheckVerdict::Ok);
        let shown: Vec<_> = if some || all <= MAX_FIGURES {
            self.figures.iter().take(MAX_FIGURES).collect()
        } else {
            self.figures.iter().filter(wrong).collect()
        };
        for figure in &shown {
            let (expected, counted) = (grouped(figure.expected), grouped(figure.counted));
            let subject = tr_name(&figure.subject);
            let gap = " ".repeat(58_usize.saturating_sub(columns(&subject)));
            let figures = text!(
                "expected {expected}  counted {counted}",
                expected = format!("{expected:>12}"),
                counted = format!("{counted:>12}")
            );
            let mark = if wrong(figure) { text!("  <- not as expected") } else { String::new() };
            writeln!(f, "   {subject}{gap} {figures}{mark}")?;
        }
        if some && all > shown.len() {
            let more = all - shown.len();
            writeln!(f, "   {}", text!("and {more} more, all as expected", more = more))?;
        }
        Ok(())
    }
}
