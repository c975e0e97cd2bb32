//! The tables of the topologies: for a terminal, as JSON of a versioned form, CSV and Markdown.

use serde_json::{Value, json};
use std::fmt;

use super::tables::{BESIDE, FAST, HELD, blocking, fast, ranking, rate, table};
use super::{Answers, Held, Row, Sample, Topologies, drawn};
use crate::machine::machine;
use crate::report::{Report, Section, skipped_lines};
use crate::stats::MedianRange;

/// The form of the JSON; the number rises when a field changes its meaning or goes.
const SCHEMA: &str = "karez.lab.topologies/1";

const NOTES: [&str; 13] = [
    "Held: of those who asked while a job was held, so many were answered before it was let go. Counted, from event to event; exact.",
    "Timed is the file server of karez serve (via auto), a new one for each run; held is a job of the laboratory's own task.",
    "fast: 1 KiB that is in memory. slow: 4 MiB, of which 64 KiB are taken every 5 ms. blocking: 256 KiB, dropped from the page cache by who asks.",
    "A real file and a real disk block, and no sleep of a chosen length: how long is the disk's affair, and is in the time of who is blocking.",
    "Closed loops: who waits does not ask. While a server stands still, few wait and none of those who would have come is counted (coordinated omission), nor is what is under way at the end: look at the rate and at max before p99.",
    "All goes over loopback: what the kernel does to receive is billed to the sender, and there is no network to wait for.",
    "Times are as the client sees them; all clients are one thread, so an answer may lie a little before it is read.",
    "A run in which a kind had no answer has a rate, which is 0, and no latency.",
    "Fairness is that of the fast connections: Jain's index of their answers (1: all alike), and those of the last by those of the first.",
    "CPU and switches are all that the server's threads used, for slow ones too, by whole answers of every kind.",
    "A thread that serves waits for its core with the others: on one core more of them are no faster.",
    "Where a reactor may not block, it asks before each file whether it is in memory, and has others wait for the disk.",
    "Where ranges overlap, neither is the faster.",
];

impl Report for Topologies {
    /// Every combination in one table.
    fn to_csv(&self) -> String {
        self.table_of_all().to_csv()
    }

    fn to_markdown(&self) -> String {
        let notes = self.notes().into_iter().chain(skipped_lines(&self.skipped));
        let notes: Vec<_> = notes.map(|note| format!("- {note}\n")).collect();
        let (held, all) = (self.table_of_held(), self.table_of_all());
        format!("{}\n{}\n{}", held.to_markdown(), all.to_markdown(), notes.concat())
    }

    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "server_cores": self.cores,
            "seed": self.seed,
            "notes": self.notes(),
            "skipped": self.skipped.iter().map(|(what, why)| json!({ "what": what, "why": why }))
                .collect::<Vec<_>>(),
            "held": self.held.iter().map(held_to_json).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row_to_json).collect::<Vec<_>>(),
            "rankings": self.groups().map(|rows| ranking(&rows)).collect::<Vec<_>>(),
        })
    }

    fn section(&self) -> Section {
        drawn::section(self)
    }
}

impl Topologies {
    /// What has to be known to read the tables.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let runs = self.rows.iter().map(|row| row.timed.len()).max().unwrap_or(0);
        let mut notes: Vec<_> = NOTES.iter().map(|&note| note.to_owned()).collect();
        let (cold, asked) = self.cold();
        if asked > 0 {
            notes.push(format!("Seen to be cold when it was asked for: {cold} of {asked} files."));
        }
        notes.push(format!(
            "The server had {} of the machine's cores, the clients one; they used it by up to {:.0} %.",
            self.cores,
            100.0 * self.rows.iter().map(clients_share).fold(0.0, f64::max),
        ));
        notes
            .push(format!("Figures are median [range] of {runs} runs in an order that was drawn."));
        if cfg!(debug_assertions) {
            notes
                .push("Built without optimisation: what the server does itself costs more.".into());
        }
        notes
    }

    /// How many files were seen to be out of memory before they were asked for, of how many.
    fn cold(&self) -> (u64, u64) {
        let runs = self.rows.iter().flat_map(|row| &row.timed).map(|run| &run.blocking);
        runs.fold((0, 0), |(cold, asked), had| (cold + had.cold, asked + had.asked))
    }
}

/// How much of its core the clients used.
fn clients_share(row: &Row) -> f64 {
    row.median_range(|run| run.per_second(run.clients_cpu / 1e9)).median
}

fn held_to_json(held: &Held) -> Value {
    json!({
        "model": held.model.name(),
        "topology": held.topology.name(),
        "asked_while_held": held.asked,
        "answered_while_held": held.answered,
        "threads": held.threads,
    })
}

fn row_to_json(row: &Row) -> Value {
    let samples = row.timed.iter().map(|run| {
        json!({
            "seconds": run.seconds,
            "fast": answers_to_json(&run.fast), "slow": answers_to_json(&run.slow),
            "blocking": answers_to_json(&run.blocking),
            "cpu_ns": run.cpu, "clients_cpu_ns": run.clients_cpu,
            "voluntary": run.voluntary, "involuntary": run.involuntary, "threads": run.threads,
        })
    });
    let clients = row.clients;
    json!({
        "model": row.model.name(),
        "topology": row.topology.name(),
        "clients": { "fast": clients.fast, "slow": clients.slow, "blocking": clients.blocking },
        "threads": row.threads(),
        "fast_per_second": rate(row).to_json(),
        "fast": figures(row, fast),
        "blocking_per_second": row.median_range(|run| run.per_second(run.blocking.answers())).to_json(),
        "blocking": figures(row, blocking),
        "slow_bytes_per_second": row.median_range(|run| run.per_second(run.slow.bytes)).to_json(),
        "cpu_us_per_answer": row.median_range(|run| run.per_answer(run.cpu / 1000.0)).to_json(),
        "voluntary_per_answer": row.median_range(|run| run.per_answer(run.voluntary)).to_json(),
        "involuntary_per_answer": row.median_range(|run| run.per_answer(run.involuntary)).to_json(),
        "samples": samples.collect::<Vec<_>>(),
    })
}

/// Latency in microseconds, `null` where there is none, and fairness.
fn figures(row: &Row, of: fn(&Sample) -> &Answers) -> Value {
    let latency = |figure: fn(&Answers) -> f64| row.latency(of, figure).map(MedianRange::to_json);
    let fairness = |figure: fn(&Answers) -> f64| row.median_range(|run| figure(of(run))).to_json();
    json!({
        "p50_us": latency(|answers| answers.p50),
        "p99_us": latency(|answers| answers.p99),
        "p99_9_us": latency(|answers| answers.p999),
        "max_us": latency(|answers| answers.max),
        "jain": fairness(Answers::jain),
        "least_of_most": fairness(Answers::least_of_most),
    })
}

fn answers_to_json(answers: &Answers) -> Value {
    json!({
        "by_connection": answers.each, "bytes": answers.bytes, "asked": answers.asked,
        "seen_cold": answers.cold,
        "p50_us": answers.p50, "p99_us": answers.p99, "p99_9_us": answers.p999,
        "max_us": answers.max,
    })
}

impl fmt::Display for Topologies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HELD}\n\n{}", self.table_of_held().to_text())?;
        for rows in self.groups() {
            let (fast, beside) = (table(&FAST, &rows), table(&BESIDE, &rows));
            writeln!(f, "{}{}\n\n{}", fast.to_text(), ranking(&rows), beside.to_text())?;
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
