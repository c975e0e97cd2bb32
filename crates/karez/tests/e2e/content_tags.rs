//! `--etag content`: tags by which replicas agree, and none before the hash of a file is known.

use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::{Client, Response};
use crate::files::write_dated;
use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts;
use crate::server::{KAREZ, Server};

const FLAGS: [&str; 4] = ["--log", "off", "--etag", "content"];
const OLD: u64 = 1_577_836_800;
const NEW: u64 = 1_600_000_000;

/// Returns the tag of bytes in a coding.
fn tag(bytes: &[u8], suffix: &str) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}{suffix}\"")
}

fn ask(client: &mut Client, fields: &str) -> Response {
    client.request("GET", "/f", fields)
}

#[test]
fn replicas_agree_and_a_new_content_has_a_new_tag() {
    let replicas = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for layout in layouts::each_model() {
        for (replica, time) in replicas.iter().zip([OLD, NEW]) {
            write_dated(&replica.path().join("f"), "first!", time);
            let server = Server::start_with(layout, replica.path(), &FLAGS);
            let mut client = server.connect();
            let known = client.wait_for_etag("/f");
            assert_eq!(known, tag(b"first!", ""), "{layout}");
            // Also when the file is hot.
            for _ in 0..4 {
                assert_eq!(client.get("/f").field("etag"), Some(&*known), "{layout}");
                let response = ask(&mut client, &format!("If-None-Match: {known}\r\n"));
                assert_eq!(response.status, 304, "{layout}");
                assert_eq!(response.field("etag"), Some(&*known), "{layout}");
            }
            let part = format!("If-Range: {known}\r\nRange: bytes=1-\r\n");
            assert_eq!(ask(&mut client, &part).body, b"irst!", "{layout}");
            let mut multiplexed = Http2Client::connect(&server, &[]);
            let response = multiplexed.request(1, "GET", "/f", &[]);
            let own = response.fields.iter().find(|(name, _)| name == "etag");
            assert_eq!(own.map(|(_, value)| value), Some(&known), "{layout}");
            let response = multiplexed.request(3, "GET", "/f", &[("if-none-match", &known)]);
            assert_eq!(response.status, 304, "{layout}");

            // The same size and time.
            write_dated(&replica.path().join("f"), "second", time);
            let response = ask(&mut client, &format!("If-None-Match: {known}\r\n"));
            assert_eq!((response.status, &*response.body), (200, &b"second"[..]), "{layout}");
            assert_eq!(ask(&mut client, &part).body, b"second", "{layout}");
            assert_eq!(client.wait_for_etag("/f"), tag(b"second", ""), "{layout}");
        }
    }
}

#[test]
fn without_a_hash_there_is_no_tag_and_none_matches() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("f"), "larger", OLD);
    let own = tag(b"larger", "");
    for layout in layouts::sample() {
        let flags = [&FLAGS[..], &["--etag-max", "5"]].concat();
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        for _ in 0..4 {
            let whole = ask(&mut client, "");
            assert_eq!((whole.field("etag"), &*whole.body), (None, &b"larger"[..]), "{layout}");
            let known = ask(&mut client, &format!("If-None-Match: {own}\r\n"));
            assert_eq!((known.status, &*known.body), (200, &b"larger"[..]), "{layout}");
            let part = ask(&mut client, &format!("If-Range: {own}\r\nRange: bytes=1-\r\n"));
            assert_eq!((part.status, &*part.body), (200, &b"larger"[..]), "{layout}");
            assert_eq!(ask(&mut client, &format!("If-Match: {own}\r\n")).status, 412, "{layout}");
            assert_eq!(ask(&mut client, "If-Match: *\r\n").status, 200, "{layout}");
            assert_eq!(ask(&mut client, "Range: bytes=1-\r\n").body, b"arger", "{layout}");
        }
        client.wait_for_last_modified("/f");
    }
}

/// Asks for a file until it comes in a coding and with a tag.
fn coded(client: &mut Client, target: &str) -> Response {
    loop {
        let response = client.request("GET", target, "Accept-Encoding: gzip\r\n");
        assert_eq!(response.status, 200, "{target}");
        if response.field("content-encoding").is_some() && response.field("etag").is_some() {
            return response;
        }
    }
}

#[test]
fn codings_have_tags_of_their_bytes() {
    let root = tempfile::tempdir().unwrap();
    let page = "<p>desert</p>\n".repeat(500);
    write_dated(&root.path().join("page.html"), &page, OLD);
    write_dated(&root.path().join("made.js"), "plain", OLD);
    write_dated(&root.path().join("made.js.gz"), "made before", OLD);
    let mut targets = vec!["/made.js"];
    let mut flags = FLAGS.to_vec();
    if cfg!(feature = "compress") {
        targets.push("/page.html");
        flags.push("--compress");
    }
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        for target in &targets {
            let response = coded(&mut client, target);
            let own = tag(&response.body, "-gz");
            assert_eq!(response.field("etag"), Some(&*own), "{layout}, {target}");
            let fields = format!("Accept-Encoding: gzip\r\nIf-None-Match: {own}\r\n");
            assert_eq!(client.request("GET", target, &fields).status, 304, "{layout}, {target}");
            let plain = client.wait_for_etag(target);
            assert_eq!(plain, tag(&client.get(target).body, ""), "{layout}, {target}");
        }
    }
}

#[test]
fn a_file_keeps_the_hashes_of_a_confined_server() {
    let directory = tempfile::tempdir().unwrap();
    let (root, cache) = (directory.path().join("site"), directory.path().join("state/tags"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(cache.parent().unwrap()).unwrap();
    write_dated(&root.join("f"), "content", OLD);
    let flags = [&FLAGS[..], &["--etag-cache", text(&cache)]].concat();
    for layout in layouts::sample() {
        fs::remove_file(&cache).ok();
        let server = Server::start_with(layout, &root, &flags);
        let known = server.connect().wait_for_etag("/f");
        drop(server);
        // Another process has it at once.
        let server = Server::start_with(layout, &root, &flags);
        let fields = format!("If-None-Match: {known}\r\n");
        assert_eq!(ask(&mut server.connect(), &fields).status, 304, "{layout}");
        drop(server);
        // A damaged file costs the hashes, and nothing else.
        let mut bytes = fs::read(&cache).unwrap();
        bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 1);
        fs::write(&cache, bytes).unwrap();
        let server = Server::start_with(layout, &root, &flags);
        assert_eq!(server.connect().wait_for_etag("/f"), known, "{layout}");
    }
}

fn error_of(root: &Path, cache: &Path) -> String {
    let mut command = Command::new(KAREZ);
    command.arg("serve").arg(root).args(["--listen", "127.0.0.1:0"]).args(FLAGS);
    command.arg("--etag-cache").arg(cache).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_file_with_another_content_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let notes = root.path().join("notes");
    fs::write(&notes, "important").unwrap();
    let error = error_of(root.path(), &notes);
    assert!(error.contains("notes: not a file of entity tags"), "{error}");
    assert_eq!(fs::read(&notes).unwrap(), b"important");
    let error = error_of(root.path(), &root.path().join("none/tags"));
    assert!(error.contains("none/tags: No such file or directory"), "{error}");

    let file = root.path().join("karez.toml");
    for (cache, fault) in [
        ("notes", "not a file of entity tags"),
        ("none/tags", "No such file or directory"),
        ("tags", ""),
    ] {
        fs::write(&file, format!("root = \".\"\netag = \"content\"\netag-cache = \"{cache}\"\n"))
            .unwrap();
        let output = Command::new(KAREZ).args(["check", text(&file)]).output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), fault.is_empty(), "{cache}: {printed}");
        assert!(fault.is_empty() || printed.contains("karez.toml:3: "), "{cache}: {printed}");
        assert!(printed.contains(fault), "{cache}: {printed}");
        assert!(!root.path().join("tags").exists(), "it is not made");
    }
}
