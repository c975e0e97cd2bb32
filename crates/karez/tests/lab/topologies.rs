//! `karez lab topologies`: schema, and the exact effect of a blocked job.

use karez_reactor::{ALLOWED, Model, Topology};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Returns a report of a few short runs.
fn report(arguments: &[&str]) -> Value {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_karez"));
    command.args(["lab", "topologies", "--runs", "1", "--time-per-run", "20ms", "--json", "-"]);
    command.arg("--dir").arg(place.path()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "a file was left");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for skipped in report["skipped"].as_array().unwrap() {
        println!("skipped: {skipped}");
    }
    report
}

/// A blocked job stalls no connection if it has a thread of its own, and all of them if the same
/// thread sends the responses.
#[test]
fn blocked_job_stalls_only_topology_single() {
    let models = Model::ALL.iter().flat_map(|model| ["--model", model.name()]);
    let mut arguments: Vec<_> = models.collect();
    // The timed runs are not tested here.
    arguments.extend(["--fast", "1", "--slow", "0", "--blocking", "0"]);
    let report = report(&arguments);
    let jobs = report["blocked_jobs"].as_array().unwrap();
    for one in jobs {
        let asked = one["requests_while_blocked"].as_u64().unwrap();
        let answered = one["responses_while_blocked"].as_u64().unwrap();
        assert_eq!(asked, 16);
        let waits = one["topology"] == "single" && one["model"] != "blocking";
        assert_eq!(answered, if waits { 0 } else { asked }, "{one}");
    }
    let skipped = report["skipped"].as_array().unwrap().len();
    assert!(jobs.len() == ALLOWED.len() || skipped > 0, "{} layouts", jobs.len());
}

#[test]
fn every_layout_serves_every_mix() {
    let report = report(&["--fast", "4", "--slow", "2", "--blocking", "2"]);
    assert_eq!(report["schema"], "karez.lab.topologies/2");
    assert!(report["machine"]["kernel"].is_string());
    assert!(report["server_cores"].is_number());
    let rows = report["rows"].as_array().unwrap();
    let cold = rows.iter().any(|row| row["clients"]["blocking"] == 2);
    assert!(cold || report["skipped"].as_array().unwrap().iter().any(|it| it["subject"] != ""));
    let layouts = Topology::ALL.len() + 2;
    assert_eq!(rows.len(), layouts * if cold { 3 } else { 2 }, "{:?}", report["skipped"]);
    assert_eq!(report["rankings"].as_array().unwrap().len(), rows.len() / layouts);
    for row in rows {
        let spreads = ["fast_per_second", "blocking_per_second", "slow_bytes_per_second"];
        let more = [
            "cpu_us_per_response",
            "voluntary_switches_per_response",
            "involuntary_switches_per_response",
        ];
        for name in spreads.into_iter().chain(more) {
            assert!(row[name]["median"].is_number(), "{row:#}");
        }
        for kind in ["fast", "blocking"] {
            for name in ["jain", "min_max_ratio"] {
                assert!(row[kind][name]["high"].is_number(), "{row:#}");
            }
            for name in ["p50_us", "p99_us", "p99_9_us", "max_us"] {
                let there = row[kind][name]["high"].is_number();
                let any = sum(&row["samples"][0], kind) > 0;
                assert!(row[kind].get(name).is_some() && there == any, "{row:#}");
            }
        }
        expect_sample(row, &row["samples"][0]);
    }
}

/// Returns the number of responses of a kind.
fn sum(sample: &Value, kind: &str) -> u64 {
    let each = sample[kind]["by_connection"].as_array().unwrap().iter();
    each.map(|count| count.as_u64().unwrap()).sum()
}

fn expect_sample(row: &Value, sample: &Value) {
    let [fast, slow, blocking] = ["fast", "slow", "blocking"].map(|kind| {
        let each = sample[kind]["by_connection"].as_array().unwrap();
        assert_eq!(each.len() as u64, row["clients"][kind].as_u64().unwrap(), "{row:#}");
        sum(sample, kind)
    });
    let times = |kind: &str| {
        let names = ["p50_us", "p99_us", "p99_9_us", "max_us"];
        names.map(|name| sample[kind][name].as_f64().unwrap())
    };
    assert!(times("fast").is_sorted() && times("blocking").is_sorted(), "{row:#}");
    assert_eq!(times("fast")[3] > 0.0, fast > 0, "{row:#}");
    assert_eq!(times("blocking")[3] > 0.0, blocking > 0, "{row:#}");
    // Each connection has at most one pending request.
    for (kind, answered) in [("fast", fast), ("slow", slow), ("blocking", blocking)] {
        let open = sample[kind]["requests"].as_u64().unwrap() - answered;
        assert!(open <= row["clients"][kind].as_u64().unwrap(), "{row:#}");
    }
    assert!(sample["blocking"]["seen_cold"].as_u64() <= sample["blocking"]["requests"].as_u64());
    let threads = sample["threads"].as_object().unwrap();
    let count = |name: &str| threads.get(name).map_or(0, |count| count.as_u64().unwrap());
    match (row["model"].as_str().unwrap(), row["topology"].as_str().unwrap()) {
        ("blocking", _) => assert!(count("karez-accept") == 1, "{row:#}"),
        (_, "single") => assert_eq!((count("karez"), count("karez-work")), (1, 0), "{row:#}"),
        (_, "workers") => assert!(count("karez") == 1 && count("karez-work") >= 1, "{row:#}"),
        (_, "multi") => assert!(count("karez") >= 2 && count("karez-main") == 1, "{row:#}"),
        _ => assert!(count("karez") >= 2 && count("karez-main") == 0, "{row:#}"),
    }
}

#[test]
fn absent_client_kind_is_in_no_mix() {
    let report = report(&["--model", "poll", "--topology", "workers", "--slow", "0"]);
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["clients"]["slow"] == 0));
    assert!(rows.len() <= 2 && !rows.is_empty(), "alone, and with those who block");
    assert!(rows.iter().all(|row| row["model"] == "poll" && row["topology"] == "workers"));
}
