//! `karez lab models`: schema, and exact system calls of wake-ups and requests.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Calls that an allocator makes at any time.
const MEMORY: [&str; 5] = ["mprotect", "brk", "madvise", "mmap", "munmap"];

#[test]
fn wake_ups_and_requests_make_exactly_their_calls() {
    let place = tempfile::tempdir().unwrap();
    let [json, csv, markdown] = ["r.json", "r.csv", "r.md"].map(|name| place.path().join(name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_karez"));
    command.args(["lab", "models", "--quick", "--runs", "2"]);
    command.args(["--descriptors", "10", "--descriptors", "100"]);
    command.args(["--active", "1", "--active", "5", "--active", "50"]);
    command.arg("--json").arg(&json).arg("--csv").arg(&csv).arg("--markdown").arg(&markdown);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["schema"], "karez.lab.models/2");
    assert!(report["machine"]["kernel"].is_string());
    for skipped in report["skipped"].as_array().unwrap() {
        println!("skipped: {skipped}");
    }
    let wake_ups = rows(&report, "rows", 7);
    let requests = rows(&report, "requests", 10);
    wake_ups.iter().for_each(expect_wake_up);
    requests.iter().for_each(expect_request);
    assert_eq!(report["classic"].as_array().unwrap().len(), 12);
    assert_eq!(report["classic"][0]["published"], 1.12);
    assert!(report["classic"][11]["cpu_seconds"].is_null(), "10,000 were not tried");
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(&csv), wake_ups.len() + requests.len() + 1);
    assert!(lines(&markdown) > wake_ups.len() + requests.len() + 4);
}

/// Returns the rows of one kind, five per model unless something was skipped, and checks that there
/// are five rankings.
fn rows<'a>(report: &'a Value, name: &str, models: usize) -> &'a [Value] {
    let rows = report[name].as_array().unwrap();
    let skipped = report["skipped"].as_array().unwrap().len();
    assert!(rows.len() == models * 5 || skipped > 0, "{name}: {}", rows.len());
    let rankings = if name == "requests" { "request_rankings" } else { "rankings" };
    assert_eq!(report[rankings].as_array().unwrap().len(), 5);
    for row in rows {
        assert_eq!(row["samples"].as_array().unwrap().len(), 2);
    }
    rows
}

fn expect_wake_up(row: &Value) {
    let (count, active) = (&row["descriptors"], &row["active"]);
    let expected = match row["model"].as_str().unwrap() {
        _ if row["calls"].is_null() => return,
        "nonblocking" => json!({ "read": count.as_f64() }),
        "select" => json!({ "pselect6": 1.0, "read": active.as_f64() }),
        "poll" => json!({ "ppoll": 1.0, "read": active.as_f64() }),
        "epoll-level" | "epoll-edge" => json!({ "epoll_pwait": 1.0, "read": active.as_f64() }),
        "signal" => json!({ "rt_sigtimedwait": active.as_f64(), "read": active.as_f64() }),
        _ => return,
    };
    assert_eq!(row["calls"], expected, "{row:#}");
}

/// Checks that all fields of the schema exist and the calls are those of the model.
fn expect_request(row: &Value) {
    for figure in ["us_per_request", "cpu_us_per_request", "switches_per_request"] {
        assert!(row[figure]["median"].is_number(), "{row:#}");
    }
    assert!(row["threads"].as_object().is_some_and(|threads| !threads.is_empty()), "{row:#}");
    let Some(calls) = row["calls"].as_object() else { return };
    let calls = calls.iter().map(|(name, count)| (&**name, count.as_f64().unwrap()));
    let mut calls: BTreeMap<_, _> = calls.collect();
    for name in MEMORY {
        calls.remove(name);
    }
    let mut count = |name: &str| calls.remove(name).unwrap_or(0.0);
    let (received, sent) = (count("recvfrom"), count("sendto"));
    let (waits, most) = match row["model"].as_str().unwrap() {
        "select" => (count("pselect6"), 1.0),
        "poll" => (count("ppoll"), 1.0),
        "epoll-level" => (count("epoll_pwait"), 1.0),
        // It also reports the space that a response frees when it is read.
        "epoll-edge" => (count("epoll_pwait"), 2.0),
        "uring" => {
            assert_eq!((received, sent), (0.0, 0.0), "{row:#}");
            assert!(count("io_uring_enter") > 0.0 && calls.is_empty(), "{row:#}");
            return;
        }
        "posix-aio" => {
            // Threads of glibc make the calls.
            assert_eq!((received, sent), (0.0, 0.0), "{row:#}");
            return assert!(count("read") >= 1.0 && count("write") >= 1.0, "{row:#}");
        }
        "blocking" => {
            // Threads that allocate at the same time may wait for each other. Where one connection
            // asks, these are two at most: the thread of the one that was answered before, which
            // gets no CPU after its send on a loaded machine. Each waits or wakes.
            let most = if row["active"] == 1 { 2.0 } else { f64::MAX };
            assert!(count("futex") <= most, "{row:#}");
            assert_eq!(row["threads"]["karez-conn"], row["connections"], "a thread for each");
            return assert!((received, sent) == (1.0, 1.0) && calls.is_empty(), "{row:#}");
        }
        "nonblocking" => return assert!(received >= 1.0 && sent == 1.0, "{row:#}"),
        _ => return assert_eq!((received, sent), (1.0, 1.0), "{row:#}"),
    };
    assert!((received, sent) == (1.0, 1.0) && calls.is_empty(), "{row:#}");
    // A single active connection needs a wait for each request.
    let least = if row["active"] == 1 { 1.0 } else { f64::MIN_POSITIVE };
    assert!((least..=most).contains(&waits), "{row:#}");
}

#[test]
fn thread_per_connection_is_refused_for_thousands() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_karez"));
    command.args(["lab", "models", "--quick", "--runs", "1", "--model", "blocking"]);
    command.args(["--descriptors", "10", "--descriptors", "1025", "--json", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 0, "it is no demultiplexer");
    assert_eq!(report["requests"].as_array().unwrap().len(), 1);
    let skipped = &report["skipped"][0];
    assert_eq!(skipped["subject"], "requests of blocking on 1025 connections");
    assert!(skipped["reason"].as_str().unwrap().contains("not possible"), "{skipped}");
}
