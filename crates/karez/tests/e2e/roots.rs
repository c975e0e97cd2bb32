//! The served directory is the one that has its name now: a symbolic link that a deployment swaps,
//! a directory that is removed and built anew, a tree that is renamed above it.

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
use crate::server::{KAREZ, Server};
use crate::strace::{Call, Traced, after, name};
use crate::ways::{self, Way};

const OLD: u64 = 1_577_836_800;
const GZIP: &str = "Accept-Encoding: gzip\r\n";

/// Two releases, whose files are alike in size and time, and a link to the first.
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

    /// What a deployment does: another link, renamed over the old one.
    fn swap(&self, release: &str) {
        let new = self.path("new");
        symlink(release, &new).unwrap();
        fs::rename(new, self.path("current")).unwrap();
    }
}

/// Every kind of answer, each from this release and not the other.
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
fn a_swapped_link_is_the_new_tree_at_once() {
    let deployment = Deployment::new();
    for way in ways::layouts() {
        deployment.swap("1");
        let server = Server::start(way, &deployment.path("current"));
        // Some for each reactor.
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients[0].settled_tag("/only-1");
        for client in &mut clients {
            (0..QUESTIONS).for_each(|question| ask(client, question, "1", &format!("{way}")));
        }
        for turn in 0..2 * QUESTIONS {
            let release = ["2", "1"][turn % 2];
            deployment.swap(release);
            // Each question is the first one that is asked of the new tree.
            let client = &mut clients[turn % 4];
            for number in 0..QUESTIONS {
                ask(client, (turn + number) % QUESTIONS, release, &format!("{way}"));
            }
            let mut old = server.connect();
            old.send("GET /f HTTP/1.0\r\n\r\n");
            assert_eq!(old.response(false).body, format!("f of {release}").as_bytes(), "{way}");
        }
    }
}

#[test]
fn no_validator_of_one_tree_is_good_for_another() {
    let deployment = Deployment::new();
    for way in ways::some() {
        deployment.swap("1");
        let server = Server::start(way, &deployment.path("current"));
        let mut client = server.connect();
        let tag = client.settled_tag("/f");
        let date = client.settled_date("/f");
        deployment.swap("2");
        for (fields, wrong) in [
            (format!("If-None-Match: {tag}\r\n"), 304),
            (format!("If-Modified-Since: {date}\r\n"), 304),
            (format!("If-Range: {tag}\r\nRange: bytes=1-\r\n"), 206),
            (format!("If-Range: {date}\r\nRange: bytes=1-\r\n"), 206),
            (format!("If-Unmodified-Since: {date}\r\nRange: bytes=1-\r\n"), 206),
        ] {
            assert_ne!(client.request("GET", "/f", &fields).status, wrong, "{way}, {fields}");
        }
    }
}

#[test]
fn a_root_that_is_removed_and_built_anew_is_served_anew() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("site");
    let build = |content: &str| {
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/f"), content).unwrap();
    };
    for way in ways::layouts() {
        build("turn 0");
        let server = Server::start(way, &root);
        let mut client = server.connect();
        for turn in 0..3 {
            client.settled_tag("/d/f");
            assert_eq!(client.get("/d/f").body, format!("turn {turn}").as_bytes(), "{way}");
            fs::remove_dir_all(&root).unwrap();
            for target in ["/d/f", "/d/", "/d", "/", "/d/f"] {
                assert_eq!(client.get(target).status, 404, "{way}, {target}");
            }
            build(&format!("turn {}", turn + 1));
            assert_eq!(client.get("/d/f").body, format!("turn {}", turn + 1).as_bytes(), "{way}");
        }
        server.signal(Signal::TERM);
        let notices = server.wait().1;
        let count = |words: &str| notices.lines().filter(|line| line.contains(words)).count();
        let gone = format!("cannot be reached: statx {root:?}: No such file or directory");
        let back = format!("can be reached again: {root:?}");
        assert_eq!((count(&gone), count(&back)), (3, 3), "{way}: {notices}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn a_tree_renamed_above_takes_the_root_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for way in ways::some() {
        for tree in ["a", "b"] {
            fs::create_dir_all(path(tree).join("b/site")).unwrap();
            write_dated(&path(tree).join("b/site/f"), format!("of {tree}"), OLD);
        }
        let server = Server::start(way, &path("a/b/site"));
        let mut client = server.connect();
        client.settled_tag("/f");
        fs::rename(path("a"), path("c")).unwrap();
        assert_eq!(client.get("/f").status, 404, "{way}");
        fs::rename(path("b"), path("a")).unwrap();
        assert_eq!(client.get("/f").body, b"of b", "{way}");
        for tree in ["a", "c"] {
            fs::remove_dir_all(path(tree)).unwrap();
        }
    }
}

/// As from a shell: the name is relative, and what it means does not depend on the caller.
#[test]
fn a_relative_name_is_followed_from_where_the_server_was_started() {
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
        client.settled_tag("/f");
        deployment.swap("2");
        assert_eq!(client.get("/f").body, b"f of 2", "{name}");
    }
    // The working directory itself is served, and built anew.
    let site = deployment.path("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("f"), "old").unwrap();
    let server = working(&site, ".");
    let mut client = server.connect();
    client.settled_tag("/f");
    fs::remove_dir_all(&site).unwrap();
    assert_eq!(client.get("/f").status, 404);
    fs::create_dir(&site).unwrap();
    fs::write(site.join("f"), "new").unwrap();
    assert_eq!(client.get("/f").body, b"new");
}

/// More than sockets hold.
const LARGE: usize = 64 << 20;

#[test]
fn an_answer_on_its_way_ends_with_the_tree_that_it_began_with() {
    let deployment = Deployment::new();
    let content = pattern(LARGE);
    fs::write(deployment.path("1/large"), &content).unwrap();
    fs::write(deployment.path("2/large"), "of 2").unwrap();
    for way in ways::layouts() {
        deployment.swap("1");
        let server = Server::start(way, &deployment.path("current"));
        let mut client = server.connect();
        client.narrow();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        let mut body = client.take(100_000);
        deployment.swap("2");
        assert_eq!(server.get("/large").body, b"of 2", "{way}");
        body.extend(client.take(LARGE - body.len()));
        assert!(body == content, "{way}");
        assert_eq!(client.get("/large").body, b"of 2", "{way}, on the same connection");
    }
}

/// Ends the other threads also when this one panics.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn swaps_under_load_are_never_answered_from_the_tree_before() {
    const SWAPS: usize = 200;
    let deployment = Deployment::new();
    let busy = [
        Way { model: Model::EpollEdge, topology: Topology::Reuseport, via: Via::Auto },
        Way { model: Model::EpollEdge, topology: Topology::Workers, via: Via::Auto },
        Way { model: Model::Uring, topology: Topology::Single, via: Via::Auto },
        Way { model: Model::Blocking, topology: Topology::Single, via: Via::Auto },
    ];
    for way in busy {
        let server = Server::start(way, &deployment.path("current"));
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
                ask(&mut client, turn / 2 % QUESTIONS, release, &format!("{way}, swap {turn}"));
            }
        });
        println!("{way}: {} answers during {SWAPS} swaps", asked.into_inner());
    }
}

/// What is asked for names, and of the root.
fn looks<'a>(calls: &'a [Call], root: &str) -> Vec<(&'a str, bool)> {
    let looks = calls.iter().filter(|call| ["openat2", "statx"].contains(&name(call)));
    looks.map(|call| (name(call), call.contains(&format!("\"{root}\"")))).collect()
}

#[test]
fn a_known_file_costs_no_call_more_and_any_other_name_one() {
    let deployment = Deployment::new();
    let root = deployment.path("current");
    for way in ways::traced().filter(|way| way.topology == Topology::Single) {
        deployment.swap("1");
        Server::start(way, &root).connect().settled_tag("/only-1");
        let Some(traced) = Traced::start(way, &root) else { return };
        let mut client = traced.server.connect();
        for target in ["/f?cold", "/f?hot", "/link", "/none", "/f?swapped", "/f?after", "/f?end"] {
            if target == "/f?swapped" {
                deployment.swap("2");
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
        assert_eq!(during("/f?cold", "/f?hot"), [root, open, name], "{way}");
        assert_eq!(during("/f?hot", "/link"), [name], "{way}");
        assert_eq!(during("/link", "/none"), [root, open, name], "{way}");
        assert_eq!(during("/none", "/f?swapped")[..2], [root, open], "{way}");
        // Of the new root: which directory it is, and on which mount.
        let reopened = [name, root, ("openat2", true), name, name, open, name];
        assert_eq!(during("/f?swapped", "/f?after"), reopened, "{way}");
        assert_eq!(during("/f?after", "/f?end"), [name], "{way}");
    }
}

#[test]
fn a_root_that_may_no_longer_be_reached_is_no_fault_of_a_name() {
    let deployment = Deployment::new();
    // The superuser may reach everything.
    if rustix::process::getuid().is_root() {
        println!("skipped: permissions do not hold back the superuser");
        return;
    }
    let way = ways::layouts().next().unwrap();
    let server = Server::start(way, &deployment.path("current"));
    let mode = |mode| {
        let directory = deployment.directory.path();
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0);
    let status = server.get("/f").status;
    mode(0o700);
    assert_eq!((status, server.get("/f").status), (403, 200));
}
