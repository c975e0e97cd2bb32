//! Output formats of an exercise.

use serde_json::{Value, json};
use std::fmt;

use super::{Attempt, EXERCISES, Exercise};
use crate::language::{msg, text, tr, tr_word};
use crate::machine::machine;
use crate::report::{Part, Report, Section};
use crate::table::{Table, grouped};

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.exercise/1";

impl Exercise {
    /// Returns the question in the current language.
    #[must_use]
    pub fn question(&self) -> String {
        format!("{}. {}", self.number(), tr(self.question))
    }

    /// Lists all exercises in the current language.
    #[must_use]
    pub fn list() -> String {
        let heading = vec![msg!("exercise"), msg!("chapter"), msg!("question")];
        let rows = EXERCISES.iter().map(|exercise| {
            vec![exercise.number().to_string(), tr(exercise.chapter), tr(exercise.question)]
        });
        let table = Table { heading, rows: rows.collect(), ..Table::default() };
        table.aligned(|column| column > 0)
    }
}

impl Attempt {
    fn measured(&self) -> String {
        match &self.measured {
            Ok(number) => grouped(*number),
            Err(why) => text!("not measurable here: {why}", why = tr_word(why)),
        }
    }

    /// Compares prediction and measurement in words.
    fn result(&self) -> String {
        match &self.measured {
            Err(_) => text!("no result"),
            Ok(measured) if *measured == self.predicted => text!("right"),
            Ok(measured) if *measured > self.predicted => {
                text!("{number} too low", number = grouped(measured - self.predicted))
            }
            Ok(measured) => text!("{number} too high", number = grouped(self.predicted - measured)),
        }
    }

    /// Returns the command that repeats the measurement.
    fn command(&self) -> String {
        format!("karez lab claims --claim {}", self.exercise.claim)
    }

    fn table(&self) -> Table {
        let heading = vec![msg!("exercise"), msg!("predicted"), msg!("measured"), msg!("result")];
        let row = vec![
            self.exercise.number().to_string(),
            grouped(self.predicted),
            self.measured(),
            self.result(),
        ];
        Table { heading, rows: vec![row], ..Table::default() }
    }
}

impl Report for Attempt {
    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "exercise": self.exercise.number(),
            "chapter": self.exercise.chapter,
            "question": self.exercise.question,
            "predicted": self.predicted,
            "measured": self.measured.as_ref().ok(),
            "unmeasurable": self.measured.as_ref().err(),
            "right": self.is_right(),
            "reason": self.exercise.reason,
            "claim": self.exercise.claim,
        })
    }

    fn to_csv(&self) -> String {
        self.table().to_csv()
    }

    fn to_markdown(&self) -> String {
        let question = self.exercise.question();
        format!("{question}\n\n{}\n{}\n", self.table().to_markdown(), tr(self.exercise.reason))
    }

    fn section(&self) -> Section {
        let parts = vec![
            Part::Paragraph(self.exercise.question()),
            Part::Table(String::new(), self.table()),
            Part::Paragraph(tr(self.exercise.reason)),
            Part::Command(self.command()),
        ];
        let title = text!("Exercise {number}", number = self.exercise.number());
        Section { anchor: format!("exercise-{}", self.exercise.number()), title, parts }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", text!("predicted: {number}", number = grouped(self.predicted)))?;
        writeln!(f, "{}", text!("measured:  {number}", number = self.measured()))?;
        writeln!(f, "{}", text!("result:    {result}", result = self.result()))?;
        writeln!(f, "{}", text!("reason:    {reason}", reason = tr(self.exercise.reason)))?;
        writeln!(f, "{}", text!("evidence:  {command}", command = self.command()))
    }
}
