//! Output formats of a report: terminal text, JSON with a versioned schema, CSV, Markdown, and a
//! section of an HTML page.
//!
//! # Limitations
//! A section contains only the most important figures; all samples are in the JSON.

use crate::language::text;
use serde_json::Value;
use std::fmt;

pub use crate::table::Table;

/// A report; its terminal text is its [`Display`](fmt::Display).
pub trait Report: fmt::Display {
    /// Returns the complete report with all samples; the field `schema` names the format and its
    /// version.
    fn to_json(&self) -> Value;

    /// Returns the rows as CSV (RFC 4180, with `\n`).
    fn to_csv(&self) -> String;

    /// Returns the tables and notes as Markdown.
    fn to_markdown(&self) -> String;

    /// Returns the section of a page.
    fn section(&self) -> Section;

    /// Returns the sections of a separate page.
    fn sections(&self) -> Vec<Section> {
        vec![self.section()]
    }
}

/// A section of a page.
#[derive(Clone, Debug)]
pub struct Section {
    /// Target name of links.
    pub anchor: String,
    /// The heading.
    pub title: String,
    /// The contents in order.
    pub parts: Vec<Part>,
}

/// An element of a section. All texts are unescaped; the renderer escapes them.
#[derive(Clone, Debug)]
pub enum Part {
    /// A paragraph.
    Paragraph(String),
    /// The command that repeats the measurement.
    Command(String),
    /// Target name of links, and a subheading.
    Heading(String, String),
    /// A summary, and contents that are shown on demand.
    Folded(String, Vec<Part>),
    /// A caption and a table.
    Table(String, Table),
    /// A caption and a drawing: an `<svg>` element that does not depend on the page.
    Figure(String, String),
    /// Results, each with a verdict.
    Entries(Vec<ReportEntry>),
    /// Text in columns, as on a terminal.
    Preformatted(String),
    /// A list of notes.
    Notes(Vec<String>),
}

/// Returns one line per reason for skipped items.
pub(crate) fn skipped_lines(skipped: &[(String, String)]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for (what, why) in skipped {
        match by_reason.iter_mut().find(|(known, _)| known == why) {
            Some((_, all)) if all.contains(&what.as_str()) => {}
            Some((_, all)) => all.push(what),
            None => by_reason.push((why, vec![what])),
        }
    }
    let line = |(why, all): (&str, Vec<&str>)| {
        text!("skipped: {what}: {why}", what = all.join("; "), why = why)
    };
    by_reason.into_iter().map(line).collect()
}

/// A result with a verdict.
#[derive(Clone, Debug)]
pub struct ReportEntry {
    /// Target name of links.
    pub anchor: String,
    /// The subject.
    pub title: String,
    /// The verdict in a word or two, in English.
    pub badge: &'static str,
    /// An explanation of the verdict.
    pub details: Option<String>,
    /// Further texts with their English names.
    pub lines: Vec<(&'static str, String)>,
}
