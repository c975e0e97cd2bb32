//! `karez lab book`: a book about Linux I/O with the figures of a machine, as source of mdBook that is
//! also readable as plain Markdown.
//!
//! The chapters are templates (`book/en`, `book/zh`), in the order of the usual textbooks. Every measured
//! figure in them is a marker (`book/expand.rs`), which is replaced from the reports, so text and data cannot
//! differ. `docs/book` is made from `bench/results`; a test compares.
//!
//! # Limitations
//! The sentences around a figure are the same for every machine, so they state the mechanism, and leave
//! the result to the figure. A figure that the reports lack is shown as a dash. Links to the sources need
//! a checkout of the repository around the book; elsewhere the name of the file is shown.

mod expand;
mod figures;
mod reports;
mod sources;
mod tables;
mod waits;

use serde_json::Value;
use std::fs;
use std::path::Path;

use crate::error::{ErrorContext as _, Result};
use crate::language::{Language, in_language, text};
use expand::Expander;
use reports::Reports;
use sources::SourceTree;

/// A chapter: the name of its file, and its template in each language.
struct Chapter {
    file: &'static str,
    english: &'static str,
    chinese: &'static str,
}

macro_rules! chapter {
    ($file:literal) => {
        Chapter {
            file: $file,
            english: include_str!(concat!("../book/en/", $file)),
            chinese: include_str!(concat!("../book/zh/", $file)),
        }
    };
}

/// The introduction and the chapters, in their order.
const CHAPTERS: [Chapter; 10] = [
    chapter!("README.md"),
    chapter!("layers.md"),
    chapter!("models.md"),
    chapter!("select-poll.md"),
    chapter!("epoll.md"),
    chapter!("signals.md"),
    chapter!("aio-uring.md"),
    chapter!("zero-copy.md"),
    chapter!("reactor-proactor.md"),
    chapter!("kernels.md"),
];

impl Chapter {
    fn template(&self) -> &'static str {
        match Language::current() {
            Language::English => self.english,
            Language::Chinese => self.chinese,
        }
    }

    /// Returns the title: the first heading.
    fn title(&self) -> &'static str {
        let first = self.template().lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }
}

/// The files of a book in one language.
struct Book {
    /// Name below the directory of the book, and contents.
    files: Vec<(String, String)>,
    /// Markers whose figure the reports lack.
    missing: Vec<String>,
}

/// Writes the book with the figures of `reports`, which are documents of `karez lab all --json` or
/// `karez lab claims --json`, to a subdirectory for each language. Returns what the reports lack.
///
/// The first report is that of the machine which the book describes; claims of others are compared with
/// it by kernel.
///
/// # Errors
/// If a report has no machine, or a file cannot be written.
pub fn write(directory: &Path, reports: &[Value], languages: &[Language]) -> Result<Vec<String>> {
    let reports = Reports::of(reports)?;
    let mut missing = Vec::new();
    for &language in languages {
        let root = directory.join(language.name());
        let pages = root.join("src");
        fs::create_dir_all(&pages).context("make the directory", pages.display())?;
        let sources = SourceTree::around(&pages);
        let book = in_language(language, || Book::of(&reports, sources.as_ref()));
        for (name, contents) in &book.files {
            let path = root.join(name);
            fs::write(&path, contents).context("write", path.display())?;
        }
        missing = book.missing;
    }
    Ok(missing)
}

impl Book {
    /// Makes the book in the current language.
    fn of(reports: &Reports<'_>, sources: Option<&SourceTree>) -> Self {
        let mut expander = Expander::new(reports, sources);
        let mut files =
            vec![("book.toml".to_owned(), settings()), ("src/SUMMARY.md".to_owned(), summary())];
        for chapter in &CHAPTERS {
            let page = expander.expand(chapter.template());
            files.push((format!("src/{}", chapter.file), page));
        }
        let drawings = expander.drawings.into_iter();
        files.extend(drawings.map(|(name, svg)| (format!("src/{name}"), svg)));
        Self { files, missing: expander.missing }
    }
}

/// Returns the settings of mdBook.
fn settings() -> String {
    format!(
        "[book]\ntitle = \"{}\"\nlanguage = \"{}\"\n",
        text!("Linux I/O, measured"),
        Language::current().tag()
    )
}

/// Returns the table of contents, in the format of mdBook.
fn summary() -> String {
    let mut lines = format!("# {}\n\n", text!("Linux I/O, measured"));
    for (number, chapter) in CHAPTERS.iter().enumerate() {
        // The introduction has no number.
        let item = if number == 0 { "" } else { "- " };
        let end = if number == 0 { "\n\n" } else { "\n" };
        lines += &format!("{item}[{}]({}){end}", chapter.title(), chapter.file);
    }
    lines
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test says what it skips")]
mod tests;
