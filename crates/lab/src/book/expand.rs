//! The markers of a template.
//!
//! | marker | is replaced by |
//! |---|---|
//! | `{{machine}}` | the kernel and the processor of the report |
//! | `{{claim 11}}` | a claim with its verdict, its evidence and the reason |
//! | `{{number 24 chunks}}` | one figure of the evidence of a claim |
//! | `{{table NAME}}` | a [table](super::tables) |
//! | `{{figure NAME}}` | a [drawing](super::figures) with its caption |
//! | `{{exercise 5}}` | an exercise: its question, its command, and the reason behind a fold |
//! | `{{src crates/x/src/y.rs#name}}` | a link to the line that defines `name` |

use serde_json::Value;

use super::reports::{ReportedFinding, Reports};
use super::sources::SourceTree;
use super::{figures, tables};
use crate::claims::Verdict;
use crate::exercise::Exercise;
use crate::language::{text, tr, tr_word};

/// Stands for a figure that the reports lack.
const MISSING: &str = "–";

/// Replaces the markers of the pages of a book.
pub(super) struct Expander<'a> {
    reports: &'a Reports<'a>,
    sources: Option<&'a SourceTree>,
    /// Name and contents of the drawings so far.
    pub(super) drawings: Vec<(String, String)>,
    /// Markers that could not be replaced.
    pub(super) missing: Vec<String>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(reports: &'a Reports<'a>, sources: Option<&'a SourceTree>) -> Self {
        Self { reports, sources, drawings: Vec::new(), missing: Vec::new() }
    }

    /// Replaces every marker of a template.
    pub(super) fn expand(&mut self, template: &str) -> String {
        let mut page = String::with_capacity(2 * template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let (marker, after) = after.split_once("}}").unwrap_or((after, ""));
            page += before;
            match self.value(marker) {
                Some(value) => page += value.trim_end(),
                None => {
                    self.missing.push(marker.to_owned());
                    page += MISSING;
                }
            }
            rest = after;
        }
        page + rest
    }

    fn value(&mut self, marker: &str) -> Option<String> {
        let (kind, argument) = marker.split_once(' ').unwrap_or((marker, ""));
        match kind {
            "machine" => Some(machine(self.reports.machine)),
            "claim" => {
                let number = argument.parse().ok()?;
                let elsewhere = self.reports.measured_elsewhere(number);
                Some(claim(number, &self.reports.claim(number)?, elsewhere))
            }
            "number" => {
                let (number, name) = argument.split_once(' ')?;
                let finding = self.reports.claim(number.parse().ok()?)?;
                Some(finding.evidence.find(name)?.to_string())
            }
            "table" => tables::table(self.reports, argument),
            "figure" => self.figure(argument),
            "exercise" => Exercise::find(argument.parse().ok()?).map(exercise),
            "src" => self.source(argument),
            _ => None,
        }
    }

    fn figure(&mut self, name: &str) -> Option<String> {
        let (caption, svg) = figures::draw(self.reports, name)?;
        let file = format!("{name}.svg");
        let image = format!("![{caption}]({file})\n\n*{caption}*");
        self.drawings.push((file, svg));
        Some(image)
    }

    /// Links to a symbol; without a checkout, names it and its file.
    fn source(&self, argument: &str) -> Option<String> {
        let (path, symbol) = argument.split_once('#')?;
        match self.sources {
            Some(sources) => sources.link(path, symbol),
            None => Some(format!("`{symbol}` (`{path}`)")),
        }
    }
}

fn machine(machine: &Value) -> String {
    let field = |name: &str| machine[name].as_str().unwrap_or_default();
    text!(
        "Linux {kernel}, {processor}, {cores} cores, karez {version}",
        kernel = field("kernel"),
        processor = field("processor"),
        cores = machine["cores"],
        version = field("karez")
    )
}

/// Renders a claim as a quotation. Where it cannot be measured, the verdict of another kernel follows.
fn claim(
    number: u8,
    finding: &ReportedFinding<'_>,
    elsewhere: Option<(String, ReportedFinding<'_>)>,
) -> String {
    let ReportedFinding { statement, reason, verdict, evidence } = finding;
    let mut paragraphs = vec![
        format!("**{number}. {}**", tr_word(statement)),
        text!("On this kernel: {verdict}", verdict = format!("**{verdict}**")),
    ];
    let evidence = evidence.to_string();
    if !evidence.is_empty() {
        paragraphs.push(text!("measured: {evidence}", evidence = evidence));
    }
    if let (Verdict::NotMeasurable(_), Some((kernel, other))) = (verdict, elsewhere) {
        let on = format!("**{}**", other.verdict);
        paragraphs.push(text!("On Linux {kernel}: {verdict}", kernel = kernel, verdict = on));
        paragraphs.push(text!("measured: {evidence}", evidence = other.evidence));
    }
    paragraphs.push(text!("reason: {reason}", reason = tr_word(reason)));
    paragraphs.push(format!("`karez lab claims --claim {number}`"));
    format!("> {}", paragraphs.join("\n>\n> "))
}

fn exercise(exercise: &Exercise) -> String {
    format!(
        "**{}**\n\n{}\n\n```sh\nsudo karez lab exercise {}\n```\n\n<details><summary>{}</summary>\n\n{}\n\n</details>",
        text!("Exercise {number}", number = exercise.number()),
        tr(exercise.question),
        exercise.number(),
        text!("Reason, after your prediction"),
        tr(exercise.reason),
    )
}
