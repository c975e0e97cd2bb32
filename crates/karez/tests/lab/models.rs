//! `karez lab models`: its form, and the system calls of a wake-up, which are exact.

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
    assert_eq!(lines(&csv), rows.len() + 1);
    assert!(lines(&markdown) > rows.len() + 2);
}
