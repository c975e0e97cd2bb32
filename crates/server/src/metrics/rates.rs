//! The rates of the live page: the differences between totals of each second.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Metrics;
use super::totals::Totals;

/// The seconds that the curve of the page shows.
const HISTORY: usize = 120;
/// The rows of the table of targets.
const TOP: usize = 10;
/// The seconds after which counts of targets fade.
const FADE: u64 = 60;
/// The size of the curve.
const CURVE: (f64, f64) = (600.0, 80.0);

/// Computes what the page shows.
pub(super) struct Rates {
    metrics: Metrics,
    before: Totals,
    at: Instant,
    ticks: u64,
    /// Requests per second.
    history: VecDeque<f64>,
}

impl Rates {
    pub(super) fn new(metrics: Metrics) -> Self {
        let before = metrics.totals();
        Self { metrics, before, at: Instant::now(), ticks: 0, history: VecDeque::new() }
    }

    /// Returns the state of the page: texts by the identifiers of their elements, rows of tables, and a curve.
    pub(super) fn tick(&mut self, now: Instant) -> Value {
        let totals = self.metrics.totals();
        let seconds = now.saturating_duration_since(self.at).as_secs_f64().max(1e-3);
        self.ticks += 1;
        if self.ticks.is_multiple_of(FADE) {
            self.metrics.fade_top_files();
        }
        let requests = (totals.requests() - self.before.requests()) as f64 / seconds;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(requests);
        let state = json!({
            "text": self.texts(&totals, requests, seconds),
            "rows": {
                "vias": self.vias(&totals, seconds),
                "files": self.files(),
                "classes": self.classes(&totals, seconds),
            },
            "curve": self.curve(),
        });
        (self.before, self.at) = (totals, now);
        state
    }

    fn texts(&self, totals: &Totals, requests: f64, seconds: f64) -> Value {
        let before = &self.before;
        let sent = (totals.sent() - before.sent()) as f64 / seconds;
        let whole = totals.whole().since(&before.whole());
        let quantile = |share| whole.quantile(share).map_or("–".to_owned(), duration);
        let files: Vec<_> =
            totals.files.iter().zip(before.files).map(|(now, was)| now - was).collect();
        let share = |index: usize| match files.iter().sum() {
            0 => "–".to_owned(),
            all => percent(files[index], all),
        };
        let page_ins = totals.page_ins.since(&before.page_ins).count() as f64 / seconds;
        let peak = self.history.iter().copied().fold(0.0, f64::max);
        json!({
            "requests": number(requests),
            "bytes": format!("{}/s", bytes(sent)),
            "p50": quantile(0.5),
            "p99": quantile(0.99),
            "hot": share(0),
            "cached": share(1),
            "cold": share(2),
            "page-ins": number(page_ins),
            "open": totals.open().to_string(),
            "active": totals.active.to_string(),
            "idle": totals.idle().to_string(),
            "in-flight": totals.in_flight.to_string(),
            "hot-files": totals.watched.to_string(),
            "jobs": totals.jobs_running.to_string(),
            "total-requests": number(totals.requests() as f64),
            "total-bytes": bytes(totals.sent() as f64),
            "peak": number(peak),
        })
    }

    fn vias(&self, totals: &Totals, seconds: f64) -> Value {
        let mut rows: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (((_, _, via), _), count) in &totals.responses {
            rows.entry(via).or_default().0 += count;
        }
        for ((_, _, via), count) in &totals.bytes {
            rows.entry(via).or_default().1 += count;
        }
        for (((_, _, via), _), count) in &self.before.responses {
            rows.entry(via).and_modify(|row| row.0 -= count);
        }
        for ((_, _, via), count) in &self.before.bytes {
            rows.entry(via).and_modify(|row| row.1 -= count);
        }
        let row = |(via, (requests, sent)): (&str, (u64, u64))| {
            let (requests, sent) = (requests as f64 / seconds, sent as f64 / seconds);
            json!([via, number(requests), format!("{}/s", bytes(sent))])
        };
        rows.into_iter().map(row).collect()
    }

    fn classes(&self, totals: &Totals, seconds: f64) -> Value {
        let mut rows: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for ((_, status), count) in &totals.responses {
            rows.entry(status / 100).or_default().1 += count;
        }
        for (class, row) in &mut rows {
            let of_class = self.before.responses.iter().filter(|((_, it), _)| it / 100 == *class);
            row.0 = row.1 - of_class.map(|(_, count)| count).sum::<u64>();
        }
        let row = |(class, (new, all)): (u16, (u64, u64))| {
            json!([format!("{class}xx"), number(new as f64 / seconds), number(all as f64)])
        };
        rows.into_iter().map(row).collect()
    }

    fn files(&self) -> Value {
        let (counts, total) = self.metrics.top_files();
        let row = |(target, count): (Vec<u8>, u64)| {
            json!([String::from_utf8_lossy(&target), percent(count, total)])
        };
        counts.into_iter().take(TOP).map(row).collect()
    }

    /// Returns the points of a polyline, the newest at the right.
    fn curve(&self) -> String {
        let highest = self.history.iter().copied().fold(1.0, f64::max);
        let step = CURVE.0 / (HISTORY - 1) as f64;
        let points = self.history.iter().rev().enumerate().map(|(age, value)| {
            let (x, y) = (CURVE.0 - age as f64 * step, CURVE.1 * (1.0 - value / highest));
            format!("{x:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    }
}

/// Formats a rate or a count: `0.4`, `17`, `12,300`.
fn number(value: f64) -> String {
    if value > 0.0 && value < 9.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn bytes(value: f64) -> String {
    let (mut value, mut units) = (value, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") }
}

fn duration(value: Duration) -> String {
    match value.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / all.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0.0, 0.44, 17.2, 12_345.0, 1e6].map(number),
            ["0", "0.4", "17", "12,345", "1,000,000"]
        );
        assert_eq!([0.0, 1023.0, 1536.0, 5e9].map(bytes), ["0 B", "1023 B", "1.5 KiB", "4.7 GiB"]);
        let durations = [7, 1500, 2_500_000].map(Duration::from_micros).map(duration);
        assert_eq!(durations, ["7 µs", "1.5 ms", "2.5 s"]);
        assert_eq!((percent(1, 8), percent(0, 0)), ("12.5 %".to_owned(), "0.0 %".to_owned()));
    }
}
