//! `karez lab models`: its form, and the system calls of a wake-up and of a request, which are exact.

use serde_json::{Value, json};
use std::fs;
use std::process::Command;

#[test]
fn a_wake_up_makes_its_calls_and_no_other() {
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
    assert_eq!(report["schema"], "karez.lab.models/1");
    assert!(report["machine"]["kernel"].is_string());
    let rows = report["rows"].as_array().unwrap();
    for skipped in report["skipped"].as_array().unwrap() {
        println!("skipped: {skipped}");
    }
    for row in rows.iter().filter(|row| !row["calls"].is_null()) {
        let (count, active) = (&row["descriptors"], &row["active"]);
        let expected = match row["model"].as_str().unwrap() {
            "nonblocking" => json!({ "read": count.as_f64() }),
            "select" => json!({ "pselect6": 1.0, "read": active.as_f64() }),
            "poll" => json!({ "ppoll": 1.0, "read": active.as_f64() }),
            "epoll-level" | "epoll-edge" => {
                json!({ "epoll_pwait": 1.0, "read": active.as_f64() })
            }
            "signal" => json!({ "rt_sigtimedwait": active.as_f64(), "read": active.as_f64() }),
            _ => continue,
        };
        assert_eq!(row["calls"], expected, "{row:#}");
        assert_eq!(row["samples"].as_array().unwrap().len(), 2);
    }
    let skipped = report["skipped"].as_array().unwrap().len();
    assert!(rows.len() == 7 * 5 || skipped > 0, "{} rows", rows.len());
    assert_eq!(report["classic"].as_array().unwrap().len(), 12);
    assert_eq!(report["classic"][0]["published"], 1.12);
    assert!(report["classic"][11]["cpu_seconds"].is_null(), "10,000 were not tried");
    assert_eq!(report["rankings"].as_array().unwrap().len(), 5);
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    let requests = report["requests"].as_array().unwrap();
    assert_eq!(lines(&csv), rows.len() + requests.len() + 1);
    assert!(lines(&markdown) > rows.len() + requests.len() + 4);
    let skipped = report["skipped"].as_array().unwrap().len();
    assert!(requests.len() == 10 * 5 || skipped > 0, "{} rows of requests", requests.len());
    assert_eq!(report["request_rankings"].as_array().unwrap().len(), 5);
    requests.iter().for_each(expect_request);
}

/// What an allocator calls when it likes.
const MEMORY: [&str; 5] = ["mprotect", "brk", "madvise", "mmap", "munmap"];

/// Every field that the schema promises is there, and the calls are those of the model.
fn expect_request(row: &Value) {
    for figure in ["us_per_request", "cpu_us_per_request", "switches_per_request"] {
        assert!(row[figure]["median"].is_number(), "{row:#}");
    }
    assert_eq!(row["samples"].as_array().unwrap().len(), 2);
    assert!(row["threads"].as_object().is_some_and(|threads| !threads.is_empty()), "{row:#}");
    let (model, connections) = (row["model"].as_str().unwrap(), &row["connections"]);
    let Some(calls) = row["calls"].as_object() else { return };
    let count = |name: &str| calls.get(name).map_or(0.0, |count| count.as_f64().unwrap());
    let names: Vec<_> = calls.keys().map(String::as_str).collect();
    // One that asks alone has a wait for each of its requests.
    let alone = row["active"] == 1;
    let expect = |wait: &str, most: f64| {
        assert_eq!((count("recvfrom"), count("sendto")), (1.0, 1.0), "{row:#}");
        let known =
            |name: &&str| ["recvfrom", "sendto", wait].contains(name) || MEMORY.contains(name);
        assert!(names.iter().all(known), "{row:#}");
        let waits = count(wait);
        assert!(waits > 0.0 && waits <= most, "{row:#}");
        assert!(!alone || waits >= 1.0, "{row:#}");
    };
    match model {
        "select" => expect("pselect6", 1.0),
        "poll" => expect("ppoll", 1.0),
        "epoll-level" => expect("epoll_pwait", 1.0),
        // It is told of the room that an answer leaves when it is read, too.
        "epoll-edge" => expect("epoll_pwait", 2.0),
        "blocking" => {
            assert_eq!(row["calls"], json!({ "recvfrom": 1.0, "sendto": 1.0 }));
            assert_eq!(row["threads"]["karez-conn"], *connections, "a thread for each");
        }
        "uring" => {
            let known = |name: &&str| *name == "io_uring_enter" || MEMORY.contains(name);
            assert!(count("io_uring_enter") > 0.0 && names.iter().all(known), "{row:#}");
        }
        "posix-aio" => {
            // The threads of glibc make the calls.
            assert_eq!(count("recvfrom") + count("sendto"), 0.0, "{row:#}");
            assert!(count("read") >= 1.0 && count("write") >= 1.0, "{row:#}");
        }
        "nonblocking" => {
            assert_eq!(count("sendto"), 1.0, "{row:#}");
            assert!(count("recvfrom") >= 1.0, "{row:#}");
        }
        _ => {}
    }
}

#[test]
fn what_needs_a_thread_for_each_is_refused_for_thousands_and_says_so() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_karez"));
    command.args(["lab", "models", "--quick", "--runs", "1", "--model", "blocking"]);
    command.args(["--descriptors", "10", "--descriptors", "1025", "--json", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 0, "it is no demultiplexer");
    assert_eq!(report["requests"].as_array().unwrap().len(), 1);
    let skipped = &report["skipped"][0];
    assert_eq!(skipped["what"], "requests of blocking on 1025 connections");
    assert!(skipped["why"].as_str().unwrap().contains("refused"), "{skipped}");
}
