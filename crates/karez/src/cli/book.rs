//! The command line of `karez lab book`.

use clap::{Args, ValueHint};
use karez_lab::Language;
use std::path::PathBuf;

use super::report_output::languages;

/// The arguments of `karez lab book`.
#[derive(Args, Debug)]
pub(crate) struct BookArgs {
    /// Directory of the book; files of an earlier book are replaced
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// Report of `karez lab all --json`, or `karez lab claims --json` for the comparison of kernels;
    /// repeatable, the first is that of the machine [default: run all experiments]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["quick", "dir"])]
    pub(crate) report: Vec<PathBuf>,

    /// Reduce every experiment; takes less than a minute
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// Language of the book: en or zh [default: both]
    #[arg(long, value_name = "LANG", value_parser = languages(), help_heading = "Output")]
    pub(crate) lang: Option<Language>,
}
