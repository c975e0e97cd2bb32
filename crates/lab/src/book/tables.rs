//! The tables of a book, made from reports.

use karez_transfer::Via;
use serde_json::Value;

use super::reports::{Reports, range};
use crate::all::answer::{HEADING, METHODS, NONE, ratio, short};
use crate::claims::Claim;
use crate::language::{msg, text, tr, tr_word};
use crate::table::{Table, grouped};

/// Connections of the table of requests: as many as every model serves.
const CONNECTIONS: u64 = 1000;

/// Returns a table as Markdown; `None` if the reports lack it.
pub(super) fn table(reports: &Reports<'_>, name: &str) -> Option<String> {
    let table = match name.split_once(' ').unwrap_or((name, "")) {
        ("classic", _) => classic(reports),
        ("idle-descriptors", _) => idle_descriptors(reports),
        ("requests", _) => requests(reports),
        ("blocked-jobs", _) => blocked_jobs(reports),
        ("zero-copy", _) => zero_copy(reports),
        ("trace", layout) => trace(reports, layout)?,
        ("kernels", _) => return kernels(reports, false),
        ("kernels-by-time", _) => return kernels(reports, true),
        _ => return None,
    };
    (!table.rows.is_empty()).then(|| table.to_markdown())
}

/// Collects the rows that are complete.
fn filled(heading: Vec<&'static str>, rows: impl Iterator<Item = Option<Vec<String>>>) -> Table {
    Table { heading, rows: rows.flatten().collect(), ..Table::default() }
}

fn word(row: &Value, field: &str) -> Option<String> {
    row[field].as_str().map(str::to_owned)
}

fn count(value: &Value) -> Option<String> {
    value.as_u64().map(grouped)
}

/// The cost of poll, select and epoll beside the published figures.
fn classic(reports: &Reports<'_>) -> Table {
    let heading = vec![
        msg!("descriptors"),
        msg!("model"),
        msg!("CPU s, 100,000 operations"),
        msg!("published"),
    ];
    let rows = reports.rows("models", "classic").map(|row| {
        let seconds = range(&row["cpu_seconds"]).map(|seconds| format!("{seconds:.3}"));
        let (descriptors, model) = (count(&row["descriptors"])?, word(row, "model")?);
        Some(vec![descriptors, model, seconds?, row["published"].to_string()])
    });
    filled(heading, rows)
}

fn idle_descriptors(reports: &Reports<'_>) -> Table {
    let heading = vec![msg!("model"), msg!("CPU ns per idle descriptor [95 %]")];
    let rows = reports.rows("models", "slopes").map(|row| {
        let slope = &row["cpu_ns_per_idle_descriptor"];
        let number = |name: &str| Some(format!("{:.2}", slope[name].as_f64()?));
        let (fitted, low, high) = (number("fitted")?, number("low")?, number("high")?);
        Some(vec![word(row, "model")?, format!("{fitted} [{low}..{high}]")])
    });
    filled(heading, rows)
}

/// The calls and the CPU time of a request, with one and with 100 active connections.
fn requests(reports: &Reports<'_>) -> Table {
    let heading = vec![
        msg!("model"),
        msg!("active"),
        msg!("calls/request"),
        msg!("CPU us/request"),
        msg!("threads"),
    ];
    let rows = reports.rows("models", "requests").map(|row| {
        if row["connections"] != CONNECTIONS {
            return None;
        }
        let calls = row["calls_per_request"].as_f64().map(|calls| format!("{calls:.2}"));
        let threads = row["threads"].as_object()?.values().filter_map(Value::as_u64).sum();
        Some(vec![
            word(row, "model")?,
            count(&row["active"])?,
            calls.unwrap_or_else(|| NONE.to_owned()),
            range(&row["cpu_us_per_request"])?.to_string(),
            grouped(threads),
        ])
    });
    filled(heading, rows)
}

/// The responses while a job is blocked.
fn blocked_jobs(reports: &Reports<'_>) -> Table {
    let heading = vec![
        msg!("model × topology"),
        msg!("threads"),
        msg!("requests while blocked"),
        msg!("responses while blocked"),
    ];
    let rows = reports.rows("topologies", "blocked_jobs").map(|row| {
        let threads = row["threads"].as_object()?.iter();
        let threads: Vec<_> = threads.map(|(name, count)| format!("{count} {name}")).collect();
        Some(vec![
            format!("{} × {}", word(row, "model")?, word(row, "topology")?),
            threads.join(", "),
            count(&row["requests_while_blocked"])?,
            count(&row["responses_while_blocked"])?,
        ])
    });
    filled(heading, rows)
}

/// The figures of the textbooks beside the measured ones, per chunk.
fn zero_copy(reports: &Reports<'_>) -> Table {
    let rows: Vec<_> = reports.rows("vias", "rows").collect();
    // Copy-on-write sends nothing, so it is a claim of its own.
    let methods = METHODS.iter().filter(|method| method.via != Via::Cow).map(|method| {
        let row = |cache: &str| {
            let is_wanted = |row: &&&Value| {
                row["via"] == method.via.name() && is_largest_on_loopback(row, cache, &rows)
            };
            rows.iter().find(is_wanted).copied()
        };
        let (warm, cold) = (row("warm")?, row("cold")?);
        let [switches, copies, dma, _] = method.claimed;
        Some(vec![
            tr(method.name),
            tr_word(switches),
            per_chunk(warm)?,
            tr_word(copies),
            short(copies_before_receiver(warm)?),
            tr_word(dma),
            text!(
                "{times} ({cache})",
                times = short(share_of(&cold["disk"]["bytes"], cold)?),
                cache = tr_word("cold")
            ),
        ])
    });
    filled(HEADING[..7].to_vec(), methods)
}

/// Whether a row is that of the largest file over loopback with this state of the cache.
pub(super) fn is_largest_on_loopback(row: &Value, cache: &str, rows: &[&Value]) -> bool {
    let largest = rows.iter().filter_map(|row| row["bytes"].as_u64()).max();
    row["transport"] == "lo" && row["cache"] == cache && row["bytes"].as_u64() == largest
}

/// Returns how often a number of bytes contains the file of a row.
pub(super) fn share_of(bytes: &Value, row: &Value) -> Option<f64> {
    Some(ratio(bytes.as_u64()?, row["bytes"].as_u64()?))
}

fn copies_before_receiver(row: &Value) -> Option<f64> {
    let copies = ["file_to_user", "to_socket", "late"];
    copies.iter().map(|field| share_of(&row["copies"][field], row)).sum()
}

/// Length of the chunks of the transfers (`karez lab vias --chunk`).
const CHUNK: u64 = 64 << 10;

fn per_chunk(row: &Value) -> Option<String> {
    let chunks = row["bytes"].as_u64()?.div_ceil(CHUNK);
    Some(short(ratio(row["mode_switches"].as_u64()?, chunks)))
}

/// The system calls of one request, for a model and a via; of a cached file.
fn trace(reports: &Reports<'_>, layout: &str) -> Option<Table> {
    let (model, via) = layout.split_once(' ')?;
    let trace = reports.trace(|request| {
        request["model"] == model
            && request["effective_via"] == via
            && request["topology"] == "single"
            && request["pages_in_memory"] == request["pages"]
    })?;
    let calls = trace["totals"]["by_name"].as_object()?.iter();
    let rows = calls.map(|(name, of_it)| {
        Some(vec![format!("`{name}`"), count(&of_it["calls"])?, count(&of_it["bytes"])?])
    });
    Some(filled(vec![msg!("system call"), msg!("calls"), msg!("bytes")], rows))
}

/// The verdict on every claim by kernel, with its condition where the kernels differ; of those whose
/// verdict follows from times, or of the others.
fn kernels(reports: &Reports<'_>, by_time: bool) -> Option<String> {
    let kernels = reports.kernels();
    let columns: Vec<_> = kernels.iter().map(|kernel| format!("Linux {kernel}")).collect();
    let mut page = format!("| {} | {} |\n", tr(msg!("claim")), columns.join(" | "));
    page += &format!("|---|{}\n", "---|".repeat(kernels.len()));
    for claim in Claim::all().iter().filter(|claim| claim.is_timed() == by_time) {
        let found: Vec<_> =
            kernels.iter().map(|kernel| reports.claim_on(kernel, claim.number)).collect();
        let verdicts: Vec<_> = found.iter().flatten().map(|finding| &finding.verdict).collect();
        let Some(first) = verdicts.first() else { continue };
        let is_same = verdicts.iter().all(|verdict| verdict == first);
        let cells = found.iter().map(|finding| match finding {
            Some(finding) if is_same => tr(finding.verdict.name()),
            Some(finding) => format!("**{}**", finding.verdict),
            None => NONE.to_owned(),
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        page += &format!("| {}. {} | {cells} |\n", claim.number, tr(claim.statement));
    }
    (!kernels.is_empty()).then_some(page)
}
