//! Output formats of the layouts.

use serde_json::{Value, json};
use std::fmt;

use super::tables::{
    BLOCKED_JOBS, FAST_COLUMNS, SERVER_COLUMNS, blocking, fast, ranking, rate, table,
};
use super::{BlockedJob, LoadSample, ResponseStats, Topologies, TopologyRow, charts};
use crate::language::{msg, text, tr};
use crate::machine::machine;
use crate::report::{Report, Section, skipped_lines};
use crate::stats::MedianRange;

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.topologies/2";

const NOTES: [&str; 13] = [
    msg!(
        "Blocked job: the number of requests sent while one job is blocked, and of responses that \
    arrive before it is released. Counted, event by event; exact."
    ),
    msg!(
        "The timed server is the file server of karez serve (via auto), a new one for each run; the \
    blocked job belongs to the laboratory's own task."
    ),
    msg!(
        "fast: 1 KiB, cached. slow: 4 MiB, read at 64 KiB per 5 ms. blocking: 256 KiB, dropped from \
    the page cache before each request."
    ),
    msg!(
        "Blocking requests read a real file from a real disk, without an artificial sleep: the disk \
    decides the time, and it is part of the latency."
    ),
    msg!(
        "Closed loop: a waiting client sends no request. While a server stalls, few requests wait and \
    later ones are missing (coordinated omission), as are those in flight at the end: read the \
    rate and the maximum before p99."
    ),
    msg!(
        "All traffic uses loopback: receive processing is charged to the sender, and there is no \
    network latency."
    ),
    msg!(
        "Latency is measured by the client; one thread runs all clients, so a response may wait a \
    little before it is read."
    ),
    msg!("A run without a response of some kind has a rate of 0 and no latency for it."),
    msg!(
        "Fairness is that of the fast connections: Jain's index of their responses (1: all equal), and \
    the smallest count divided by the largest."
    ),
    msg!(
        "CPU and switches are those of all server threads, slow requests included, divided by the \
    complete responses of every kind."
    ),
    msg!("Serving threads compete for their cores: on one core more threads are not faster."),
    msg!(
        "Where a reactor must not block, it checks before each file whether it is cached, and offloads \
    disk reads to the pool."
    ),
    msg!("Overlapping ranges do not rank."),
];

impl Report for Topologies {
    /// Lists every combination in one table.
    fn to_csv(&self) -> String {
        self.table_of_all().to_csv()
    }

    fn to_markdown(&self) -> String {
        let notes = self.notes().into_iter().chain(skipped_lines(&self.skipped));
        let notes: Vec<_> = notes.map(|note| format!("- {note}\n")).collect();
        let (blocked, all) = (self.blocked_jobs_table(), self.table_of_all());
        format!("{}\n{}\n{}", blocked.to_markdown(), all.to_markdown(), notes.concat())
    }

    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "server_cores": self.cores,
            "seed": self.seed,
            "notes": self.notes(),
            "skipped": self.skipped.iter().map(|(subject, reason)| json!({ "subject": subject, "reason": reason }))
                .collect::<Vec<_>>(),
            "blocked_jobs": self.blocked_jobs.iter().map(blocked_job_to_json).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row_to_json).collect::<Vec<_>>(),
            "rankings": self.groups().map(|rows| ranking(&rows)).collect::<Vec<_>>(),
        })
    }

    fn section(&self) -> Section {
        charts::section(self)
    }
}

impl Topologies {
    /// Returns the notes of the tables.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let runs = self.rows.iter().map(|row| row.timed.len()).max().unwrap_or(0);
        let mut notes: Vec<_> = NOTES.iter().map(|&note| tr(note)).collect();
        let (cold, asked) = self.cold();
        if asked > 0 {
            notes.push(text!(
                "Found cold at the request: {cold} of {asked} files.",
                cold = cold,
                asked = asked
            ));
        }
        let share = 100.0 * self.rows.iter().map(clients_share).fold(0.0, f64::max);
        notes.push(text!(
            "The server has {cores} of the machine's cores, the clients have one; they used it by \
             up to {share} %.",
            cores = self.cores,
            share = format!("{share:.0}")
        ));
        notes
            .push(text!("Figures are median [range] of {runs} runs in random order.", runs = runs));
        if cfg!(debug_assertions) {
            notes.push(text!("Built without optimisation: the server's own work costs more."));
        }
        notes
    }

    /// Returns the number of requests whose file was verified as not cached, and of all.
    fn cold(&self) -> (u64, u64) {
        let runs = self.rows.iter().flat_map(|row| &row.timed).map(|run| &run.blocking);
        runs.fold((0, 0), |(cold, asked), stats| (cold + stats.seen_cold, asked + stats.requests))
    }
}

/// Returns the share of their core that the clients used.
fn clients_share(row: &TopologyRow) -> f64 {
    row.median_range(|run| run.per_second(run.clients_cpu / 1e9)).median
}

fn blocked_job_to_json(job: &BlockedJob) -> Value {
    json!({
        "model": job.model.name(),
        "topology": job.topology.name(),
        "requests_while_blocked": job.requests,
        "responses_while_blocked": job.responses,
        "threads": job.threads,
    })
}

fn row_to_json(row: &TopologyRow) -> Value {
    let samples = row.timed.iter().map(|run| {
        json!({
            "seconds": run.seconds,
            "fast": stats_to_json(&run.fast), "slow": stats_to_json(&run.slow),
            "blocking": stats_to_json(&run.blocking),
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
        "blocking_per_second": row.median_range(|run| run.per_second(run.blocking.responses())).to_json(),
        "blocking": figures(row, blocking),
        "slow_bytes_per_second": row.median_range(|run| run.per_second(run.slow.bytes)).to_json(),
        "cpu_us_per_response": row.median_range(|run| run.per_response(run.cpu / 1000.0)).to_json(),
        "voluntary_switches_per_response": row.median_range(|run| run.per_response(run.voluntary)).to_json(),
        "involuntary_switches_per_response": row.median_range(|run| run.per_response(run.involuntary)).to_json(),
        "samples": samples.collect::<Vec<_>>(),
    })
}

/// Returns the latencies in microseconds, `null` without responses, and the fairness.
fn figures(row: &TopologyRow, of: fn(&LoadSample) -> &ResponseStats) -> Value {
    let latency =
        |figure: fn(&ResponseStats) -> f64| row.latency(of, figure).map(MedianRange::to_json);
    let fairness =
        |figure: fn(&ResponseStats) -> f64| row.median_range(|run| figure(of(run))).to_json();
    json!({
        "p50_us": latency(|stats| stats.p50),
        "p99_us": latency(|stats| stats.p99),
        "p99_9_us": latency(|stats| stats.p999),
        "max_us": latency(|stats| stats.max),
        "jain": fairness(ResponseStats::jain),
        "min_max_ratio": fairness(ResponseStats::min_max_ratio),
    })
}

fn stats_to_json(stats: &ResponseStats) -> Value {
    json!({
        "by_connection": stats.by_connection, "bytes": stats.bytes, "requests": stats.requests,
        "seen_cold": stats.seen_cold,
        "p50_us": stats.p50, "p99_us": stats.p99, "p99_9_us": stats.p999,
        "max_us": stats.max,
    })
}

impl fmt::Display for Topologies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}", tr(BLOCKED_JOBS), self.blocked_jobs_table().to_text())?;
        for rows in self.groups() {
            let (fast, beside) = (table(&FAST_COLUMNS, &rows), table(&SERVER_COLUMNS, &rows));
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
