//! HTTP/2 and HTTP/1.1 over TLS with real clients: curl, nghttp, h2load, wget, aria2 and a browser. A
//! missing client is skipped.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::files::pattern;
use crate::https::{Authority, text, url};
use crate::layouts;
use crate::programs::{has, has_curl, run};
use crate::server::{KAREZ, Server};
use crate::timeouts::TimedReader;

/// Lengths around the first, short record, a full record, the initial window and several turns.
const SIZES: [usize; 11] = [
    0,
    1,
    4_073,
    (16 << 10) - 1,
    16 << 10,
    (16 << 10) + 1,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    2 << 20,
    (2 << 20) + 1,
];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for size in SIZES {
        fs::write(root.path().join(size.to_string()), pattern(size)).unwrap();
    }
    root
}

#[test]
fn curl_fetches_over_http2_by_every_via() {
    if !has_curl() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let into = tempfile::tempdir().unwrap();
    for (number, layout) in layouts::all_with_vias().enumerate() {
        let server = authority.serve(layout, root.path(), &[]);
        for version in layouts::cases(&[["--tlsv1.3", "--tlsv1.3"], ["--tls-max", "1.2"]], number) {
            let mut curl = authority.curl();
            curl.args(["--http2", "--fail", "--write-out", "%{num_connects}/%{http_version} "]);
            curl.args(version);
            for size in SIZES {
                curl.arg("--output").arg(into.path().join(size.to_string()));
                curl.arg(url(&server, &format!("/{size}")));
            }
            let output = run(&mut curl, &layout.to_string());
            let expected = format!("1/2 {}", "0/2 ".repeat(SIZES.len() - 1));
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{layout}");
            for size in SIZES {
                let path = into.path().join(size.to_string());
                assert!(fs::read(&path).unwrap() == pattern(size), "{layout} {version:?}: {size}");
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn load_over_tls_has_no_failures() {
    if !has("h2load") || !has("nghttp") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    for (number, layout) in layouts::each_model().enumerate() {
        let server = authority.serve(layout, root.path(), &[]);
        for (protocol, flags) in layouts::cases(&[("h2", "-m10"), ("http/1.1", "--h1")], number) {
            let mut h2load = Command::new("h2load");
            h2load.args(["--requests=600", "--clients=6", flags]);
            for size in [1, 16 << 10, 65_537] {
                h2load.arg(url(&server, &format!("/{size}")));
            }
            let output = run(&mut h2load, &layout.to_string());
            let printed = String::from_utf8(output.stdout).unwrap();
            let all = "600 total, 600 started, 600 done, 600 succeeded, 0 failed, 0 errored";
            assert!(printed.contains(all), "{layout}: {printed}");
            let chosen = format!("Application protocol: {protocol}");
            assert!(printed.contains(&chosen), "{layout}: {printed}");
        }
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["--null-out", "--stat", "--multiply=5", "--no-verify-peer"]);
        let output = nghttp.arg(url(&server, "/65537")).output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        let complete = |line: &&str| line.contains(" 200 ") && line.ends_with("64K /65537");
        assert_eq!(table.lines().filter(complete).count(), 5, "{layout}: {table}");
    }
}

#[test]
fn wget_and_aria2_download() {
    let (authority, root) = (Authority::new(), root());
    let into = tempfile::tempdir().unwrap();
    let ca = authority.ca();
    let path = into.path().join("download");
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &[]);
        let target = url(&server, "/2097153");
        let mut wget = Command::new("wget");
        wget.args(["--no-config", "--no-proxy", "--quiet", "--ca-certificate", text(&ca)]);
        wget.arg("--output-document").arg(&path).arg(&target);
        let mut aria2 = Command::new("aria2c");
        aria2.args(["--no-conf", "--quiet", "--max-connection-per-server=4", "--split=4"]);
        aria2.args(["--min-split-size=1M", "--allow-overwrite=true", "--out=download"]);
        aria2.arg(format!("--ca-certificate={}", text(&ca))).arg("--dir").arg(into.path());
        aria2.arg(&target);
        for (name, client) in [("wget", &mut wget), ("aria2c", &mut aria2)] {
            if has(name) {
                run(client, &layout.to_string());
                assert!(fs::read(&path).unwrap() == pattern(2_097_153), "{layout}: {name}");
                fs::remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn a_unix_socket_may_be_https() {
    if !has_curl() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let [certificate, key] =
        ["server.pem", "server.key"].map(|name| authority.directory.path().join(name));
    for layout in layouts::each_model() {
        let socket = authority.directory.path().join("socket");
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root.path()).args(layout.flags()).args(["--log", "off"]);
        command.args(["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--listen").arg(format!("https:unix:{}", text(&socket)));
        let server = Server::spawn(command);
        for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let mut curl = authority.curl();
            curl.arg("--unix-socket").arg(&socket).args([
                flag,
                "--fail",
                "https://localhost/65537",
            ]);
            curl.args(["--write-out", "%{stderr}%{http_version}"]);
            let output = run(&mut curl, &layout.to_string());
            assert_eq!(String::from_utf8_lossy(&output.stderr), version, "{layout}");
            assert!(output.stdout == pattern(65_537), "{layout} {flag}");
        }
        drop(server);
        let _removed = fs::remove_file(&socket);
    }
}

/// Writes a page that counts the scripts that ran and the images that were loaded.
fn write_page(root: &std::path::Path) {
    let mut page = "<!doctype html><title>assets</title><script>let loaded = 0</script>".to_owned();
    page += "<link rel=stylesheet href=style.css><h1>50 assets</h1><div>";
    for number in 0..24 {
        let script = format!("loaded += 1 // {number}\n");
        fs::write(root.join(format!("{number}.js")), script).unwrap();
        let _written = write!(page, "<script src={number}.js></script>");
    }
    for number in 0..25 {
        let colour = number * 14;
        let image = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'><circle cx='30' \
             cy='30' r='28' fill='hsl({colour} 80% 50%)'/></svg><!--{}-->",
            "x".repeat(number * 3_000)
        );
        fs::write(root.join(format!("{number}.svg")), image).unwrap();
        let _written = write!(page, "<img src={number}.svg onload='loaded += 1'>");
    }
    page += "</div><p id=count></p><script>onload = () => { count.textContent = 'loaded: ' + \
             (loaded + getComputedStyle(count).zIndex * 1) }</script>";
    fs::write(root.join("index.html"), page).unwrap();
    let style = "p { position: relative; z-index: 1; color: teal } div { max-width: 700px }";
    fs::write(root.join("style.css"), style).unwrap();
}

#[test]
fn a_browser_loads_a_page_with_fifty_assets_over_http2() {
    if !has("chromium") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    write_page(root.path());
    let layout = layouts::sample().next().unwrap();
    let flags = ["--tls-self-signed", "--log", "json"];
    let mut server = Server::start_with(layout, root.path(), &flags);
    let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    browser.args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"]);
    browser.args(["--disable-component-update", "--disable-sync", "--ignore-certificate-errors"]);
    browser.arg(format!("--user-data-dir={}", text(profile.path())));
    browser.args(["--dump-dom", &url(&server, "/")]);
    let output = run(&mut browser, "chromium");
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("<p id=\"count\">loaded: 50</p>"), "{page}");
    let mut served = 0;
    for line in log.lines().map(Result::unwrap) {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["protocol"], "HTTP/2.0", "{line}");
        assert_eq!(entry["tls_version"], "TLSv1.3", "{line}");
        served += u32::from(entry["status"] == 200);
        if served == 51 {
            return;
        }
    }
    panic!("{served} of 51 files were served");
}
