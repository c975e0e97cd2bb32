//! Responses reflect the current file; a response in flight continues with its old version.

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::client::Client;
use crate::files::pattern;
use crate::layouts;
use crate::server::Server;

/// Makes the server keep the file open: the file is old enough to be trusted and is requested
/// twice. Returns its tag.
fn warm(client: &mut Client, target: &str) -> String {
    let tag = client.wait_for_etag(target);
    client.get(target);
    client.get(target);
    tag
}

#[test]
fn deleted_file_is_404_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for turn in 0..3 {
            fs::write(&path, turn.to_string()).unwrap();
            warm(&mut client, "/f");
            assert_eq!(client.get("/f").body, turn.to_string().as_bytes(), "{layout}, turn {turn}");
            fs::remove_file(&path).unwrap();
            assert_eq!(client.get("/f").status, 404, "{layout}, turn {turn}");
        }
    }
}

#[test]
fn replaced_file_is_served_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = |name| root.path().join(name);
    fs::create_dir(path("d")).unwrap();
    fs::write(path("d/f"), "turn 0").unwrap();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for turn in 1..4 {
            warm(&mut client, "/d/f");
            let content = format!("turn {turn}");
            fs::write(path("new"), &content).unwrap();
            fs::rename(path("new"), path("d/f")).unwrap();
            assert_eq!(client.get("/d/f").body, content.as_bytes(), "{layout}, the file");

            warm(&mut client, "/d/f");
            let content = format!("turn {turn}, too");
            fs::create_dir(path("e")).unwrap();
            fs::write(path("e/f"), &content).unwrap();
            fs::rename(path("d"), path("old")).unwrap();
            fs::rename(path("e"), path("d")).unwrap();
            assert_eq!(client.get("/d/f").body, content.as_bytes(), "{layout}, its directory");
            fs::remove_dir_all(path("old")).unwrap();
        }
    }
}

#[test]
fn file_written_in_place_is_served_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    fs::write(&path, "00000000").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let born = file.metadata().unwrap().modified().unwrap();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for turn in 0..300 {
            let known = if turn % 10 == 0 { warm(&mut client, "/f") } else { "\"x\"".to_owned() };
            // The size is unchanged, and in every third turn the modification time as well.
            let content = format!("{turn:08}");
            file.write_all_at(content.as_bytes(), 0).unwrap();
            let condition = if turn % 3 == 0 {
                file.set_modified(born).unwrap();
                String::new()
            } else {
                format!("If-None-Match: {known}\r\n")
            };
            let response = client.request("GET", "/f", &condition);
            assert_eq!(response.status, 200, "{layout}, turn {turn}");
            assert_eq!(response.body, content.as_bytes(), "{layout}, turn {turn}");
        }
    }
}

#[test]
fn names_may_change_their_type() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x");
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for _ in 0..2 {
            fs::write(&path, "short").unwrap();
            warm(&mut client, "/x");
            fs::write(&path, "somewhat longer").unwrap();
            assert_eq!(client.get("/x").body, b"somewhat longer", "{layout}");
            warm(&mut client, "/x");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert_eq!(client.get("/x").status, 308, "{layout}, a directory");
            fs::remove_dir(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
            assert_eq!(client.get("/x").status, 404, "{layout}, a link that leads out");
            fs::remove_file(&path).unwrap();
        }
    }
}

/// Larger than the socket buffers, so that a client that does not read blocks the response in the
/// middle.
const LARGE: usize = 64 << 20;

/// Returns a client that has read the head and some KiB of the body of `/f`, and reads no further.
fn start_download(server: &Server) -> (Client, Vec<u8>) {
    let mut client = server.connect();
    client.limit_receive_buffer();
    let response = client.start_get("/f");
    assert_eq!(response.status, 200);
    assert_eq!(response.field("content-length"), Some(&*LARGE.to_string()));
    let body = client.read_body(100_000);
    (client, body)
}

#[test]
fn download_continues_with_the_replaced_file() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("f"), root.path().join("new"));
    let content = pattern(LARGE);
    let hash = Sha256::digest(&content);
    for layout in layouts::all_with_vias() {
        fs::write(&old, &content).unwrap();
        let server = Server::start(layout, root.path());
        let (mut client, mut body) = start_download(&server);
        fs::write(&new, "new").unwrap();
        fs::rename(&new, &old).unwrap();
        assert_eq!(server.get("/f").body, b"new", "{layout}");
        body.extend(client.read_body(LARGE - body.len()));
        assert_eq!(Sha256::digest(&body), hash, "{layout}");
        assert_eq!(client.get("/f").body, b"new", "{layout}, on the same connection");
    }
}

#[test]
fn allowed_download_of_a_growing_file_keeps_its_length() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    let hash = Sha256::digest(&content);
    for layout in layouts::all_with_vias() {
        fs::write(&path, &content).unwrap();
        let flags = ["--log", "off", "--torn", "allow"];
        let server = Server::start_with(layout, root.path(), &flags);
        let (mut client, mut body) = start_download(&server);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"more", LARGE as u64).unwrap();
        body.extend(client.read_body(LARGE - body.len()));
        assert_eq!(Sha256::digest(&body), hash, "{layout}");
        let head = client.request("HEAD", "/f", "");
        assert_eq!(head.field("content-length"), Some(&*(LARGE + 4).to_string()), "{layout}");
    }
}

#[test]
fn download_of_a_shrinking_file_ends_early() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    for layout in layouts::all_with_vias() {
        // The server cannot have sent this much when the file is truncated.
        let (received, notices) = cut_while_sent(&path, &content, LARGE as u64 / 2, layout);
        assert!(received == content[..LARGE / 2], "{layout}: {} bytes", received.len());
        assert_one_error_line(&notices, &layout.to_string());
    }
}

#[test]
fn download_of_a_truncated_file_ends_early() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    for layout in layouts::all_with_vias() {
        let (received, notices) = cut_while_sent(&path, &content, 0, layout);
        assert!(received.len() < content.len(), "{layout}: all of it");
        assert!(content.starts_with(&received), "{layout}: other bytes");
        assert_one_error_line(&notices, &layout.to_string());
    }
}

/// Truncates the file to `length` in the middle of a response. Returns all bytes until the end of
/// the connection, and the server's error lines.
fn cut_while_sent(
    path: &Path,
    content: &[u8],
    length: u64,
    layout: layouts::Layout,
) -> (Vec<u8>, String) {
    fs::write(path, content).unwrap();
    let server = Server::start(layout, path.parent().unwrap());
    let (mut client, mut received) = start_download(&server);
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    received.extend(client.read_to_end());
    let response = server.get("/f");
    assert_eq!(
        (response.status, response.body.len() as u64),
        (200, length),
        "{layout}: it continues"
    );
    drop(client);
    server.signal(Signal::TERM);
    let (status, notices) = server.wait();
    assert!(status.success(), "{layout}: {status}");
    (received, notices)
}

fn assert_one_error_line(notices: &str, what: &str) {
    let lines: Vec<_> = notices.lines().filter(|line| line.contains("GET /f HTTP/1.1")).collect();
    assert_eq!(lines.len(), 1, "{what}: {notices}");
    assert!(lines[0].contains("shorter"), "{what}: {notices}");
}
