//! `karez lab compare`: reports the changes between two reports beyond noise.
//!
//! A counted figure has changed if it is not equal. Timed figures drift with the machine: the
//! median ratio over all rows is reported separately and removed. A timed figure has changed if its
//! two ranges do not overlap, neither as measured nor without the drift, and if the number of runs
//! makes that unlikely: for n and m runs from one distribution all runs of one side lie above the
//! other in 2 of C(n + m, n) cases; that probability times the number of compared figures must be
//! below 5 % (the rank-sum test at its extreme, with Bonferroni correction). Consequently a row
//! that stays constant while others drift is not reported.
//!
//! # Limitations
//! A small change within wide ranges counts as noise, although more runs might reveal it. A change
//! common to all rows counts as drift. The cause of a change is not determined.

mod change;
mod format;
mod render;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::stats::MedianRange;
use format::{FORMATS, ReportFormat};

pub use change::{Change, ChangeKind, Condition, Drift, UnmatchedRows};
pub(crate) use format::long_table;

/// Calls whose number depends on timing: reads of the error queue.
const TIME_DEPENDENT_CALLS: [&str; 1] = ["recvmsg"];

/// Minimum number of rows for a drift estimate.
const MIN_ROWS_FOR_DRIFT: usize = 8;

/// Comparison of two reports.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Differing conditions.
    pub conditions: Vec<Condition>,
    /// Changes in the order of the first report.
    pub changes: Vec<Change>,
    /// Number of compared figures.
    pub compared: usize,
    /// Common changes.
    pub drifts: Vec<Drift>,
    /// Rows only in the first report, and rows only in the second.
    pub unmatched: [Vec<UnmatchedRows>; 2],
}

impl Comparison {
    /// Compares two reports written by `--json`.
    ///
    /// # Errors
    /// If a value is not a report, has an unknown schema, or shares no experiment with the other.
    pub fn of(before: &Value, after: &Value) -> Result<Self> {
        let (before, after) = (experiments(before)?, experiments(after)?);
        let mut comparison = Self::default();
        let mut any = false;
        for format in FORMATS {
            let rows_before = before.iter().flat_map(|one| format.rows_of(one)).collect::<Vec<_>>();
            let rows_after = after.iter().flat_map(|one| format.rows_of(one)).collect::<Vec<_>>();
            any |= !rows_before.is_empty() && !rows_after.is_empty();
            comparison.rows(format, &rows_before, &rows_after);
        }
        if !any {
            let why = "the reports belong to different experiments";
            return Err(Error::new("compare", "the reports", why));
        }
        if let (Some(before), Some(after)) = (before.first(), after.first()) {
            comparison.conditions = conditions(before, after);
        }
        comparison.count_chances();
        Ok(comparison)
    }

    /// Returns whether any figure changed beyond noise.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.changes.iter().any(Change::is_beyond_noise)
    }

    fn rows(&mut self, format: &'static ReportFormat, before: &[&Value], after: &[&Value]) {
        let named =
            |rows: &[&Value]| rows.iter().map(|row| format.name_of(row)).collect::<Vec<_>>();
        let (names, others) = (named(before), named(after));
        for (side, (own, other)) in [(&names, &others), (&others, &names)].into_iter().enumerate() {
            let rows: Vec<_> = own.iter().filter(|name| !other.contains(name)).cloned().collect();
            if !rows.is_empty() {
                let (experiment, entirely) = (format.experiment, other.is_empty());
                self.unmatched[side].push(UnmatchedRows { experiment, entirely, rows });
            }
        }
        let other = |name| others.iter().position(|other| other == name).map(|at| after[at]);
        let pairs = names.iter().zip(before);
        let pairs: Vec<_> = pairs
            .filter_map(|(name, before)| Some((name.as_str(), *before, other(name)?)))
            .collect();
        for figure in format.counted {
            self.counted(format, *figure, &pairs);
        }
        for figure in format.timed {
            self.timed(format, *figure, &pairs);
        }
    }

    fn counted(
        &mut self,
        format: &'static ReportFormat,
        (figure, path): (&'static str, &str),
        pairs: &[Pair<'_>],
    ) {
        for (row, before, after) in pairs {
            let (Some(before), Some(after)) = (present(before, path), present(after, path)) else {
                continue;
            };
            self.compared += 1;
            if let Some(kind) = counted(before, after) {
                let (experiment, row) = (format.experiment, (*row).to_owned());
                self.changes.push(Change { experiment, row, figure, kind });
            }
        }
    }

    fn timed(
        &mut self,
        format: &'static ReportFormat,
        (figure, path): (&'static str, &str),
        pairs: &[Pair<'_>],
    ) {
        let there = pairs.iter().filter_map(|&(row, before, after)| {
            let by_chance = chance(format.runs_of(before), format.runs_of(after));
            Some((row, median_range(before, path)?, median_range(after, path)?, by_chance))
        });
        let there: Vec<_> = there.collect();
        self.compared += there.len();
        let ratios = there.iter().map(|(_, before, after, _)| after.median / before.median);
        let common = MedianRange::of(ratios.filter(|ratio| ratio.is_finite())).median;
        let drift = if there.len() < MIN_ROWS_FOR_DRIFT || common <= 0.0 { 1.0 } else { common };
        if there.len() >= MIN_ROWS_FOR_DRIFT {
            let (experiment, rows) = (format.experiment, there.len());
            self.drifts.push(Drift { experiment, figure, ratio: drift, rows });
        }
        for (row, before, after, by_chance) in there {
            if !before.overlaps(&after.scaled(1.0 / drift)) && !before.overlaps(&after) {
                let kind = ChangeKind::Timed { before, after, by_chance };
                let (experiment, row) = (format.experiment, row.to_owned());
                self.changes.push(Change { experiment, row, figure, kind });
            }
        }
    }

    /// Scales the probability of one figure to all compared figures.
    fn count_chances(&mut self) {
        #[allow(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let compared = self.compared as f64;
        for change in &mut self.changes {
            if let ChangeKind::Timed { by_chance, .. } = &mut change.kind {
                *by_chance *= compared;
            }
        }
    }
}

/// Name of a row with its values before and after.
type Pair<'a> = (&'a str, &'a Value, &'a Value);

/// Returns the experiments of a report: itself, or those combined by `karez lab all`.
fn experiments(report: &Value) -> Result<Vec<&Value>> {
    let all = report["reports"].as_array().map_or_else(|| vec![report], |all| all.iter().collect());
    for one in &all {
        let schema = one["schema"].as_str().unwrap_or("a file without a schema");
        if !FORMATS.iter().any(|format| format.schema == schema) {
            let why = "unknown report format";
            return Err(Error::new("compare", schema, why));
        }
    }
    Ok(all)
}

/// Compares the machine and the available tier.
fn conditions(before: &Value, after: &Value) -> Vec<Condition> {
    let empty = serde_json::Map::new();
    let of = |report: &Value| report["machine"].as_object().unwrap_or(&empty).clone();
    let (mut first, mut second) = (of(before), of(after));
    for (machine, report) in [(&mut first, before), (&mut second, after)] {
        machine.insert("tier".to_owned(), report["tiers"]["best"].clone());
    }
    let mut names: Vec<_> = first.keys().chain(second.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    let condition = |name: String| {
        let (before, after) = (first.get(&name)?, second.get(&name)?);
        let differs = before != after && !before.is_null() && !after.is_null();
        differs.then(|| Condition { name, before: words(before), after: words(after) })
    };
    names.into_iter().filter_map(condition).collect()
}

/// Returns a counted figure; `null` means that it was not available.
fn present<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    row.pointer(path).filter(|value| !value.is_null())
}

/// Compares counts; for counts by name only the differing names are reported.
fn counted(before: &Value, after: &Value) -> Option<ChangeKind> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return (before != after).then(|| ChangeKind::Counted(words(before), words(after)));
    };
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| {
        before.get(*name) != after.get(*name) && !TIME_DEPENDENT_CALLS.contains(&name.as_str())
    });
    let comparison = |of: &serde_json::Map<String, Value>| {
        let each =
            names.iter().map(|name| format!("{} {name}", of.get(*name).unwrap_or(&json!(0))));
        each.collect::<Vec<_>>().join(", ")
    };
    (!names.is_empty()).then(|| ChangeKind::Counted(comparison(before), comparison(after)))
}

fn median_range(row: &Value, path: &str) -> Option<MedianRange> {
    let comparison = row.pointer(path)?;
    let number = |name: &str| comparison[name].as_f64();
    Some(MedianRange { median: number("median")?, low: number("low")?, high: number("high")? })
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the probability that the ranges of n and m runs from one distribution do not overlap.
fn chance(n: usize, m: usize) -> f64 {
    // 2 / C(n + m, n), factor by factor.
    #[allow(clippy::cast_precision_loss, reason = "runs of an experiment")]
    let factors = (1..=n).map(|i| i as f64 / (m + i) as f64);
    if n == 0 || m == 0 { 1.0 } else { (2.0 * factors.product::<f64>()).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vias(copied: u64, low: f64, runs: usize) -> Value {
        json!({
            "schema": "karez.lab.vias/2",
            "machine": { "kernel": "6.18", "cores": 2 },
            "tiers": { "best": "T1" },
            "rows": [{
                "via": "sendfile", "transport": "lo", "bytes": 65536, "cache": "warm",
                "effective_via": "sendfile", "copies": { "late": copied },
                "cpu_ms_per_gb": { "median": low + 1.0, "low": low, "high": low + 2.0 },
                "samples": vec![0; runs],
            }],
        })
    }

    #[test]
    fn same_report_has_no_changes() {
        let comparison = Comparison::of(&vias(0, 5.0, 9), &vias(0, 5.0, 9)).unwrap();
        assert!(!comparison.differs() && comparison.changes.is_empty());
        assert_eq!(comparison.compared, 3);
    }

    #[test]
    fn counts_differ_exactly_and_times_beyond_their_range() {
        let comparison = Comparison::of(&vias(0, 5.0, 9), &vias(1, 6.5, 9)).unwrap();
        assert_eq!(comparison.changes.len(), 1, "{comparison:?}");
        assert_eq!(comparison.changes[0].kind, ChangeKind::Counted("0".to_owned(), "1".to_owned()));
        let comparison = Comparison::of(&vias(0, 5.0, 9), &vias(0, 8.0, 9)).unwrap();
        assert!(
            comparison.differs() && matches!(comparison.changes[0].kind, ChangeKind::Timed { .. })
        );
    }

    #[test]
    fn common_change_is_drift_and_an_outlier_is_reported() {
        let many = |scale: f64, odd: f64| {
            let mut report = vias(0, 5.0, 9);
            let first = report["rows"][0].clone();
            let rows = (0..20_u64).map(|place| {
                let (mut row, by) = (first.clone(), if place == 7 { odd } else { scale });
                row["bytes"] = json!(place);
                let figures = json!({ "median": 6.0 * by, "low": 5.5 * by, "high": 6.5 * by });
                row["cpu_ms_per_gb"] = figures;
                row
            });
            report["rows"] = rows.collect::<Vec<_>>().into();
            report
        };
        let comparison = Comparison::of(&many(1.0, 1.0), &many(2.0, 2.0)).unwrap();
        assert!(!comparison.differs(), "{:?}", comparison.changes);
        assert!((comparison.drifts[0].ratio - 2.0).abs() < 1e-9);
        let comparison = Comparison::of(&many(1.0, 1.0), &many(2.0, 5.0)).unwrap();
        assert_eq!(comparison.changes.len(), 1);
        assert!(comparison.changes[0].row.contains("7 bytes"), "{:?}", comparison.changes);
    }

    #[test]
    fn calls_are_compared_by_name_without_the_error_queue() {
        let calls = |sends: u64, fetches: u64| json!({ "sendto": sends, "recvmsg": fetches });
        assert_eq!(counted(&calls(4, 9), &calls(4, 2)), None);
        let comparison = counted(&calls(4, 9), &json!({ "splice": 8 }));
        let (before, after) = ("4 sendto, 0 splice".to_owned(), "0 sendto, 8 splice".to_owned());
        assert_eq!(comparison, Some(ChangeKind::Counted(before, after)));
    }

    #[test]
    fn few_runs_may_differ_by_chance() {
        let comparison = Comparison::of(&vias(0, 5.0, 3), &vias(0, 8.0, 3)).unwrap();
        assert!(!comparison.differs() && comparison.changes.len() == 1, "{comparison:?}");
        assert!((chance(3, 3) - 0.1).abs() < 1e-9);
        assert!((chance(9, 9) - 2.0 / 48620.0).abs() < 1e-9);
        assert!((chance(0, 9) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn unmatched_rows_and_conditions_are_listed() {
        let (before, mut after) = (vias(0, 5.0, 9), vias(0, 5.0, 9));
        after["machine"]["kernel"] = json!("6.12");
        after["rows"].as_array_mut().unwrap().push(json!({ "via": "copy" }));
        let comparison = Comparison::of(&before, &after).unwrap();
        assert_eq!(comparison.unmatched[0], []);
        let unmatched =
            UnmatchedRows { experiment: "vias", entirely: false, rows: vec!["copy".to_owned()] };
        assert_eq!(comparison.unmatched[1], [unmatched]);
        assert_eq!(comparison.conditions.len(), 1);
        assert_eq!(comparison.conditions[0].after, "6.12");
        assert!(Comparison::of(&before, &json!({ "schema": "x/1" })).is_err());
    }
}
