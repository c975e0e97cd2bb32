//! Output formats of the models.

use serde_json::{Value, json};
use std::fmt;

use super::tables::{cells, ranking, table};
use super::{MODELS, Models, WaitRow, charts, request_table};
use crate::language::{msg, text, tr};
use crate::machine::machine;
use crate::report::{Report, Section, skipped_lines};
use crate::stats::MedianRange;
use crate::table::Table;

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.models/2";

const NOTES: [&str; 14] = [
    msg!(
        "A wake-up is one wait and the reads of the reported descriptors; nonblocking reads all of \
    them."
    ),
    msg!("Descriptors are eventfds; for signal, which does not support those, UNIX sockets."),
    msg!(
        "The calls that make descriptors ready are not counted; their CPU time is, one write for each."
    ),
    msg!(
        "The model's own work is included: select's bitmaps, poll's array, the scan of each result."
    ),
    msg!(
        "select and poll queue the thread only up to the first ready descriptor: more active ones cost \
    less."
    ),
    msg!(
        "Slopes: least squares over the CPU of all runs with one active; the interval is a bootstrap \
    of 95 %."
    ),
    msg!(
        "Published: M. Kerrisk, LCA 2006, on hardware of its time; here: one write, one wait, one read."
    ),
    msg!("Overlapping ranges do not rank."),
    msg!(
        "Wake-ups are those of selectors: blocking, posix-aio and uring have none, and are measured by \
    requests."
    ),
    msg!(
        "A request is 8 bytes to an echo task on a whole reactor (topology single) over a UNIX socket; \
    active connections send at once, the others are idle."
    ),
    msg!(
        "Its calls are those of all server threads, under ptrace, from idle to idle; CPU is the \
    server's, us the client's latency."
    ),
    msg!(
        "epoll-edge also reports that a UNIX peer has read: one more wait where no request arrives \
    with it."
    ),
    msg!("nonblocking polls all the time: its calls and CPU include polls that no request needs."),
    msg!(
        "Server and client have cores of their own, if there are two: us includes the wake-up on the \
    other core."
    ),
];

impl Report for Models {
    /// Lists wake-ups and requests in one table.
    fn to_csv(&self) -> String {
        let heading =
            vec!["model", "descriptors", "active", "of", "calls", "in detail", "us", "CPU us"];
        let wake_ups = self.rows.iter().map(|row| with_kind("wake-up", cells(row)));
        let requests = self
            .requests
            .iter()
            .map(|row| with_kind("request", request_table::cells(row).to_vec()));
        Table { heading, rows: wake_ups.chain(requests).collect(), ..Table::default() }.to_csv()
    }

    fn to_markdown(&self) -> String {
        let notes = self.notes().into_iter().chain(skipped_lines(&self.skipped));
        let notes: Vec<_> = notes.map(|note| format!("- {note}\n")).collect();
        let rows = table(&self.rows.iter().collect::<Vec<_>>()).to_markdown();
        let (slopes, classic) = (self.slopes().to_markdown(), self.classic().to_markdown());
        let requests = request_table::table(&self.requests.iter().collect::<Vec<_>>());
        let requests = requests.to_markdown();
        format!("{rows}\n{slopes}\n{classic}\n{requests}\n{}", notes.concat())
    }

    fn to_json(&self) -> Value {
        let slopes = MODELS.iter().filter_map(|&model| {
            let slope = self.slope(model)?.to_json();
            Some(json!({ "model": model.name(), "cpu_ns_per_idle_descriptor": slope }))
        });
        let classic = self.classic_cells().map(|(count, model, ours, published)| {
            json!({
                "descriptors": count, "model": model.name(),
                "cpu_seconds": ours.map(MedianRange::to_json), "published": published,
            })
        });
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "seed": self.seed,
            "notes": self.notes(),
            "skipped": self.skipped.iter().map(|(subject, reason)| json!({ "subject": subject, "reason": reason }))
                .collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row_to_json).collect::<Vec<_>>(),
            "slopes": slopes.collect::<Vec<_>>(),
            "confidence": { "method": "bootstrap", "level": 0.95 },
            "classic": classic.collect::<Vec<_>>(),
            "rankings": self.groups().map(|rows| ranking(&rows)).collect::<Vec<_>>(),
            "requests": self.requests.iter().map(request_table::row_to_json).collect::<Vec<_>>(),
            "request_rankings": request_table::groups(&self.requests)
                .map(|rows| request_table::ranking(&rows)).collect::<Vec<_>>(),
        })
    }

    fn section(&self) -> Section {
        charts::section(self)
    }
}

impl Models {
    /// Returns the notes of the tables.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let wake_ups = self.rows.iter().map(|row| row.timed.len());
        let requests = self.requests.iter().map(|row| row.timed.len());
        let runs = wake_ups.chain(requests).max().unwrap_or(0);
        let mut notes: Vec<_> = NOTES.iter().map(|&note| tr(note)).collect();
        notes.push(text!("Times are median [range] of {runs} runs in random order.", runs = runs));
        if cfg!(debug_assertions) {
            notes.push(text!("Built without optimisation: the model's own work costs more."));
        }
        notes
    }
}

fn with_kind(kind: &str, mut cells: Vec<String>) -> Vec<String> {
    cells.insert(3, kind.to_owned());
    cells
}

fn row_to_json(row: &WaitRow) -> Value {
    let samples = row.timed.iter().map(
        |run| json!({ "rounds": run.rounds, "us_per_wake_up": run.wait_time, "cpu_us": run.cpu }),
    );
    json!({
        "model": row.model.name(),
        "descriptors": row.descriptors,
        "active": row.active,
        "calls": row.calls,
        "calls_per_wake_up": row.total_calls(),
        "us_per_wake_up": row.wait_time().to_json(),
        "cpu_us_per_wake_up": row.cpu().to_json(),
        "samples": samples.collect::<Vec<_>>(),
    })
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rows in self.groups() {
            writeln!(f, "{}{}\n", table(&rows).to_text(), ranking(&rows))?;
        }
        writeln!(f, "{}\n{}", self.slopes().to_text(), self.classic().to_text())?;
        for rows in request_table::groups(&self.requests) {
            let (table, ranking) = (request_table::table(&rows), request_table::ranking(&rows));
            writeln!(f, "{}{ranking}\n", table.to_text())?;
        }
        for note in self.notes() {
            writeln!(f, "{note}")?;
        }
        for line in skipped_lines(&self.skipped) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
