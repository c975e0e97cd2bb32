//! A file system that does not answer (a FUSE file system whose process is stopped; a dead NFS server
//! is the same to us): requests for it end by a deadline, all others are served, and it recovers.

use karez_reactor::Model;
use rustix::net::sockopt;
use std::fs;
use std::time::Duration;

use crate::bindfs::Bind;
use crate::client::{Client, Response};
use crate::files::pattern;
use crate::server::Server;
use crate::ways::{self, Way};

/// Deadlines that a test may wait for, and that a local file system keeps on a loaded machine.
const SHORT: &[&str] = &["--log", "off", "--lookup-timeout", "2s", "--send-timeout", "1s"];

/// None that comes while a test runs.
const LONG: &[&str] = &["--log", "off", "--lookup-timeout", "1h", "--send-timeout", "1h"];

/// More than all socket buffers hold.
const LARGE: usize = 16 << 20;

/// Threads for one file system, by default.
const WORKERS: usize = 16;

fn sockets(server: &Server) -> usize {
    server.descriptors().values().filter(|target| target.starts_with("socket:")).count()
}

/// Every name and file elsewhere is to be had: one that is known, and one that was never asked for.
fn others_are_served(bind: &Bind, server: &Server, way: Way, new: &str) {
    fs::write(bind.path("root").join(new), new).unwrap();
    assert_eq!(server.get(&format!("/{new}")).body, new.as_bytes(), "{way}");
    assert!(server.get("/fast").body == pattern(100), "{way}");
    assert_eq!(server.get("/nonesuch").status, 404, "{way}");
    assert_eq!(server.get("/").status, 200, "{way}: a listing");
}

fn expect_unavailable(response: &Response, way: Way, what: &str) {
    assert_eq!(response.status, 503, "{way}: {what}");
    assert_eq!(response.field("retry-after"), Some("2"), "{way}: {what}");
    assert_eq!(response.field("connection"), Some("close"), "{way}: {what}");
}

#[test]
fn lookups_that_hang_are_503_by_the_deadline_and_hold_up_nobody_else() {
    for way in ways::layouts() {
        let Some(bind) = Bind::mount() else { return };
        fs::create_dir(bind.path("below/directory")).unwrap();
        std::os::unix::fs::symlink("slow", bind.path("root/link")).unwrap();
        let server = bind.serve(way, SHORT);
        let before = sockets(&server);
        // Opened before, and kept open where its time stamps are old enough.
        server.connect().settled_tag("/slow/name");
        let stopped = bind.stop();
        let targets = [
            "/slow/name",
            "/slow/new",
            "/slow",
            "/slow/",
            "/slow/directory/",
            "/link/name",
            "/slow/name",
        ];
        let mut held: Vec<_> = targets.iter().map(|_| server.connect()).collect();
        for (client, target) in held.iter_mut().zip(targets) {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        }
        others_are_served(&bind, &server, way, "while-they-wait");
        for (client, target) in held.iter_mut().zip(targets) {
            let head = client.head();
            let rest = client.rest();
            match head {
                // What the kernel knew of a file a moment ago is enough for a head, but not to read it.
                None if target == "/slow/name" => {}
                Some(head) if target == "/slow/name" && head.status == 200 => {
                    assert!(rest.len() < 1000, "{way}: {target}");
                }
                head => expect_unavailable(&head.expect("an answer"), way, target),
            }
        }
        drop(held);
        others_are_served(&bind, &server, way, "after-the-deadline");
        drop(stopped);
        server.until("it recovers", || server.get("/slow/name").status == 200);
        server.until("all are let go", || sockets(&server) == before);
        others_are_served(&bind, &server, way, "in-the-end");
    }
}

#[test]
fn a_file_that_hangs_while_it_is_sent_ends_by_the_deadline() {
    for way in ways::layouts() {
        let Some(bind) = Bind::mount() else { return };
        fs::write(bind.path("below/large"), pattern(LARGE)).unwrap();
        let server = bind.serve(way, SHORT);
        let mut client = server.connect();
        client.narrow();
        assert_eq!(client.begin("/slow/large").status, 200, "{way}");
        let stopped = bind.stop();
        let came = client.drain();
        assert!(came < LARGE, "{way}: all of it came, so nothing hung");
        others_are_served(&bind, &server, way, "after-the-deadline");
        drop(stopped);
        server.until("it recovers", || server.get("/slow/large").body == pattern(LARGE));
    }
}

#[test]
fn a_listing_that_hangs_on_its_way_ends_by_the_deadline() {
    const ENTRIES: usize = 20_000;
    for way in ways::some() {
        let Some(bind) = Bind::mount() else { return };
        for number in 0..ENTRIES {
            fs::write(bind.path("below").join(format!("{number:0>200}")), "").unwrap();
        }
        let server = bind.serve(way, SHORT);
        let mut client = server.connect();
        client.narrow();
        // The names are read first, which takes its time where each is asked for by another process.
        let head = loop {
            client.send("GET /slow/ HTTP/1.1\r\nHost: test\r\n\r\n");
            let head = client.head().expect("an answer");
            if head.status == 200 {
                break head;
            }
            client = server.connect();
            client.narrow();
        };
        assert_eq!(head.field("transfer-encoding"), Some("chunked"), "{way}");
        client.take(1000);
        let stopped = bind.stop();
        let mut rest = Vec::new();
        let _reset = std::io::Read::read_to_end(&mut client.stream, &mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{way}: it is complete, so nothing hung");
        others_are_served(&bind, &server, way, "after-the-deadline");
        drop(stopped);
        server.until("it recovers", || server.get("/slow/name").status == 200);
    }
}

/// With the default number of threads for one file system, all of which are past the deadline.
#[test]
fn a_file_system_that_hangs_is_503_at_once_when_all_its_threads_do() {
    for way in ways::some() {
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(way, SHORT);
        let stopped = bind.stop();
        // Each that began and is overdue has a thread, until the last is taken.
        server.until("all threads hang", || {
            let mut clients: Vec<_> = (0..WORKERS).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
            }
            let answers: Vec<_> = clients.iter_mut().map(|client| client.response(false)).collect();
            answers.iter().for_each(|answer| expect_unavailable(answer, way, "no thread"));
            answers.iter().all(|answer| answer.body.windows(8).any(|words| words == b"too many"))
        });
        others_are_served(&bind, &server, way, "beside-it");
        drop(stopped);
        server.until("it recovers", || server.get("/slow/name").status == 200);
    }
}

#[test]
fn a_client_that_resets_while_its_lookup_hangs_is_let_go() {
    for way in ways::layouts() {
        if way.model == Model::Signal {
            continue; // Linux sends no signal for a reset
        }
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(way, LONG);
        let before = sockets(&server);
        let stopped = bind.stop();
        let mut clients: Vec<_> = (0..2 * WORKERS).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        server.until("all are there", || sockets(&server) >= before + 2 * WORKERS);
        others_are_served(&bind, &server, way, "beside-them");
        clients.into_iter().for_each(reset);
        server.until("all are let go", || sockets(&server) == before);
        drop(stopped);
        assert_eq!(server.get("/slow/name").status, 200, "{way}");
    }
}

/// A client that closes sends a FIN, as one does that only has said all; it is let go by the deadline.
#[test]
fn a_client_that_closes_while_its_lookup_hangs_is_let_go_by_the_deadline() {
    for way in ways::some() {
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(way, SHORT);
        let before = sockets(&server);
        let stopped = bind.stop();
        let mut client = server.connect();
        client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        drop(client);
        server.until("it is let go", || sockets(&server) == before);
        drop(stopped);
        server.until("it recovers", || server.get("/slow/name").status == 200);
    }
}

fn reset(client: Client) {
    sockopt::set_socket_linger(client.stream.get_ref(), Some(Duration::ZERO)).unwrap();
    drop(client);
}
