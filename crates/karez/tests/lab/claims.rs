//! `karez lab claims`: schema, exact counts, languages, and runs without privileges.

use karez_lab::claims::Claim;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use super::shared::all;
use super::{KAREZ, karez};

/// 4 MiB in chunks of 64 KiB, as with `--quick`.
const BYTES: u64 = 4 << 20;
const CHUNKS: u64 = 64;

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Checks that all fields of the schema exist and every verdict is valid.
fn expect_schema(report: &Value, claims: usize) {
    assert_eq!(report["schema"], "karez.lab.claims/2");
    assert!(report["machine"]["kernel"].is_string());
    assert!(report["tiers"]["best"].is_string());
    assert_eq!(report["claims"].as_array().unwrap().len(), claims);
    for claim in report["claims"].as_array().unwrap() {
        for name in ["claim", "verdict", "reason", "command"] {
            assert!(claim[name].as_str().is_some_and(|text| !text.is_empty()), "{claim:#}");
        }
        let evidence = claim["evidence"].as_object().unwrap();
        match claim["verdict"].as_str().unwrap() {
            "confirmed" | "refuted" => {
                assert!(claim["details"].is_null() && !evidence.is_empty(), "{claim:#}");
            }
            "depends on" => assert!(claim["details"].is_string() && !evidence.is_empty()),
            "not measurable here" => {
                println!("skipped: {}: {}", claim["number"], claim["details"]);
                assert!(claim["details"].is_string());
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_claim_has_a_verdict_and_exact_counts() {
    let report = all().report("claims");
    expect_schema(report, Claim::all().len());
    let exact: &[(usize, &str, u64)] = &[
        (2, "copied by recv", BYTES),
        (2, "copied by recv with MSG_TRUNC", 0),
        (24, "calls that move data", 2 * CHUNKS),
        (24, "bytes copied before the receiver", 2 * BYTES),
        (26, "calls that move data", CHUNKS),
        (26, "bytes copied before the receiver", BYTES),
        (30, "sendfile: calls that move data", CHUNKS),
        (30, "sendfile: copied", 0),
        (30, "sendfile: without SG", BYTES),
        (31, "splice: without SG", BYTES),
        (32, "calls that move data", 2 * CHUNKS),
        (32, "bytes copied before the receiver", 0),
        (41, "calls of splice, pipe of 64 KiB", 2 * CHUNKS),
        (42, "two sends: segments", 2),
        (42, "MSG_MORE: segments", 1),
        (42, "MSG_MORE: system calls", 2),
        (42, "TCP_CORK: segments", 1),
        (42, "TCP_CORK: system calls", 4),
        (43, "connections", 400),
        (46, "pages", 16 << 10),
        (47, "pages cached by read", BYTES / 4096),
        (47, "pages cached by O_DIRECT", 0),
        (49, "iou-wrk threads after a read", 0),
        (54, "level, one read for each event: messages before the quiet one", 1),
        (54, "edge, until EAGAIN: messages before the quiet one", 1000),
        (54, "edge, at most 16 reads and a list: messages before the quiet one", 16),
        (54, "level, stopped early: events afterwards", 1),
        (54, "edge, stopped early: events afterwards", 0),
        (60, "bytes copied from the file", BYTES),
        (60, "bytes that the cipher has passed over", BYTES),
        (62, "pages cached after a read of 4 KiB, POSIX_FADV_RANDOM", 1),
        (63, "faults: cached file, MAP_POPULATE", 0),
        (63, "faults: private memory", BYTES / 4096),
        (9, "RLIMIT_NOFILE", 256),
        (12, "reported in arrival order", 3),
        (19, "read later", 2),
        (34, "pages of the file changed", 0),
    ];
    for (number, what, count) in exact {
        let claim = &report["claims"][number - 1];
        assert_eq!(claim["number"], *number);
        if claim["verdict"] != "not measurable here" {
            assert_eq!(claim["evidence"][what], *count, "{claim:#}");
        }
    }
    for (number, what, word) in [
        (11, "mmap of an epoll", "ENODEV"),
        (18, "EPOLLET on a blocking pipe", "ok"),
        (20, "epoll on a regular file", "EPERM"),
        (28, "send of a truncated range", "EFAULT"),
        (29, "sendfile from a socket", "EINVAL"),
        (64, "content read from the pipe", "new"),
    ] {
        assert_eq!(report["claims"][number - 1]["evidence"][what], word);
    }
}

#[test]
fn single_claim_runs_alone_and_unknown_numbers_are_rejected() {
    let lab = |arguments: &[&str]| {
        karez().args(["lab", "claims", "--quick"]).args(arguments).output().unwrap()
    };
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (dir, markdown) = (path(""), path("r.md"));
    let output =
        lab(&["--claim", "11", "--json", "-", "--markdown", &markdown, "--dir", dir.as_str()]);
    let report = report(&output);
    expect_schema(&report, 1);
    assert_eq!(report["claims"][0]["verdict"], "refuted");
    assert_eq!(fs::read_to_string(&markdown).unwrap().lines().count(), 1 + 2);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "a file was left");
    assert_eq!(lab(&["--claim", &(Claim::all().len() + 1).to_string()]).status.code(), Some(2));
}

#[test]
fn counters_are_not_measurable_without_privileges() {
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
    command.args(["lab", "claims", "--quick", "--json", "-", "--dir"]).arg(place.path());
    for number in ["11", "24", "32"] {
        command.args(["--claim", number]);
    }
    let Ok(output) = command.output() else {
        println!("skipped: no setpriv");
        return;
    };
    let report = report(&output);
    expect_schema(&report, 3);
    assert_eq!(report["tiers"]["best"], "T0");
    assert_eq!(report["claims"][0]["verdict"], "refuted");
    for claim in &report["claims"].as_array().unwrap()[1..] {
        assert_eq!(claim["verdict"], "not measurable here");
        assert!(claim["details"].as_str().unwrap().contains("cap_bpf"), "{claim:#}");
    }
}

#[test]
fn language_is_an_option_or_that_of_the_locale() {
    let claim = ["lab", "claims", "--quick", "--claim", "11", "--dir", env!("CARGO_TARGET_TMPDIR")];
    let text = |variable: &str, more: &[&str]| {
        let output = karez().args(claim).args(more).env("LC_ALL", variable).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for chinese in [text("zh_CN.UTF-8", &[]), text("C", &["--lang", "zh"])] {
        assert!(chinese.contains("结论") && chinese.contains("不成立"), "{chinese}");
        assert!(!chinese.contains("refuted"), "{chinese}");
    }
    assert!(text("zh_CN.UTF-8", &["--lang", "en"]).contains("refuted"));
    let json = text("zh_CN.UTF-8", &["--json", "-"]);
    assert!(json.is_ascii() && json.contains("\"refuted\""), "{json}");
}
