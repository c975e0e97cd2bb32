//! Names that are not in the kernel's caches: on model uring the ring opens them, and no thread of
//! the server blocks, in any topology.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::bindfs::Bind;
use crate::client::{Client, Response};
use crate::disk_image::Image;
use crate::files::{pattern, write_dated};
use crate::layouts::Layout;
use crate::server::Server;
use crate::strace::{Call, Traced, name};

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

/// Returns the layouts with a ring.
fn rings() -> impl Iterator<Item = Layout> {
    let allowed = Topology::ALL.iter();
    allowed.map(|&topology| Layout { model: Model::Uring, topology, via: Via::Auto })
}

/// Returns a file system with every kind of entry, none of which is in the kernel's caches.
fn cold() -> Option<Image> {
    let site = tempfile::tempdir().unwrap();
    let path = |name: &str| site.path().join(name);
    for directory in ["with", "without", "deep/er"] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    for (name, modified) in [
        ("file", OLD),
        ("deep/er/file", OLD),
        ("with/index.html", OLD),
        ("without/entry", OLD),
        ("style.css", OLD),
        ("style.css.br", OLD),
        ("stale.js", NEW),
        ("stale.js.br", OLD),
        ("stale.js.gz", NEW),
    ] {
        write_dated(&path(name), format!("this is {name}"), modified);
    }
    let links = [("file", "in"), ("../../etc/passwd", "out"), ("/proc/self/root", "magic")];
    for (target, link) in links {
        symlink(target, path(link)).unwrap();
    }
    // mkfs copies the directory, and the image is then mounted for the first time.
    Image::made_by(&["mkfs.ext4", "-q", "-d", site.path().to_str().unwrap()], 8)
}

/// Like [`cold`], with files old enough to be kept open. One file's tag shows that for all of them.
fn cold_and_settled() -> Option<Image> {
    let image = cold()?;
    let layout = Layout { model: Model::Blocking, topology: Topology::Single, via: Via::Auto };
    Server::start(layout, &image.path).connect().wait_for_etag("/deep/er/file");
    Some(image)
}

fn ask(client: &mut Client, target: &str) -> Response {
    client.request("GET", target, "Accept-Encoding: br, gzip\r\n")
}

/// Request target, status, and the beginning of the body.
const ANSWERS: [(&str, u16, &str); 14] = [
    ("/file", 200, "this is file"),
    ("/in", 200, "this is file"),
    ("/deep/er/file", 200, "this is deep/er/file"),
    ("/style.css", 200, "this is style.css.br"),
    ("/stale.js", 200, "this is stale.js.gz"),
    ("/with", 308, ""),
    ("/with/", 200, "this is with/index.html"),
    ("/without", 308, ""),
    ("/nonesuch", 404, ""),
    ("/nonesuch/", 404, ""),
    ("/file/behind", 404, ""),
    ("/out", 404, ""),
    ("/magic", 404, ""),
    ("/magic/etc/passwd", 404, ""),
];

/// Returns the calls that look up a name and may block on a disk. The root itself is opened at the
/// start.
fn waiting(calls: &[Call]) -> Vec<&str> {
    let opens = calls.iter().filter(|call| name(call) == "openat2" && !call.contains(", \".\","));
    opens.filter(|call| !call.contains("RESOLVE_CACHED")).map(|call| &**call).collect()
}

#[test]
fn cold_names_are_opened_by_the_ring() {
    for layout in rings() {
        let Some(image) = cold() else { return };
        let Some(traced) = Traced::start(layout, &image.path) else { return };
        let mut client = traced.server.connect();
        for (target, status, body) in ANSWERS {
            for round in 0..2 {
                let response = ask(&mut client, target);
                assert_eq!(response.status, status, "{layout}: {target}, {round}");
                let printed = String::from_utf8_lossy(&response.body);
                assert!(printed.starts_with(body), "{layout}: {target}, {round}: {printed}");
            }
        }
        let listing = client.get("/without/");
        assert!(String::from_utf8_lossy(&listing.body).contains("entry"), "{layout}");
        let calls = traced.end().1;
        let cold = calls.iter().filter(|call| name(call) == "openat2" && call.contains("EAGAIN"));
        assert!(cold.count() > 10, "{layout}: the names were cached");
        assert_eq!(waiting(&calls), [""; 0], "{layout}");
    }
}

#[test]
fn cold_name_costs_one_cached_attempt() {
    for layout in rings() {
        let Some(image) = cold_and_settled() else { return };
        let Some(traced) = Traced::start(layout, &image.path) else { return };
        let mut client = traced.server.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/file").body, b"this is file", "{layout}");
        }
        let calls = traced.end().1;
        let first = calls.iter().position(|call| call.contains("\"file\"")).unwrap();
        // Relative to the root, or by its absolute path.
        let named = |call: &Call| call.contains("\"file\"") || call.contains("/file\"");
        // Another event loop may still start, and read its cgroup's files.
        let own = calls[first..].iter().filter(|call| call.thread == calls[first].thread);
        // A body is checked for changes by a statx without a name.
        let looks = own.filter(|call| ["openat2", "statx"].contains(&name(call)) && named(call));
        let looks: Vec<_> = looks.map(|call| name(call)).collect();
        // At the second request it is watched, so that the third needs no look.
        let (before, watching) = looks.split_at(2);
        assert_eq!(before, ["openat2", "statx"], "{layout}");
        assert!(!watching.contains(&"openat2"), "{layout}: {watching:?}");
    }
}

#[test]
fn ring_lookups_are_counted() {
    for layout in rings() {
        let Some(image) = cold_and_settled() else { return };
        let flags = ["--explain", "--log", "json"];
        let mut server = Server::start_with(layout, &image.path, &flags);
        let mut log = BufReader::new(server.stdout.take().unwrap());
        let mut operations = |target: &str, status: u16| {
            assert_eq!(server.get(target).status, status, "{layout}: {target}");
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            let entry: Value = serde_json::from_str(&line).unwrap();
            (entry["operations"].as_u64().unwrap(), entry["calls"].clone())
        };
        let cold = operations("/file", 200);
        let hot = operations("/file", 200);
        // An openat2(2) and a statx(2) in the ring; the attempt with a cached lookup failed.
        assert_eq!(cold.0, hot.0 + 2, "{layout}");
        // The root, and the check of the body for changes.
        assert_eq!(cold.1, serde_json::json!({ "openat2": 1, "statx": 2 }), "{layout}");
        assert_eq!(hot.1, serde_json::json!({ "statx": 2 }), "{layout}");
        // A missing name has no statx, and is in the kernel's negative cache afterwards.
        let (missing, known) = (operations("/nonesuch", 404), operations("/nonesuch", 404));
        assert_eq!(missing.0, known.0 + 1, "{layout}");
    }
}

/// Returns the names of the ring's kernel worker threads in a process.
fn workers_of_rings(server: &Server) -> BTreeSet<String> {
    let tasks = Path::new("/proc").join(server.pid().to_string()).join("task");
    let names = fs::read_dir(tasks).unwrap().filter_map(|task| {
        // The thread may have ended since.
        fs::read_to_string(task.unwrap().path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("iou-wrk")).collect()
}

#[test]
fn hung_name_does_not_block_other_requests() {
    for layout in rings() {
        let Some(bind) = Bind::mount() else { return };
        // By a path from outside, where the mount table does not show a remote file system.
        let server = Server::start(layout, &bind.outside());
        let stopped = bind.stop();
        let mut held = server.connect();
        held.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        server.wait_until("a ring waits", || !workers_of_rings(&server).is_empty());
        let mut other = server.connect();
        for _ in 0..20 {
            assert!(other.get("/fast").body == pattern(100), "{layout}");
            assert!(server.get("/fast").body == pattern(100), "{layout}");
        }
        drop(stopped);
        assert!(held.response(false).body == pattern(1000), "{layout}");
    }
}

#[test]
fn hung_root_does_not_block_the_event_loop() {
    let layouts = [(Model::Uring, Topology::Single), (Model::EpollEdge, Topology::Workers)];
    for (model, topology) in layouts {
        let layout = Layout { model, topology, via: Via::Auto };
        let Some(bind) = Bind::mount_uncached() else { return };
        let root = bind.outside().join("slow/site");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("old"), "old").unwrap();
        fs::create_dir(bind.outside().join("slow/next")).unwrap();
        fs::write(bind.outside().join("slow/next/new"), "new").unwrap();
        let server = Server::start(layout, &root);
        assert_eq!(server.get("/old").body, b"old", "{layout}");
        assert_eq!(server.get("/none").status, 404, "{layout}");
        let stopped = bind.stop();
        let mut held = server.connect();
        held.send("GET /new HTTP/1.1\r\nHost: test\r\n\r\n");
        for _ in 0..20 {
            assert_eq!(server.connect().request("OPTIONS", "*", "").status, 204, "{layout}");
        }
        assert!(held.receives_nothing(Duration::ZERO), "{layout}");
        drop(stopped);
        assert_eq!(held.response(false).status, 404, "{layout}");
        fs::rename(&root, bind.outside().join("slow/before")).unwrap();
        assert_eq!(held.get("/old").status, 404, "{layout}");
        fs::rename(bind.outside().join("slow/next"), &root).unwrap();
        assert_eq!(held.get("/new").body, b"new", "{layout}");
        assert_eq!(held.get("/old").status, 404, "{layout}");
    }
}
