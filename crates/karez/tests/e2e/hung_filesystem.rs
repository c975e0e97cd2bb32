//! A hung file system (a FUSE file system whose process is stopped; a dead NFS server behaves the
//! same): requests for it end at a deadline, all others are served, and it recovers.

use karez_reactor::Model;
use rustix::net::sockopt;
use rustix::process::Signal;
use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::bindfs::Bind;
use crate::client::{Client, Response};
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::timeouts::TEST_TIMEOUT;

/// Timeouts that a test can wait for, and that a local file system meets on a loaded machine.
const SHORT: &[&str] = &["--log", "off", "--lookup-timeout", "2s", "--send-timeout", "1s"];

/// Timeouts that do not expire during a test.
const LONG: &[&str] = &["--log", "off", "--lookup-timeout", "1h", "--send-timeout", "1h"];

/// More than all socket buffers hold.
const LARGE: usize = 16 << 20;

/// The default number of threads for one file system.
const WORKERS: usize = 16;

fn sockets(server: &Server) -> usize {
    server.descriptors().values().filter(|target| target.starts_with("socket:")).count()
}

/// Expects requests for files elsewhere to succeed, both for a known and for a new name.
fn expect_other_requests_served(bind: &Bind, server: &Server, layout: Layout, new: &str) {
    fs::write(bind.path("root").join(new), new).unwrap();
    assert_eq!(server.get(&format!("/{new}")).body, new.as_bytes(), "{layout}");
    assert!(server.get("/fast").body == pattern(100), "{layout}");
    assert_eq!(server.get("/nonesuch").status, 404, "{layout}");
    assert_eq!(server.get("/").status, 200, "{layout}: a listing");
}

fn expect_unavailable(response: &Response, layout: Layout, what: &str) {
    assert_eq!(response.status, 503, "{layout}: {what}");
    assert_eq!(response.field("retry-after"), Some("2"), "{layout}: {what}");
    assert_eq!(response.field("connection"), Some("close"), "{layout}: {what}");
}

#[test]
fn hung_lookups_time_out_with_503_and_block_no_other_request() {
    for layout in layouts::all() {
        let Some(bind) = Bind::mount() else { return };
        fs::create_dir(bind.path("below/directory")).unwrap();
        std::os::unix::fs::symlink("slow", bind.path("root/link")).unwrap();
        let server = bind.serve(layout, SHORT);
        let before = sockets(&server);
        // Opened before, and kept open where its time stamps are old enough.
        server.connect().wait_for_etag("/slow/name");
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
        expect_other_requests_served(&bind, &server, layout, "while-they-wait");
        for (client, target) in held.iter_mut().zip(targets) {
            let head = client.head();
            let rest = client.drain();
            match head {
                // Attributes in the kernel's cache are enough for a head, but not for the content: a reset.
                None if target == "/slow/name" => {}
                Some(head) if target == "/slow/name" && head.status == 200 => {
                    assert!(rest < 1000, "{layout}: {target}");
                }
                head => expect_unavailable(&head.expect("an answer"), layout, target),
            }
        }
        drop(held);
        expect_other_requests_served(&bind, &server, layout, "after-the-deadline");
        drop(stopped);
        server.wait_until("it recovers", || server.get("/slow/name").status == 200);
        server.wait_until("all are let go", || sockets(&server) == before);
        expect_other_requests_served(&bind, &server, layout, "in-the-end");
    }
}

#[test]
fn hung_file_times_out_while_sent() {
    for layout in layouts::all() {
        let Some(bind) = Bind::mount() else { return };
        fs::write(bind.path("below/large"), pattern(LARGE)).unwrap();
        let server = bind.serve(layout, SHORT);
        let mut client = server.connect();
        client.limit_receive_buffer();
        assert_eq!(client.start_get("/slow/large").status, 200, "{layout}");
        let stopped = bind.stop();
        let came = client.drain();
        assert!(came < LARGE, "{layout}: the response is complete, so nothing hung");
        expect_other_requests_served(&bind, &server, layout, "after-the-deadline");
        drop(stopped);
        server.wait_until("it recovers", || server.get("/slow/large").body == pattern(LARGE));
    }
}

#[test]
fn hung_listing_times_out_while_sent() {
    const ENTRIES: usize = 20_000;
    for layout in layouts::sample() {
        let Some(bind) = Bind::mount() else { return };
        for number in 0..ENTRIES {
            fs::write(bind.path("below").join(format!("{number:0>200}")), "").unwrap();
        }
        let server = bind.serve(layout, SHORT);
        let mut client = server.connect();
        client.limit_receive_buffer();
        // The names are read first, which takes a while where another process serves each lookup.
        let head = loop {
            client.send("GET /slow/ HTTP/1.1\r\nHost: test\r\n\r\n");
            let head = client.head().expect("an answer");
            if head.status == 200 {
                break head;
            }
            client = server.connect();
            client.limit_receive_buffer();
        };
        assert_eq!(head.field("transfer-encoding"), Some("chunked"), "{layout}");
        client.read_body(1000);
        let stopped = bind.stop();
        let mut rest = Vec::new();
        let _reset = std::io::Read::read_to_end(&mut client.stream, &mut rest);
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "{layout}: the response is complete, so nothing hung"
        );
        expect_other_requests_served(&bind, &server, layout, "after-the-deadline");
        drop(stopped);
        server.wait_until("it recovers", || server.get("/slow/name").status == 200);
    }
}

/// With the default number of threads for one file system, all of which are blocked past the
/// deadline.
#[test]
fn hung_filesystem_is_503_at_once_when_its_threads_are_blocked() {
    for layout in layouts::sample() {
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(layout, SHORT);
        let stopped = bind.stop();
        // Each started and overdue lookup occupies a thread, until all are taken.
        server.wait_until("all threads hang", || {
            let mut clients: Vec<_> = (0..WORKERS).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
            }
            let answers: Vec<_> = clients.iter_mut().map(|client| client.response(false)).collect();
            answers.iter().for_each(|answer| expect_unavailable(answer, layout, "no thread"));
            answers.iter().all(|answer| answer.body.windows(8).any(|words| words == b"too many"))
        });
        expect_other_requests_served(&bind, &server, layout, "beside-it");
        drop(stopped);
        server.wait_until("it recovers", || server.get("/slow/name").status == 200);
    }
}

#[test]
fn reset_during_a_hung_lookup_closes_the_connection() {
    for layout in layouts::all() {
        if layout.model == Model::Signal {
            continue; // Linux sends no signal for a reset
        }
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(layout, LONG);
        let before = sockets(&server);
        let stopped = bind.stop();
        let mut clients: Vec<_> = (0..2 * WORKERS).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        server.wait_until("all are there", || sockets(&server) >= before + 2 * WORKERS);
        expect_other_requests_served(&bind, &server, layout, "beside-them");
        clients.into_iter().for_each(reset);
        server.wait_until("all are let go", || sockets(&server) == before);
        drop(stopped);
        assert_eq!(server.get("/slow/name").status, 200, "{layout}");
    }
}

/// A client that closes sends a FIN, like a client that only has sent its last byte: the connection
/// ends at the deadline.
#[test]
fn close_during_a_hung_lookup_is_handled_by_the_deadline() {
    for layout in layouts::sample() {
        let Some(bind) = Bind::mount() else { return };
        let server = bind.serve(layout, SHORT);
        let before = sockets(&server);
        let stopped = bind.stop();
        let mut client = server.connect();
        client.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        drop(client);
        server.wait_until("it is let go", || sockets(&server) == before);
        drop(stopped);
        server.wait_until("it recovers", || server.get("/slow/name").status == 200);
    }
}

/// When a process ends, the kernel flushes each FUSE file that it has open (`FUSE_FLUSH`), and waits for the reply.
/// Until then nothing else is left of the server.
#[test]
fn stop_frees_addresses_and_connections_despite_hung_open_files() {
    for layout in layouts::all() {
        let Some(bind) = Bind::mount() else { return };
        fs::write(bind.path("below/large"), pattern(LARGE)).unwrap();
        let flags = [LONG, &["--grace", "200ms"]].concat();
        let server = bind.serve(layout, &flags);
        let mut client = server.connect();
        client.limit_receive_buffer();
        assert_eq!(client.start_get("/slow/large").status, 200, "{layout}");
        let stopped = bind.stop();
        server.signal(Signal::TERM);
        assert!(client.drain() < LARGE, "{layout}");
        let end = Instant::now() + TEST_TIMEOUT;
        while TcpStream::connect(server.address).is_ok() {
            assert!(Instant::now() < end, "{layout}: it listens");
            thread::sleep(Duration::from_millis(5));
        }
        drop(stopped);
        let (status, printed) = server.wait();
        assert_eq!((status.code(), &printed[..]), (Some(0), ""), "{layout}");
    }
}

/// The file system has read none of the requests, so the kernel withdraws them when the process ends.
#[test]
fn stop_ends_the_process_despite_hung_lookups() {
    const TARGETS: [&str; 3] = ["/slow/name", "/slow/new", "/slow/directory/"];
    for layout in layouts::all() {
        let Some(bind) = Bind::mount_uncached() else { return };
        let server = bind.serve(layout, &[LONG, &["--grace", "200ms"]].concat());
        let stopped = bind.stop();
        if stopped.waiting(server.pid()).is_none() {
            println!("skipped: the kernel does not show in which function a thread waits");
            return;
        }
        let mut clients: Vec<_> = TARGETS.iter().map(|_| server.connect()).collect();
        for (client, target) in clients.iter_mut().zip(TARGETS) {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        }
        let waits = || stopped.waiting(server.pid()) >= Some(TARGETS.len());
        server.wait_until("the lookups hang", waits);
        server.signal(Signal::TERM);
        let ends = server.exits_within(TEST_TIMEOUT);
        drop(stopped); // now it ends in each case
        let (status, printed) = server.wait();
        assert!(ends, "{layout}: it ends only with the file system");
        assert_eq!((status.code(), &printed[..]), (Some(0), ""), "{layout}");
        for client in &mut clients {
            assert_eq!(client.drain(), 0, "{layout}");
        }
    }
}

fn reset(client: Client) {
    sockopt::set_socket_linger(client.stream.get_ref(), Some(Duration::ZERO)).unwrap();
    drop(client);
}
