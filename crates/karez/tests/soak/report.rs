//! The report of a run, as text and as JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::run::Run;
use crate::samples::{Sample, Slope, slope};
use crate::server::Server;

type Measure = (&'static str, fn(&Sample) -> f64);

/// Depends on other processes, so it fails no run.
const PSS: &str = "PSS, KiB";

const MEASURES: [Measure; 6] = [
    (PSS, |sample| sample.pss_kib),
    ("anonymous memory, KiB", |sample| sample.anonymous_kib),
    ("threads", |sample| sample.threads),
    ("sockets", |sample| sample.sockets),
    ("open files of the site", |sample| sample.files),
    ("other descriptors", |sample| sample.others),
];

/// A slope is compared with its error in a run with at least so many rests behind its first quarter.
const ENOUGH: usize = 30;
/// Memory that grows by less in the run is at rest.
const NOISE_KIB: f64 = 2048.0;
/// So is a count: a pool has its last threads only when all others were busy at once.
const NOISE_COUNT: f64 = 2.0;

/// Returns the report. Fails the run if memory or descriptors grow.
pub fn write(run: &Run, server: &Server, samples: &[Sample], time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let last = samples.last().map(|sample| sample.pid);
    // Those of the last process at rest, behind the first quarter; the final one has waited for idle files.
    let rests: Vec<&Sample> = samples[..samples.len().saturating_sub(1)]
        .iter()
        .filter(|sample| sample.at_rest && Some(sample.pid) == last && sample.at > seconds / 4.0)
        .collect();
    let requests = run.requests.load(std::sync::atomic::Ordering::Relaxed);
    let mut text = String::new();
    let options = &run.options;
    let mut line = |name: &str, value: String| writeln!(text, "{name:>52}: {value}").unwrap();
    line("seed", options.seed.to_string());
    line("seconds", format!("{seconds:.0}"));
    line("right responses", requests.to_string());
    for (label, count) in run.counts() {
        line(label, count.to_string());
    }
    line("failures", run.failures().len().to_string());
    let mut slopes = Vec::new();
    for (name, measure) in MEASURES {
        let points: Vec<_> = rests.iter().map(|sample| (sample.at, measure(sample))).collect();
        let most = samples.iter().map(measure).fold(0.0, f64::max);
        let Some(found) = slope(&points) else { continue };
        let Slope { mean, per_hour, error } = found;
        line(
            name,
            format!(
                "at rest {mean:.1}, slope {per_hour:.2} ± {error:.2} an hour; at most {most:.0}"
            ),
        );
        let span = (seconds * 0.75) / 3600.0;
        let noise = if name.contains("KiB") { NOISE_KIB } else { NOISE_COUNT };
        let grows = per_hour * span > noise && per_hour > 3.0 * error;
        if name != PSS && points.len() >= ENOUGH && grows {
            run.fail(format!("{name} grows by {per_hour:.2} ± {error:.2} an hour"));
        }
        slopes.push(json!({ "measure": name, "rests": points.len(), "mean": mean,
            "per_hour": per_hour, "standard_error": error, "most": most }));
    }
    let (printed, _) = server.printed();
    let is_of_a_client = |kind: &String| kind.starts_with("karez: ...:");
    for (kind, count) in printed {
        if is_of_a_client(&kind) && run.failures().is_empty() {
            continue;
        }
        line("printed", format!("{count} × {kind}"));
    }
    if let Some(path) = &options.json {
        let samples: Vec<Value> = samples.iter().map(sample_json).collect();
        let document = json!({
            "seed": options.seed, "seconds": seconds, "flags": options.flags,
            "clients": options.clients, "rate": options.rate, "right": requests,
            "counts": run.counts(), "failures": run.failures(), "slopes": slopes, "samples": samples,
        });
        fs::write(path, format!("{document:#}\n")).unwrap();
    }
    text
}

fn sample_json(sample: &Sample) -> Value {
    json!([
        (sample.at * 10.0).round() / 10.0,
        sample.pid,
        sample.at_rest,
        sample.pss_kib,
        sample.anonymous_kib,
        sample.threads,
        sample.files,
        sample.sockets,
        sample.others,
    ])
}
