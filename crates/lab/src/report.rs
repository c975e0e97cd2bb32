//! What every experiment comes to, in each form in which it can be read: text for a terminal, JSON
//! of a versioned schema, CSV, Markdown, and a section of a page.
//!
//! What it does badly: a section is made for a page that nobody can ask anything, so what is not in
//! it is only in the JSON.

use serde_json::Value;
use std::fmt;

pub use crate::table::Table;

/// A report; its text for a terminal is its [`Display`](fmt::Display).
pub trait Report: fmt::Display {
    /// The whole of it with each sample; the field `schema` names its form and version.
    fn to_json(&self) -> Value;

    /// Its rows, as CSV (RFC 4180, with `\n`).
    fn to_csv(&self) -> String;

    /// Its tables and notes, as Markdown.
    fn to_markdown(&self) -> String;

    /// Its part of a page.
    fn section(&self) -> Section;

    /// The parts of a page of its own.
    fn sections(&self) -> Vec<Section> {
        vec![self.section()]
    }
}

/// A part of a page: a heading and what stands below it.
#[derive(Clone, Debug)]
pub struct Section {
    /// A word to link to it by.
    pub anchor: String,
    /// The heading.
    pub title: String,
    /// What stands below it, in order.
    pub parts: Vec<Part>,
}

/// Something that stands in a section. Every text is plain: whoever renders it escapes it.
#[derive(Clone, Debug)]
pub enum Part {
    /// A paragraph.
    Paragraph(String),
    /// A heading of its own.
    Heading(String),
    /// A table and what it shows.
    Table(String, Table),
    /// A drawing and what it shows: an `<svg>` element that takes its colours from the classes of
    /// the page, so that it is readable on a dark one.
    Figure(String, String),
    /// Things that were found out, each with a verdict.
    Entries(Vec<ReportEntry>),
    /// Text in columns, as on a terminal.
    Preformatted(String),
    /// A list of what has to be known to read the rest.
    Notes(Vec<String>),
}

/// What could not be had, a line for each reason.
pub(crate) fn skipped_lines(skipped: &[(String, String)]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for (what, why) in skipped {
        match by_reason.iter_mut().find(|(known, _)| known == why) {
            Some((_, all)) if all.contains(&what.as_str()) => {}
            Some((_, all)) => all.push(what),
            None => by_reason.push((why, vec![what])),
        }
    }
    let line = |(why, all): (&str, Vec<&str>)| format!("skipped: {}: {why}", all.join("; "));
    by_reason.into_iter().map(line).collect()
}

/// Something that was found out.
#[derive(Clone, Debug)]
pub struct ReportEntry {
    /// Of what.
    pub title: String,
    /// The verdict in a word or two.
    pub badge: &'static str,
    /// What has to be said beside the verdict.
    pub details: Option<String>,
    /// What else there is, by name.
    pub lines: Vec<(&'static str, String)>,
}
