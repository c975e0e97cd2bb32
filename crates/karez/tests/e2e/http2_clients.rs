//! HTTP/2 with real clients: curl, nghttp and h2load. A missing client is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::files::pattern;
use crate::layouts;
use crate::programs::{has, has_curl, run};
use crate::server::Server;

/// Sizes around those of frames, of the initial window, and of a step of a transfer.
const SIZES: [usize; 12] = [
    0,
    1,
    (16 << 10) - 1,
    16 << 10,
    (16 << 10) + 1,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    100_000,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 1,
];

fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "--silent", "--show-error", "--http2-prior-knowledge", "--noproxy", "*"]);
    curl
}

fn write_files(root: &Path) {
    for size in SIZES {
        fs::write(root.join(size.to_string()), pattern(size)).unwrap();
    }
}

#[test]
fn curl_fetches_bodies() {
    if !has_curl() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    write_files(root.path());
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        for size in SIZES {
            // Not several in one process: curl 7.88 cannot use a connection again with prior knowledge.
            let mut curl = curl();
            curl.args(["--fail", "--output", "-"]);
            let output =
                run(curl.arg(format!("http://{}/{size}", server.address)), &layout.to_string());
            assert!(output.stdout == pattern(size), "{layout}: {size} bytes");
        }
    }
}

#[test]
fn curl_uploads_and_is_answered() {
    if !has_curl() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let upload = root.path().join("upload");
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        for size in [100, 300_000] {
            fs::write(&upload, pattern(size)).unwrap();
            let mut curl = curl();
            curl.args(["--write-out", "%{http_code} %{http_version}", "--output", "/dev/null"]);
            curl.arg("--data-binary").arg(format!("@{}", upload.display()));
            let output = run(curl.arg(format!("http://{}/x", server.address)), &layout.to_string());
            assert_eq!(output.stdout, b"405 2", "{layout}: {size}");
        }
    }
}

#[test]
fn nghttp_multiplexes_with_priorities() {
    if !has("nghttp") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    write_files(root.path());
    for (number, layout) in layouts::all().enumerate() {
        let server = Server::start(layout, root.path());
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["--null-out", "--stat", "--multiply=10"]);
        match number % 3 {
            0 => drop(nghttp.args(["--weight", "256", "--weight", "1"])),
            1 => drop(nghttp.args(["--extpri", "u=1,i", "--extpri", "u=6"])),
            _ => drop(nghttp.args(["--window-bits", "14", "--connection-window-bits", "14"])),
        }
        for size in [100_000, 1, 2 << 20] {
            nghttp.arg(format!("http://{}/{size}", server.address));
        }
        let output = nghttp.output().unwrap();
        if String::from_utf8_lossy(&output.stderr).contains("unrecognized option") {
            println!("skipped: this nghttp has no extensible priorities");
            continue;
        }
        let table = String::from_utf8(output.stdout).unwrap();
        for (size, shown) in [("100000", "97K"), ("1", "1"), ("2097152", "2M")] {
            let complete = |line: &&str| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.ends_with(&["200", shown, &format!("/{size}")])
            };
            assert_eq!(table.lines().filter(complete).count(), 10, "{layout}: {size}\n{table}");
        }
    }
}

#[test]
fn h2load_has_no_failures() {
    if !has("h2load") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    write_files(root.path());
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        let mut h2load = Command::new("h2load");
        h2load.args(["--requests=2000", "--clients=8", "--max-concurrent-streams=10"]);
        for size in [1, 16 << 10, 100_000] {
            h2load.arg(format!("http://{}/{size}", server.address));
        }
        let output = run(&mut h2load, &layout.to_string());
        let printed = String::from_utf8(output.stdout).unwrap();
        let all = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored";
        assert!(printed.contains(all), "{layout}: {printed}");
    }
}
