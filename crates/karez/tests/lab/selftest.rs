//! `karez lab selftest` and `karez lab vias`: output, exit status and cleanup.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::{KAREZ, karez};

/// Creates a directory on a disk that all users can access.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    place
}

fn selftest(command: &mut Command, directory: &Path) -> (Output, Value) {
    command.args(["lab", "selftest", "--quick", "--json", "-", "--dir"]).arg(directory);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr))
    });
    (output, report)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that all fields of the schema exist and the verdicts follow from the figures.
fn expect_schema(report: &Value) {
    assert_eq!(report["schema"], "karez.lab.selftest/2");
    assert!(report["machine"]["kernel"].is_string());
    assert!(["T0", "T1", "T3"].contains(&report["tiers"]["best"].as_str().unwrap()));
    let checks = report["checks"].as_array().unwrap();
    let letters: String = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(letters, "abcdefghijklm");
    for check in checks {
        let figures = check["figures"].as_array().unwrap();
        let right = figures.iter().all(|figure| figure["expected"] == figure["counted"]);
        match check["verdict"].as_str().unwrap() {
            "ok" => assert!(right && !figures.is_empty(), "{check}"),
            "failed" => assert!(check["reason"].is_string()),
            "skipped" => println!("skipped: {}: {}", check["check"], check["reason"]),
            other => panic!("{other}"),
        }
    }
}

/// Returns the number of running processes of this program.
fn workers_of(program: &Path) -> usize {
    let is_it = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(is_it).count()
}

#[test]
fn selftest_passes_and_leaves_no_files_or_workers() {
    let place = place();
    let program = place.path().join("karez");
    fs::copy(KAREZ, &program).unwrap();
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let (output, report) = selftest(&mut Command::new(&program), &directory);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["passed"], true);
    expect_schema(&report);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "a file was left");
    assert_eq!(workers_of(&program), 0, "a worker was left");
}

#[test]
fn selftest_works_in_a_pid_namespace() {
    let may = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: no PID namespace may be made with unshare");
        return;
    }
    let place = place();
    let (_, outside) = selftest(&mut karez(), place.path());
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", KAREZ]);
    let (output, inside) = selftest(&mut command, place.path());
    assert!(output.status.success(), "{inside:#}");
    expect_schema(&inside);
    assert_eq!(inside["tiers"], outside["tiers"]);
    assert_eq!(inside["usable"], outside["usable"]);
}

#[test]
fn unprivileged_selftest_reports_tier_t0() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can switch users");
        return;
    }
    // Not below the target directory, which may not be accessible.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("karez");
    fs::copy(KAREZ, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    if !Command::new("setpriv").arg("--version").output().is_ok_and(|known| known.status.success())
    {
        println!("skipped: no setpriv");
        return;
    }
    let (output, report) = selftest(&mut command, place.path());
    assert!(output.status.success(), "{report:#}");
    expect_schema(&report);
    assert_eq!(report["tiers"]["best"], "T0");
    assert!(report["tiers"]["without_t1"].as_str().unwrap().contains("cap_bpf"), "{report}");
    assert_eq!(report["usable"]["kernel"], false);
    let count = fs::read_dir(place.path()).unwrap().count();
    assert_eq!(count, 1, "a file was left");
}

#[test]
fn invalid_probe_object_is_reported() {
    let place = place();
    let nonsense = place.path().join("probe.o");
    fs::write(&nonsense, b"nonsense").unwrap();
    let mut command = karez();
    let run = |probe: &Path, command: &mut Command| {
        command.args(["lab", "selftest", "--quick", "--probe"]).arg(probe);
        command.arg("--dir").arg(place.path()).output().unwrap()
    };
    let output = run(&nonsense, &mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("tier T0"), "{}", text(&output.stdout));
    let output = run(&place.path().join("missing"), &mut karez());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("read "), "{}", text(&output.stderr));
}

#[test]
fn vias_report_has_every_via_and_exact_counts() {
    let place = place();
    let [json, csv, markdown] = ["r.json", "r.csv", "r.md"].map(|name| place.path().join(name));
    let mut command = karez();
    command.args(["lab", "vias", "--size", "256k", "--runs", "2"]);
    for name in ["unix", "lo"] {
        command.args(["--transport", name]);
    }
    command.arg("--dir").arg(place.path()).arg("--json").arg(&json);
    command.arg("--csv").arg(&csv).arg("--markdown").arg(&markdown);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["schema"], "karez.lab.vias/2");
    let rows = report["rows"].as_array().unwrap();
    let (bytes, chunks) = (256 << 10, 4);
    for row in rows.iter().filter(|row| row["effective_via"] == row["via"]) {
        let calls = match row["via"].as_str().unwrap() {
            "sendfile" => ("sendfile", chunks),
            "splice" => ("splice", 2 * chunks),
            "copy" | "direct" => ("pread64", chunks),
            _ => ("sendto", chunks),
        };
        assert_eq!(row["transfer_calls"][calls.0], calls.1, "{row:#}");
        let times = match row["via"].as_str().unwrap() {
            "sendfile" | "splice" => 0,
            "copy" => 2,
            _ => 1,
        };
        let copies = &row["copies"];
        let sum = ["file_to_user", "to_socket", "late"].map(|name| copies[name].as_u64().unwrap());
        assert_eq!(sum.iter().sum::<u64>(), times * bytes, "{row:#}");
        assert!(row["nic_dma"].is_null(), "nothing of the kind was seen");
        assert_eq!(row["contradictions"].as_array().unwrap().len(), 0);
    }
    for via in karez_transfer::Direction::FileToSocket.vias() {
        let found = rows.iter().filter(|row| row["via"] == via.name()).count();
        let skipped = report["skipped"].as_array().unwrap().len();
        assert!(via.name() == "auto" || found + skipped >= 4, "{via}: {found}");
    }
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(&csv), rows.len() + 1);
    assert!(lines(&markdown) > rows.len() + 2);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3, "a file was left");
}
