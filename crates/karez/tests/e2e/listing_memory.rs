//! The memory of listings, whose clients take nothing: it is bounded over all of them, and it returns to the kernel.

use std::fs::{self, File};
use std::io::BufRead as _;
use std::path::Path;

use crate::client::Client;
use crate::layouts;
use crate::server::Server;

const CLIENTS: usize = 16;

/// Each takes 203 bytes of memory, and 1.5 kB of a page: the page of all of them is larger than the buffers of a socket.
const ENTRIES: usize = 10_000;

/// Less than one of these listings takes.
const LISTING: u64 = 203 * ENTRIES as u64;

/// For the rest of the server: stacks and heaps of threads, of which some are made late.
const OTHER_MEMORY: u64 = 10 << 20;

/// Makes a directory of these entries, and a small one.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["large", "small"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    fill(&root.path().join("large"));
    root
}

fn fill(directory: &Path) {
    let first = directory.join("first");
    File::create(&first).unwrap();
    for number in 0..ENTRIES {
        let name = format!("{number:0>5}{}", "&".repeat(195));
        // On some file systems the number of links is limited.
        let path = directory.join(name);
        fs::hard_link(&first, &path).or_else(|_| File::create(&path).map(drop)).unwrap();
    }
}

/// Returns the anonymous memory of the server, in bytes.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Requests the large listing on new connections, and receives the heads only.
fn stalled(server: &Server) -> Vec<(u16, Client)> {
    let connect = |_| {
        let mut client = server.connect();
        client.limit_receive_buffer();
        client.send("GET /large/ HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    let head = |mut client: Client| {
        let head = client.head().expect("an answer");
        let retry = (head.status == 503).then_some("1");
        assert_eq!(head.field("retry-after"), retry, "{}", head.status);
        if let Some(length) = head.field("content-length") {
            client.read_body(length.parse().unwrap());
        }
        (head.status, client)
    };
    clients.into_iter().map(head).collect()
}

#[test]
fn memory_of_ended_listings_returns() {
    let root = root();
    for layout in layouts::sample().take(3) {
        let flags = ["--log", "off", "--send-timeout", "1h"];
        let server = Server::start_with(layout, root.path(), &flags);
        assert_eq!(server.get("/small/").status, 200, "{layout}");
        let before = memory(&server);
        let clients = stalled(&server);
        assert!(clients.iter().all(|(status, _)| *status == 200), "{layout}");
        let during = memory(&server);
        assert!(during > before + CLIENTS as u64 * LISTING, "{layout}: {before}, {during}");
        drop(clients);
        server.wait_until(&format!("{layout}: the memory returns"), || {
            memory(&server) < before + OTHER_MEMORY
        });
    }
}

#[test]
fn listings_beyond_the_limit_are_503() {
    let root = root();
    for layout in layouts::sample() {
        // For one of them, not for two.
        let flags = ["--log", "off", "--send-timeout", "1h", "--listing-memory", "3M"];
        let server = Server::start_with(layout, root.path(), &flags);
        assert_eq!(server.get("/small/").status, 200, "{layout}");
        let before = memory(&server);
        let mut clients = stalled(&server);
        let begun = clients.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(begun, 1, "{layout}");
        let during = memory(&server);
        assert!(during < before + (3 << 20) + OTHER_MEMORY, "{layout}: {before}, {during}");
        // A connection stays, and a small listing fits.
        let (_, refused) = clients.iter_mut().find(|(status, _)| *status == 503).unwrap();
        assert_eq!(refused.get("/small/").status, 200, "{layout}");
        drop(clients);
        server.wait_until(&format!("{layout}: there is memory again"), || {
            server.connect().start_get("/large/").status == 200
        });
    }
}

#[test]
fn listing_larger_than_the_limit_is_503_and_logged() {
    let root = root();
    for layout in layouts::sample().take(3) {
        let flags = ["--log", "off", "--listing-memory", "1M"];
        let mut server = Server::start_with(layout, root.path(), &flags);
        let response = server.get("/large/");
        assert_eq!((response.status, response.field("retry-after")), (503, None), "{layout}");
        // Nothing has to be read for the head.
        assert_eq!(server.connect().request("HEAD", "/large/", "").status, 200, "{layout}");
        assert_eq!(server.get("/small/").status, 200, "{layout}");
        let mut line = String::new();
        server.stderr.read_line(&mut line).unwrap();
        assert!(line.contains("/large/") && line.contains("more memory"), "{layout}: {line}");
    }
}
