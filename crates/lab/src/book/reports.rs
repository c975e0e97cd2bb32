//! The reports behind a book: rows and evidence by name.

use serde_json::Value;

use crate::claims::{Evidence, Verdict};
use crate::error::{Error, Result};
use crate::stats::MedianRange;

/// Reports of one or several kernels.
pub(super) struct Reports<'a> {
    /// The machine that the book describes.
    pub(super) machine: &'a Value,
    /// Its kernel series, such as `6.18`.
    series: String,
    all: Vec<&'a Value>,
}

/// The finding of a claim.
pub(super) struct ReportedFinding<'a> {
    pub(super) statement: &'a str,
    pub(super) reason: &'a str,
    pub(super) verdict: Verdict,
    pub(super) evidence: Evidence,
}

impl<'a> Reports<'a> {
    /// Takes documents of `karez lab all --json` apart.
    pub(super) fn of(given: &'a [Value]) -> Result<Self> {
        let mut all = Vec::new();
        for document in given {
            match document["reports"].as_array() {
                Some(reports) => all.extend(reports),
                None => all.push(document),
            }
        }
        let machine = given.first().map(|first| &first["machine"]);
        let machine = machine.filter(|machine| machine["kernel"].is_string());
        let machine = machine.ok_or_else(|| {
            Error::new("read the report", "", "not a report of karez lab all or karez lab claims")
        })?;
        Ok(Self { machine, series: series(machine), all })
    }

    /// Returns the rows of an experiment on the machine of the book.
    pub(super) fn rows(&self, experiment: &str, field: &str) -> impl Iterator<Item = &'a Value> {
        let schema = format!("karez.lab.{experiment}/");
        let report = self.all.iter().find(|report| {
            report["schema"].as_str().is_some_and(|name| name.starts_with(&schema))
                && series(&report["machine"]) == self.series
        });
        let rows = report.and_then(|report| report[field].as_array());
        rows.into_iter().flatten()
    }

    /// Returns the first trace that a condition selects.
    pub(super) fn trace(&self, is_wanted: impl Fn(&Value) -> bool) -> Option<&'a Value> {
        let is_trace = |report: &&&Value| {
            report["schema"].as_str().is_some_and(|name| name.starts_with("karez.lab.trace/"))
        };
        let mut traces = self.all.iter().filter(is_trace);
        traces.find(|trace| is_wanted(&trace["request"])).copied()
    }

    /// Returns the finding of a claim on the machine of the book.
    pub(super) fn claim(&self, number: u8) -> Option<ReportedFinding<'a>> {
        self.claim_on(&self.series, number)
    }

    /// Returns the finding of a claim on a kernel.
    pub(super) fn claim_on(&self, kernel: &str, number: u8) -> Option<ReportedFinding<'a>> {
        let mut claims = self.claims().filter(|(series, _)| series == kernel);
        let (_, claim) = claims.find(|(_, claim)| claim["number"] == number)?;
        Some(ReportedFinding {
            statement: claim["claim"].as_str()?,
            reason: claim["reason"].as_str()?,
            verdict: Verdict::of_report(claim["verdict"].as_str()?, claim["details"].as_str()),
            evidence: Evidence::of_report(&claim["evidence"]),
        })
    }

    /// Returns the newest kernel on which a claim was measured, with the finding.
    pub(super) fn measured_elsewhere(&self, number: u8) -> Option<(String, ReportedFinding<'a>)> {
        self.kernels().into_iter().rev().find_map(|kernel| {
            let finding = self.claim_on(&kernel, number)?;
            let is_measured = !matches!(finding.verdict, Verdict::NotMeasurable(_));
            is_measured.then_some((kernel, finding))
        })
    }

    /// Returns each kernel series with claims, in the order of the versions.
    pub(super) fn kernels(&self) -> Vec<String> {
        let mut all: Vec<_> = self.claims().map(|(series, _)| series).collect();
        all.sort_by_key(|series| version(series));
        all.dedup();
        all
    }

    /// Returns every claim of every kernel with its series.
    fn claims(&self) -> impl Iterator<Item = (String, &'a Value)> {
        self.all.iter().flat_map(|report| {
            let claims = report["claims"].as_array().into_iter().flatten();
            claims.map(|claim| (series(&report["machine"]), claim))
        })
    }
}

/// Returns the first two numbers of the kernel's release.
fn series(machine: &Value) -> String {
    let release = machine["kernel"].as_str().unwrap_or_default();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn version(series: &str) -> Vec<u32> {
    series.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Returns a figure with its range; `None` if it was not measured.
pub(super) fn range(value: &Value) -> Option<MedianRange> {
    let number = |name: &str| value[name].as_f64();
    Some(MedianRange { median: number("median")?, low: number("low")?, high: number("high")? })
}
