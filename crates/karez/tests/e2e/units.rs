//! The unit files of `packaging/systemd`: systemd reads them, and the service is confined.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::https::text;
use crate::programs::has;
use crate::server::KAREZ;

/// The highest exposure that is permitted: 1.5 in the scale of systemd-analyze.
const THRESHOLD: &str = "--threshold=15";

/// What a systemd that is older than the unit does not know.
const NEWER: [&str; 2] = ["notify-reload", "cachestat"];

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").join(name)
}

#[test]
fn the_service_is_confined() {
    if !has("systemd-analyze") {
        return;
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", THRESHOLD])
        .arg(unit("karez.service"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.is_empty() {
        println!("skipped: this systemd-analyze has no --offline");
        return;
    }
    assert!(output.status.success(), "{printed}");
}

#[test]
fn systemd_reads_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let names = ["karez.service", "karez.socket"];
    for name in names {
        let unit = fs::read_to_string(unit(name)).unwrap();
        // The program and its manual need not be installed.
        let lines = unit.replace("/usr/bin/karez", KAREZ);
        let lines: Vec<_> =
            lines.lines().filter(|line| !line.starts_with("Documentation=")).collect();
        fs::write(directory.path().join(name), lines.join("\n") + "\n").unwrap();
    }
    let units = names.map(|name| directory.path().join(name));
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", text(&units[0]), text(&units[1])])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    // Units of the machine itself may have faults, too.
    let own = printed.lines().filter(|line| line.contains("karez"));
    let faults: Vec<_> = own.filter(|line| !NEWER.iter().any(|name| line.contains(name))).collect();
    assert!(faults.is_empty(), "{printed}");
}
