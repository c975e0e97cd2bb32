//! `karez precompress`, and the server that sends what it has written. The programs zstd, brotli and gzip
//! decode it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::files::{pattern, write_dated};
use crate::layouts;
use crate::programs::{decoded, run};
use crate::server::{KAREZ, Server};

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

fn precompress(root: &Path, flags: &[&str]) -> Output {
    Command::new(KAREZ).arg("precompress").args(flags).arg(root).output().unwrap()
}

fn json(root: &Path, flags: &[&str], status: i32) -> serde_json::Value {
    let output = precompress(root, &[&["--json"], flags].concat());
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn page() -> Vec<u8> {
    "<p>under the desert</p>\n".repeat(3000).into_bytes()
}

#[test]
fn precompressed_files_are_served_and_decoded_by_other_programs() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("page.html"), page(), OLD);
    let report = json(root.path(), &[], 0);
    for of in report["codings"].as_array().unwrap() {
        assert_eq!((&of["written"], &of["bytes_before"]), (&1.into(), &page().len().into()));
    }
    for (number, layout) in layouts::sample().enumerate() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for coding in ["zstd", "br", "gzip"] {
            let field = format!("Accept-Encoding: {coding}\r\n");
            let response = client.request("GET", "/page.html", &field);
            assert_eq!(response.field("content-encoding"), Some(coding), "{layout}");
            assert!(response.body.len() < page().len() / 10, "{layout}, {coding}");
            if number == 0
                && let Some(bytes) = decoded(coding, &response.body)
            {
                assert!(bytes == page(), "{coding}: other bytes");
            }
        }
    }
}

#[test]
fn dry_run_prints_what_would_change() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("page.html"), page(), NEW);
    write_dated(&root.path().join("data.bin"), pattern(4096), NEW);
    write_dated(&root.path().join("short.js"), "short", NEW);
    write_dated(&root.path().join("short.js.gz"), "outdated", OLD);
    let output = precompress(root.path(), &["-n", "--coding", "gzip", "--level", "fast"]);
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in ["to write ", "page.html.gz (", "to remove ", "short.js.gz\n", "3 files\n"] {
        assert!(printed.contains(line), "{line:?} is not in {printed}");
    }
    assert!(!root.path().join("page.html.gz").exists());
    assert!(root.path().join("short.js.gz").exists());

    let mut command = Command::new(KAREZ);
    let output = run(command.arg("precompress").arg("--quiet").arg(root.path()), "quiet");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert!(root.path().join("page.html.gz").exists());
    assert!(!root.path().join("short.js.gz").exists());
}

#[test]
fn errors_of_files_are_printed_and_the_exit_status_is_1() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("page.html"), page(), OLD);
    fs::create_dir(root.path().join("page.html.br")).unwrap();
    let report = json(root.path(), &[], 1);
    let error = report["errors"][0].as_str().unwrap();
    assert!(error.starts_with("lstat ") && error.contains("page.html.br"), "{error}");
    let missing = precompress(&root.path().join("none"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("No such file"), "{missing:?}");
    assert_eq!(precompress(root.path(), &["--coding", "lzma"]).status.code(), Some(2));
}

#[test]
fn signal_stops_it_and_leaves_no_temporary_file() {
    let root = tempfile::tempdir().unwrap();
    // Minutes of work at the best level.
    for number in 0..200 {
        write_dated(&root.path().join(format!("{number}.txt")), page().repeat(40), OLD);
    }
    let mut command = Command::new(KAREZ);
    command.args(["precompress", "--coding", "br", "--verbose"]).arg(root.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // It is at work when the first file is done.
    let mut first = String::new();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut first).unwrap();
    assert!(first.starts_with("written "), "{first}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    std::io::copy(&mut lines, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    let names = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let odd: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".karez-")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}
