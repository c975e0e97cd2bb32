//! Names that the kernel does not have in its caches: on model uring a ring opens them, and nobody
//! waits for them, whatever the topology.

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
use crate::files::{pattern, write_dated};
use crate::image::Image;
use crate::server::Server;
use crate::strace::{Call, Traced, name};
use crate::ways::Way;

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

/// The layouts with a ring.
fn rings() -> impl Iterator<Item = Way> {
    let allowed = Topology::ALL.iter();
    allowed.map(|&topology| Way { model: Model::Uring, topology, via: Via::Auto })
}

/// A file system with all sorts of names, of which the kernel knows none so far.
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
    // It copies what is there, and is then mounted for the first time.
    Image::made_by(&["mkfs.ext4", "-q", "-d", site.path().to_str().unwrap()], 8)
}

/// The same, its files old enough to be kept open, which one of them tells of all.
fn cold_and_settled() -> Option<Image> {
    let image = cold()?;
    let way = Way { model: Model::Blocking, topology: Topology::Single, via: Via::Auto };
    Server::start(way, &image.path).connect().settled_tag("/deep/er/file");
    Some(image)
}

fn ask(client: &mut Client, target: &str) -> Response {
    client.request("GET", target, "Accept-Encoding: br, gzip\r\n")
}

/// What is asked for, its status, and what its body begins with.
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

/// Calls that look a name up and may wait for a disk. The root itself is looked at in the beginning.
fn waiting(calls: &[Call]) -> Vec<&str> {
    let opens = calls.iter().filter(|call| name(call) == "openat2" && !call.contains(", \".\","));
    opens.filter(|call| !call.contains("RESOLVE_CACHED")).map(|call| &**call).collect()
}

#[test]
fn cold_names_are_found_and_no_thread_of_ours_waits_for_them() {
    for way in rings() {
        let Some(image) = cold() else { return };
        let Some(traced) = Traced::start(way, &image.path) else { return };
        let mut client = traced.server.connect();
        for (target, status, body) in ANSWERS {
            for round in 0..2 {
                let response = ask(&mut client, target);
                assert_eq!(response.status, status, "{way}: {target}, {round}");
                let said = String::from_utf8_lossy(&response.body);
                assert!(said.starts_with(body), "{way}: {target}, {round}: {said}");
            }
        }
        let listing = client.get("/without/");
        assert!(String::from_utf8_lossy(&listing.body).contains("entry"), "{way}");
        let calls = traced.end().1;
        let cold = calls.iter().filter(|call| name(call) == "openat2" && call.contains("EAGAIN"));
        assert!(cold.count() > 10, "{way}: the names were not cold");
        assert_eq!(waiting(&calls), [""; 0], "{way}");
    }
}

#[test]
fn one_cold_name_is_one_try_and_a_hot_one_costs_what_it_did() {
    for way in rings() {
        let Some(image) = cold_and_settled() else { return };
        let Some(traced) = Traced::start(way, &image.path) else { return };
        let mut client = traced.server.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/file").body, b"this is file", "{way}");
        }
        let calls = traced.end().1;
        let first = calls.iter().position(|call| call.contains("\"file\"")).unwrap();
        // Beneath the root, or by its absolute path.
        let named = |call: &Call| call.contains("\"file\"") || call.contains("/file\"");
        let looks = calls[first..].iter().filter(|call| ["openat2", "statx"].contains(&name(call)));
        let looks: Vec<_> = looks.map(|call| (name(call), named(call))).collect();
        assert_eq!(looks, [("openat2", true), ("statx", true), ("statx", true)], "{way}");
    }
}

#[test]
fn what_a_ring_looks_up_is_on_the_account() {
    for way in rings() {
        let Some(image) = cold_and_settled() else { return };
        let flags = ["--explain", "--log", "json"];
        let mut server = Server::start_with(way, &image.path, &flags);
        let mut log = BufReader::new(server.stdout.take().unwrap());
        let mut operations = |target: &str, status: u16| {
            assert_eq!(server.get(target).status, status, "{way}: {target}");
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            let entry: Value = serde_json::from_str(&line).unwrap();
            (entry["operations"].as_u64().unwrap(), entry["calls"].clone())
        };
        let cold = operations("/file", 200);
        let hot = operations("/file", 200);
        // An openat2(2) and a statx(2); the try by a call was in vain.
        assert_eq!(cold.0, hot.0 + 2, "{way}");
        assert_eq!(cold.1, serde_json::json!({ "openat2": 1, "statx": 1 }), "{way}: the root");
        assert_eq!(hot.1, serde_json::json!({ "statx": 1 }), "{way}");
        // What is not there is not looked at, and then known not to be.
        let (missing, known) = (operations("/nonesuch", 404), operations("/nonesuch", 404));
        assert_eq!(missing.0, known.0 + 1, "{way}");
    }
}

/// Names of the threads that work for the rings of a process.
fn workers_of_rings(server: &Server) -> BTreeSet<String> {
    let tasks = Path::new("/proc").join(server.pid().to_string()).join("task");
    let names = fs::read_dir(tasks).unwrap().filter_map(|task| {
        // It may have ended since.
        fs::read_to_string(task.unwrap().path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("iou-wrk")).collect()
}

#[test]
fn a_name_that_hangs_holds_up_nobody_else() {
    for way in rings() {
        let Some(bind) = Bind::mount() else { return };
        // From outside, where the mount table does not tell that it is not a local file system.
        let server = Server::start(way, &bind.outside());
        let stopped = bind.stop();
        let mut held = server.connect();
        held.send("GET /slow/name HTTP/1.1\r\nHost: test\r\n\r\n");
        server.until("a ring waits", || !workers_of_rings(&server).is_empty());
        let mut other = server.connect();
        for _ in 0..20 {
            assert!(other.get("/fast").body == pattern(100), "{way}");
            assert!(server.get("/fast").body == pattern(100), "{way}");
        }
        drop(stopped);
        assert!(held.response(false).body == pattern(1000), "{way}");
    }
}

#[test]
fn a_root_that_hangs_holds_up_no_event_loop() {
    let layouts = [(Model::Uring, Topology::Single), (Model::EpollEdge, Topology::Workers)];
    for (model, topology) in layouts {
        let way = Way { model, topology, via: Via::Auto };
        let Some(bind) = Bind::mount_uncached() else { return };
        let root = bind.outside().join("slow/site");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("old"), "old").unwrap();
        fs::create_dir(bind.outside().join("slow/next")).unwrap();
        fs::write(bind.outside().join("slow/next/new"), "new").unwrap();
        let server = Server::start(way, &root);
        assert_eq!(server.get("/old").body, b"old", "{way}");
        assert_eq!(server.get("/none").status, 404, "{way}");
        let stopped = bind.stop();
        let mut held = server.connect();
        held.send("GET /new HTTP/1.1\r\nHost: test\r\n\r\n");
        for _ in 0..20 {
            assert_eq!(server.connect().request("OPTIONS", "*", "").status, 204, "{way}");
        }
        assert!(held.hears_nothing(Duration::ZERO), "{way}");
        drop(stopped);
        assert_eq!(held.response(false).status, 404, "{way}");
        fs::rename(&root, bind.outside().join("slow/before")).unwrap();
        assert_eq!(held.get("/old").status, 404, "{way}");
        fs::rename(bind.outside().join("slow/next"), &root).unwrap();
        assert_eq!(held.get("/new").body, b"new", "{way}");
        assert_eq!(held.get("/old").status, 404, "{way}");
    }
}
