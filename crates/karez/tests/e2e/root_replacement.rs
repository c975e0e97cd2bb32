//! The root is resolved by its present name: a symbolic link that a deployment swaps, a directory
//! that is removed and recreated, a tree that is renamed above it.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::client::Client;
use crate::files::{pattern, write_dated};
use crate::layouts::{self, Layout};
use crate::server::{KAREZ, Server};
use crate::strace::{Call, Traced, after, name};

const OLD: u64 = 1_577_836_800;
const GZIP: &str = "Accept-Encoding: gzip\r\n";

/// Two releases, whose files have equal sizes and times, and a link to the first.
struct Deployment {
    directory: tempfile::TempDir,
}

impl Deployment {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for release in ["1", "2"] {
            let root = directory.path().join(release);
            for name in ["d", "list", &format!("folder-{release}")] {
                fs::create_dir_all(root.join(name)).unwrap();
            }
            for name in ["f", "d/index.html", "packed", "packed.gz", &format!("list/in-{release}")]
            {
                write_dated(&root.join(name), format!("{name} of {release}"), OLD);
            }
            fs::write(root.join(format!("only-{release}")), "").unwrap();
            symlink("f", root.join("link")).unwrap();
            symlink("../1/f", root.join("out")).unwrap();
        }
        let deployment = Self { directory };
        deployment.swap("1");
        deployment
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Deploys a release: renames a new link over the old one.
    fn swap(&self, release: &str) {
        let new = self.path("new");
        symlink(release, &new).unwrap();
        fs::rename(new, self.path("current")).unwrap();
    }
}

/// Every kind of response, each expected from this release.
const QUESTIONS: usize = 10;

fn ask(client: &mut Client, question: usize, release: &str, what: &str) {
    let other = if release == "1" { "2" } else { "1" };
    let what = format!("{what}, question {question} of {release}");
    let mut body = |target: &str, fields: &str, expected: &str| {
        let response = client.request("GET", target, fields);
        assert_eq!(response.status, 200, "{what}, {target}");
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{what}, {target}");
    };
    match question {
        0 => body("/f", "", &format!("f of {release}")),
        1 => body("/d/", "", &format!("d/index.html of {release}")),
        2 => body("/link", "", &format!("f of {release}")),
        3 => body("/packed", GZIP, &format!("packed.gz of {release}")),
        4 => {
            let page = String::from_utf8(client.get("/list/").body).unwrap();
            assert!(page.contains(&format!("in-{release}")), "{what}: {page}");
            assert!(!page.contains(&format!("in-{other}")), "{what}: {page}");
        }
        5 => assert_eq!(client.get(&format!("/only-{other}")).status, 404, "{what}"),
        6 => assert_eq!(client.get(&format!("/folder-{release}")).status, 308, "{what}"),
        7 => assert_eq!(client.get("/out").status, 404, "{what}: confined to the new one"),
        8 => {
            let target = format!("/only-{release}");
            assert_eq!(client.request("HEAD", &target, "").status, 200, "{what}");
        }
        _ => {
            let range = client.request("GET", "/f", "Range: bytes=5-\r\n");
            assert_eq!((range.status, &*range.body), (206, release.as_bytes()), "{what}");
        }
    }
}

#[test]
fn swapped_link_serves_the_new_tree_at_once() {
    let deployment = Deployment::new();
    for layout in layouts::all() {
        deployment.swap("1");
        let server = Server::start(layout, &deployment.path("current"));
        // Some for each reactor.
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients[0].wait_for_etag("/only-1");
        for client in &mut clients {
            (0..QUESTIONS).for_each(|question| ask(client, question, "1", &format!("{layout}")));
        }
        for turn in 0..2 * QUESTIONS {
            let release = ["2", "1"][turn % 2];
            deployment.swap(release);
            // Each kind of request is once the first one after a swap.
            let client = &mut clients[turn % 4];
            for number in 0..QUESTIONS {
                ask(client, (turn + number) % QUESTIONS, release, &format!("{layout}"));
            }
            let mut old = server.connect();
            old.send("GET /f HTTP/1.0\r\n\r\n");
            assert_eq!(old.response(false).body, format!("f of {release}").as_bytes(), "{layout}");
        }
    }
}

#[test]
fn validators_do_not_match_across_trees() {
    let deployment = Deployment::new();
    for layout in layouts::sample() {
        deployment.swap("1");
        let server = Server::start(layout, &deployment.path("current"));
        let mut client = server.connect();
        let tag = client.wait_for_etag("/f");
        let date = client.wait_for_last_modified("/f");
        deployment.swap("2");
        for (fields, wrong) in [
            (format!("If-None-Match: {tag}\r\n"), 304),
            (format!("If-Modified-Since: {date}\r\n"), 304),
            (format!("If-Range: {tag}\r\nRange: bytes=1-\r\n"), 206),
            (format!("If-Range: {date}\r\nRange: bytes=1-\r\n"), 206),
            (format!("If-Unmodified-Since: {date}\r\nRange: bytes=1-\r\n"), 206),
        ] {
            assert_ne!(client.request("GET", "/f", &fields).status, wrong, "{layout}, {fields}");
        }
    }
}

#[test]
fn removed_and_recreated_root_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("site");
    let build = |content: &str| {
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/f"), content).unwrap();
    };
    for layout in layouts::all() {
        build("turn 0");
        let server = Server::start(layout, &root);
        let mut client = server.connect();
        for turn in 0..3 {
            client.wait_for_etag("/d/f");
            assert_eq!(client.get("/d/f").body, format!("turn {turn}").as_bytes(), "{layout}");
            fs::remove_dir_all(&root).unwrap();
            for target in ["/d/f", "/d/", "/d", "/", "/d/f"] {
                assert_eq!(client.get(target).status, 404, "{layout}, {target}");
            }
            build(&format!("turn {}", turn + 1));
            assert_eq!(
                client.get("/d/f").body,
                format!("turn {}", turn + 1).as_bytes(),
                "{layout}"
            );
        }
        server.signal(Signal::TERM);
        let notices = server.wait().1;
        let count = |words: &str| notices.lines().filter(|line| line.contains(words)).count();
        let gone = format!("cannot be reached: statx {root:?}: No such file or directory");
        let back = format!("can be reached again: {root:?}");
        assert_eq!((count(&gone), count(&back)), (3, 3), "{layout}: {notices}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn root_moves_with_a_renamed_parent() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for layout in layouts::sample() {
        for tree in ["a", "b"] {
            fs::create_dir_all(path(tree).join("b/site")).unwrap();
            write_dated(&path(tree).join("b/site/f"), format!("of {tree}"), OLD);
        }
        // The sandbox permits reading beside the root, not in trees that get its place further up.
        let base = directory.path().to_str().unwrap();
        let flags = ["--log", "off", "--sandbox-read", base];
        let server = Server::start_with(layout, &path("a/b/site"), &flags);
        let mut client = server.connect();
        client.wait_for_etag("/f");
        fs::rename(path("a"), path("c")).unwrap();
        assert_eq!(client.get("/f").status, 404, "{layout}");
        fs::rename(path("b"), path("a")).unwrap();
        assert_eq!(client.get("/f").body, b"of b", "{layout}");
        for tree in ["a", "c"] {
            fs::remove_dir_all(path(tree)).unwrap();
        }
    }
}

/// A relative root depends on the working directory of the server's start only.
#[test]
fn relative_root_is_resolved_from_the_start_directory() {
    let deployment = Deployment::new();
    let working = |directory: &Path, name: &str| {
        let mut command = Command::new(KAREZ);
        command.args(["serve", name, "--listen", "127.0.0.1:0", "--log", "off"]);
        command.current_dir(directory);
        Server::spawn(command)
    };
    for name in ["current", "./current", "1/../current", "current/"] {
        deployment.swap("1");
        let server = working(deployment.directory.path(), name);
        let mut client = server.connect();
        client.wait_for_etag("/f");
        deployment.swap("2");
        assert_eq!(client.get("/f").body, b"f of 2", "{name}");
    }
    // The working directory itself is served, and recreated.
    let site = deployment.path("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("f"), "old").unwrap();
    let server = working(&site, ".");
    let mut client = server.connect();
    client.wait_for_etag("/f");
    fs::remove_dir_all(&site).unwrap();
    assert_eq!(client.get("/f").status, 404);
    fs::create_dir(&site).unwrap();
    fs::write(site.join("f"), "new").unwrap();
    assert_eq!(client.get("/f").body, b"new");
}

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

#[test]
fn response_in_flight_continues_from_the_old_tree() {
    let deployment = Deployment::new();
    let content = pattern(LARGE);
    fs::write(deployment.path("1/large"), &content).unwrap();
    fs::write(deployment.path("2/large"), "of 2").unwrap();
    for layout in layouts::all() {
        deployment.swap("1");
        let server = Server::start(layout, &deployment.path("current"));
        let mut client = server.connect();
        client.limit_receive_buffer();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        let mut body = client.read_body(100_000);
        deployment.swap("2");
        assert_eq!(server.get("/large").body, b"of 2", "{layout}");
        body.extend(client.read_body(LARGE - body.len()));
        assert!(body == content, "{layout}");
        assert_eq!(client.get("/large").body, b"of 2", "{layout}, on the same connection");
    }
}

/// Stops the other threads when dropped, also on a panic.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn swaps_under_load_never_serve_the_old_tree() {
    const SWAPS: usize = 200;
    let deployment = Deployment::new();
    let busy = [
        Layout { model: Model::EpollEdge, topology: Topology::Reuseport, via: Via::Auto },
        Layout { model: Model::EpollEdge, topology: Topology::Workers, via: Via::Auto },
        Layout { model: Model::Uring, topology: Topology::Single, via: Via::Auto },
        Layout { model: Model::Blocking, topology: Topology::Single, via: Via::Auto },
    ];
    for layout in busy {
        let server = Server::start(layout, &deployment.path("current"));
        let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..4 {
                let (server, stop, asked) = (&server, &stop, &asked);
                scope.spawn(move || {
                    let mut client = server.connect();
                    let target = ["/f", "/packed", "/link", "/d/"][number];
                    while !stop.load(Ordering::Relaxed) {
                        let response = client.request("GET", target, GZIP);
                        let body = String::from_utf8(response.body).unwrap();
                        assert!(body.ends_with(" of 1") || body.ends_with(" of 2"), "{body}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _stop = StopAtEnd(&stop);
            let mut client = server.connect();
            for turn in 0..SWAPS {
                let release = ["2", "1"][turn % 2];
                deployment.swap(release);
                ask(&mut client, turn / 2 % QUESTIONS, release, &format!("{layout}, swap {turn}"));
            }
        });
        println!("{layout}: {} answers during {SWAPS} swaps", asked.into_inner());
    }
}

/// Returns the calls that look up names, and whether each is for the root.
fn looks<'a>(calls: &'a [Call], root: &str) -> Vec<(&'a str, bool)> {
    // Not those of the walk along a path that is watched from then on.
    let asked = ["STATX_BASIC_STATS|STATX_MNT_ID", "STATX_INO|STATX_BTIME"];
    let asked = asked.map(|fields| format!("AT_EMPTY_PATH, {fields}"));
    let watches = |call: &&Call| asked.iter().any(|fields| call.contains(fields));
    let looks = calls.iter().filter(|call| ["openat2", "statx"].contains(&name(call)));
    let looks = looks.filter(|call| !watches(call));
    looks.map(|call| (name(call), call.contains(&format!("\"{root}\"")))).collect()
}

/// Follows a link until its access time needs no update (mount(8), relatime): before, which is until the
/// next tick of the clock, the kernel does not follow it with `RESOLVE_CACHED`.
fn update_atime(link: &Path) {
    for _ in 0..100_000 {
        fs::metadata(link).unwrap();
        let times = fs::symlink_metadata(link).unwrap();
        if times.accessed().unwrap() > times.modified().unwrap() {
            return;
        }
    }
    println!("no access times here");
}

#[test]
fn root_check_costs_one_call_for_unknown_names() {
    let deployment = Deployment::new();
    let root = deployment.path("current");
    for layout in layouts::traced().filter(|layout| layout.topology == Topology::Single) {
        deployment.swap("1");
        Server::start(layout, &root).connect().wait_for_etag("/only-1");
        let Some(traced) = Traced::start(layout, &root) else { return };
        let mut client = traced.server.connect();
        for target in ["/f?cold", "/f?hot", "/link", "/none", "/f?swapped", "/f?after", "/f?end"] {
            if target == "/f?swapped" {
                deployment.swap("2");
                update_atime(&root);
            }
            client.get(target);
        }
        let calls = traced.end().1;
        let during = |target: &str, next: &str| {
            let from = after(&calls, &format!("GET {target} "));
            let end = after(from, &format!("GET {next} ")).len();
            looks(&from[..from.len() - end], root.to_str().unwrap())
        };
        let (root, name, open) = (("statx", true), ("statx", false), ("openat2", false));
        // A body is checked for changes by a statx of its own.
        let check = name;
        assert_eq!(during("/f?cold", "/f?hot"), [root, open, name, check], "{layout}");
        // One more for the content that is held while the file is watched.
        let watched = layout.model != Model::Blocking;
        let checks = &[check, check][usize::from(!watched)..];
        assert_eq!(during("/f?hot", "/link"), [&[name], checks].concat(), "{layout}");
        assert_eq!(during("/link", "/none"), [root, open, name, check], "{layout}");
        assert_eq!(during("/none", "/f?swapped")[..2], [root, open], "{layout}");
        // For the new root: its identity with its mount.
        let reopened = [name, root, ("openat2", true), name, open, name];
        let expected = [&reopened[..], checks].concat();
        assert_eq!(during("/f?swapped", "/f?after"), expected, "{layout}");
        let after = if watched { &[][..] } else { &[name, check] };
        assert_eq!(during("/f?after", "/f?end"), after, "{layout}");
    }
}

#[test]
fn unreachable_root_is_503() {
    let deployment = Deployment::new();
    // The superuser can access everything.
    if rustix::process::getuid().is_root() {
        println!("skipped: permissions do not hold back the superuser");
        return;
    }
    let layout = layouts::all().next().unwrap();
    let server = Server::start(layout, &deployment.path("current"));
    let mode = |mode| {
        let directory = deployment.directory.path();
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0);
    let status = server.get("/f").status;
    mode(0o700);
    assert_eq!((status, server.get("/f").status), (403, 200));
}
