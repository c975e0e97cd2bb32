//! What is served is what is there now; what is being sent stays what it was.

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::client::Client;
use crate::files::pattern;
use crate::server::Server;
use crate::ways;

/// Has the server hold the file open: it is old enough to be trusted, and asked for twice. Gives
/// its tag.
fn warm(client: &mut Client, target: &str) -> String {
    let tag = client.settled_tag(target);
    client.get(target);
    client.get(target);
    tag
}

#[test]
fn a_deleted_file_is_gone_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for turn in 0..3 {
            fs::write(&path, turn.to_string()).unwrap();
            warm(&mut client, "/f");
            assert_eq!(client.get("/f").body, turn.to_string().as_bytes(), "{way}, turn {turn}");
            fs::remove_file(&path).unwrap();
            assert_eq!(client.get("/f").status, 404, "{way}, turn {turn}");
        }
    }
}

#[test]
fn a_replaced_file_is_the_new_one_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = |name| root.path().join(name);
    fs::create_dir(path("d")).unwrap();
    fs::write(path("d/f"), "turn 0").unwrap();
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for turn in 1..4 {
            warm(&mut client, "/d/f");
            let content = format!("turn {turn}");
            fs::write(path("new"), &content).unwrap();
            fs::rename(path("new"), path("d/f")).unwrap();
            assert_eq!(client.get("/d/f").body, content.as_bytes(), "{way}, the file");

            warm(&mut client, "/d/f");
            let content = format!("turn {turn}, too");
            fs::create_dir(path("e")).unwrap();
            fs::write(path("e/f"), &content).unwrap();
            fs::rename(path("d"), path("old")).unwrap();
            fs::rename(path("e"), path("d")).unwrap();
            assert_eq!(client.get("/d/f").body, content.as_bytes(), "{way}, its directory");
            fs::remove_dir_all(path("old")).unwrap();
        }
    }
}

#[test]
fn a_file_written_in_place_is_the_new_one_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    fs::write(&path, "00000000").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let born = file.metadata().unwrap().modified().unwrap();
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for turn in 0..300 {
            let known = if turn % 10 == 0 { warm(&mut client, "/f") } else { "\"x\"".to_owned() };
            // The size stays, and every third time so does the time of modification.
            let content = format!("{turn:08}");
            file.write_all_at(content.as_bytes(), 0).unwrap();
            let condition = if turn % 3 == 0 {
                file.set_modified(born).unwrap();
                String::new()
            } else {
                format!("If-None-Match: {known}\r\n")
            };
            let response = client.request("GET", "/f", &condition);
            assert_eq!(response.status, 200, "{way}, turn {turn}");
            assert_eq!(response.body, content.as_bytes(), "{way}, turn {turn}");
        }
    }
}

#[test]
fn a_name_may_become_something_else() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x");
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for _ in 0..2 {
            fs::write(&path, "short").unwrap();
            warm(&mut client, "/x");
            fs::write(&path, "somewhat longer").unwrap();
            assert_eq!(client.get("/x").body, b"somewhat longer", "{way}");
            warm(&mut client, "/x");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert_eq!(client.get("/x").status, 308, "{way}, a directory");
            fs::remove_dir(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
            assert_eq!(client.get("/x").status, 404, "{way}, a link that leads out");
            fs::remove_file(&path).unwrap();
        }
    }
}

/// More than sockets hold, so that a client that does not read stops the server in the middle.
const LARGE: usize = 64 << 20;

/// A client that has read the head and some KiB of the body of `/f`, and now rests.
fn begin(server: &Server) -> (Client, Vec<u8>) {
    let mut client = server.connect();
    client.narrow();
    let response = client.begin("/f");
    assert_eq!(response.status, 200);
    assert_eq!(response.field("content-length"), Some(&*LARGE.to_string()));
    let body = client.take(100_000);
    (client, body)
}

#[test]
fn a_download_ends_with_the_file_that_it_began_with() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("f"), root.path().join("new"));
    let content = pattern(LARGE);
    let hash = Sha256::digest(&content);
    for way in ways::all() {
        fs::write(&old, &content).unwrap();
        let server = Server::start(way, root.path());
        let (mut client, mut body) = begin(&server);
        fs::write(&new, "new").unwrap();
        fs::rename(&new, &old).unwrap();
        assert_eq!(server.get("/f").body, b"new", "{way}");
        body.extend(client.take(LARGE - body.len()));
        assert_eq!(Sha256::digest(&body), hash, "{way}");
        assert_eq!(client.get("/f").body, b"new", "{way}, on the same connection");
    }
}

#[test]
fn a_download_of_a_file_that_grows_ends_where_it_was_to_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    let hash = Sha256::digest(&content);
    for way in ways::all() {
        fs::write(&path, &content).unwrap();
        let server = Server::start(way, root.path());
        let (mut client, mut body) = begin(&server);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"more", LARGE as u64).unwrap();
        body.extend(client.take(LARGE - body.len()));
        assert_eq!(Sha256::digest(&body), hash, "{way}");
        let head = client.request("HEAD", "/f", "");
        assert_eq!(head.field("content-length"), Some(&*(LARGE + 4).to_string()), "{way}");
    }
}

#[test]
fn a_download_of_a_file_that_shrinks_ends_where_the_file_does() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    for way in ways::all() {
        // The server cannot have come that far when the file is cut.
        let (received, notices) = cut_while_sent(&path, &content, LARGE as u64 / 2, way);
        assert!(received == content[..LARGE / 2], "{way}: {} bytes", received.len());
        assert_one_notice(&notices, &way.to_string());
    }
}

#[test]
fn a_download_of_a_file_that_is_emptied_ends_with_what_had_left() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let content = pattern(LARGE);
    for way in ways::all() {
        let (received, notices) = cut_while_sent(&path, &content, 0, way);
        assert!(received.len() < content.len(), "{way}: all of it");
        assert!(content.starts_with(&received), "{way}: other bytes");
        assert_one_notice(&notices, &way.to_string());
    }
}

/// Cuts the file to `length` while a client rests in the middle of it. Returns all that the
/// client got until the connection ended, and what the server had to say.
fn cut_while_sent(path: &Path, content: &[u8], length: u64, way: ways::Way) -> (Vec<u8>, String) {
    fs::write(path, content).unwrap();
    let server = Server::start(way, path.parent().unwrap());
    let (mut client, mut received) = begin(&server);
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    received.extend(client.rest());
    let response = server.get("/f");
    assert_eq!((response.status, response.body.len() as u64), (200, length), "{way}: goes on");
    drop(client);
    server.signal(Signal::TERM);
    let (status, notices) = server.wait();
    assert!(status.success(), "{way}: {status}");
    (received, notices)
}

fn assert_one_notice(notices: &str, what: &str) {
    let lines: Vec<_> = notices.lines().filter(|line| line.contains("GET /f HTTP/1.1")).collect();
    assert_eq!(lines.len(), 1, "{what}: {notices}");
    assert!(lines[0].contains("shorter"), "{what}: {notices}");
}
