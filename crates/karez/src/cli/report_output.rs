//! The output options of every experiment of `karez lab`.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};
use karez_lab::Language;
use std::path::PathBuf;

/// The output options of `karez lab`.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Write the report as JSON; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Write the table as CSV; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the table as Markdown; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) markdown: Option<PathBuf>,

    /// Write a self-contained HTML page; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,

    /// Language of text, Markdown, HTML and SVG: en or zh [default: from LC_ALL, LC_MESSAGES or
    /// LANG]
    #[arg(long, value_name = "LANG", value_parser = languages(), help_heading = "Output")]
    pub(crate) lang: Option<Language>,
}

/// Parses the name of a language.
pub(crate) fn languages() -> impl clap::builder::TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.iter().map(|language| language.name()))
        .map(|name| name.parse().unwrap_or_default())
}
