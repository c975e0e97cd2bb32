//! One run of `karez lab all --quick` in every format, which several tests read.

use serde_json::Value;
use std::fs;
use std::process::Output;
use std::sync::OnceLock;

use super::karez;

/// The run and its files.
pub(crate) struct AllRun {
    pub(crate) output: Output,
    pub(crate) json: Value,
    pub(crate) json_text: String,
    pub(crate) html: String,
    pub(crate) csv: String,
    pub(crate) markdown: String,
    /// Number of files that were left in the directory of the test files.
    pub(crate) left: usize,
}

impl AllRun {
    /// Returns the report of an experiment.
    pub(crate) fn report(&self, experiment: &str) -> &Value {
        let mut reports = self.json["reports"].as_array().unwrap().iter();
        reports.find(|report| name_of(report) == experiment).unwrap()
    }
}

/// Returns the experiment of a report.
pub(crate) fn name_of(report: &Value) -> &str {
    report["schema"].as_str().unwrap().split(['.', '/']).nth(2).unwrap()
}

/// Runs it at the first call.
pub(crate) fn all() -> &'static AllRun {
    static RUN: OnceLock<AllRun> = OnceLock::new();
    RUN.get_or_init(run)
}

fn run() -> AllRun {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [json, html, csv, markdown] =
        ["a.json", "a.html", "a.csv", "a.md"].map(|name| place.path().join(name));
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let mut command = karez();
    command.args(["lab", "all", "--quick", "--lang", "zh", "--dir"]).arg(&directory);
    command.arg("--json").arg(&json).arg("--html").arg(&html).arg("--csv").arg(&csv);
    let output = command.arg("--markdown").arg(&markdown).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = |path| fs::read_to_string(path).unwrap();
    let json_text = text(&json);
    AllRun {
        output,
        json: serde_json::from_str(&json_text).unwrap(),
        json_text,
        html: text(&html),
        csv: text(&csv),
        markdown: text(&markdown),
        left: fs::read_dir(&directory).unwrap().count(),
    }
}
