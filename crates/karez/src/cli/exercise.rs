//! The command line of `karez lab exercise`.

use clap::{Args, ValueHint};
use karez_lab::exercise::Exercise;
use std::path::PathBuf;

use super::report_output::OutputArgs;
use super::values::bytes;

/// The arguments of `karez lab exercise`.
#[derive(Args, Debug)]
pub(crate) struct ExerciseArgs {
    /// Number of the exercise [default: list all]
    #[arg(value_name = "N", value_parser = exercise)]
    pub(crate) number: Option<usize>,

    /// Predicted number, such as 32, 64k or 1m [default: read from standard input]
    #[arg(long, value_name = "NUMBER", value_parser = prediction, requires = "number", help_heading = "Experiment")]
    pub(crate) predict: Option<u64>,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn exercise(text: &str) -> Result<usize, String> {
    let known = |number: &usize| Exercise::find(*number).is_some();
    text.parse().ok().filter(known).ok_or_else(|| "no exercise has this number".to_owned())
}

/// Parses a predicted number.
pub(crate) fn prediction(text: &str) -> Result<u64, &'static str> {
    let digits: String = text.trim().chars().filter(|one| !matches!(one, ',' | '_')).collect();
    bytes(&digits).map_err(|_| "not a number, such as 32 or 64k")
}
