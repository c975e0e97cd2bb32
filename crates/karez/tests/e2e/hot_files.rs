//! Responses from the open-file cache of an event loop are never older than the last change that was
//! complete when their request was sent.

use karez_reactor::Model;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::client::{Client, Response};
use crate::layouts;
use crate::server::Server;

const GZIP: &str = "Accept-Encoding: gzip\r\n";
const NAMES: [&str; 5] = ["f", "d/f", "d/", "link", "absent"];

/// A document root, `up/root`, which is a link to one of two trees.
struct Tree {
    base: tempfile::TempDir,
    /// Makes each content another.
    number: usize,
}

/// One change of the tree; returns the name that it concerns.
type Change = fn(&mut Tree) -> &'static str;

const CHANGES: [(&str, Change); 14] = [
    ("write in place", |tree| {
        let content = tree.content();
        let file = File::options().write(true).open(tree.path("f")).unwrap();
        file.write_all_at(&content.as_bytes()[..4], 0).unwrap();
        "f"
    }),
    ("truncate", |tree| {
        File::options().write(true).open(tree.path("d/f")).unwrap().set_len(3).unwrap();
        "d/f"
    }),
    ("write the whole", |tree| tree.write("d/index.html", "d/")),
    ("rename over", |tree| {
        tree.write("new", "");
        fs::rename(tree.path("new"), tree.path("f")).unwrap();
        "f"
    }),
    ("unlink", |tree| {
        fs::remove_file(tree.path("f")).unwrap();
        "f"
    }),
    ("create again", |tree| tree.write("f", "f")),
    ("create the absent", |tree| tree.write("absent", "absent")),
    ("create a precompressed sibling", |tree| tree.write("f.gz", "f")),
    ("remove the sibling", |tree| {
        fs::remove_file(tree.path("f.gz")).unwrap();
        "f"
    }),
    ("swap a link", |tree| {
        tree.write("other", "");
        symlink("other", tree.path("new-link")).unwrap();
        fs::rename(tree.path("new-link"), tree.path("link")).unwrap();
        "link"
    }),
    ("write through another hard link", |tree| {
        tree.write("hard", "");
        fs::rename(tree.path("hard"), tree.path("link")).unwrap();
        fs::hard_link(tree.path("link"), tree.base.path().join("outside")).unwrap();
        fs::write(tree.base.path().join("outside"), tree.content()).unwrap();
        fs::remove_file(tree.base.path().join("outside")).unwrap();
        "link"
    }),
    ("replace a directory", |tree| {
        fs::rename(tree.path("d"), tree.path("e")).unwrap();
        tree.write("d/f", "");
        tree.write("d/index.html", "d/f")
    }),
    ("swap the root", |tree| {
        tree.swap("two");
        "f"
    }),
    ("rename above", |tree| {
        let up = tree.base.path().join("up");
        fs::rename(&up, tree.base.path().join("was")).unwrap();
        tree.plant();
        "f"
    }),
];

impl Tree {
    fn new() -> Self {
        let mut tree = Self { base: tempfile::tempdir().unwrap(), number: 0 };
        tree.plant();
        tree
    }

    fn plant(&mut self) {
        for root in ["two", "one"] {
            fs::create_dir_all(self.base.path().join("up").join(root)).unwrap();
            self.swap(root);
            for name in ["f", "d/f", "d/index.html", "target"] {
                self.write(name, "");
            }
            symlink("target", self.path("link")).unwrap();
        }
    }

    fn swap(&self, root: &str) {
        let new = self.base.path().join("up/new");
        symlink(root, &new).unwrap();
        fs::rename(&new, self.root()).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("up/root")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn content(&mut self) -> String {
        self.number += 1;
        format!("{:04} of many", self.number)
    }

    fn write(&mut self, name: &str, concerned: &'static str) -> &'static str {
        let (path, content) = (self.path(name), self.content());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        concerned
    }

    /// Returns the body that a name has now; none for 404.
    fn truth(&self, name: &str) -> Option<Vec<u8>> {
        let name = if name.ends_with('/') { format!("{name}index.html") } else { name.to_owned() };
        let plain = self.path(&name);
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let coded = self.path(&format!("{name}.gz"));
        let is_newer = modified(&coded).is_some() && modified(&coded) >= modified(&plain);
        let content = fs::read(&plain).ok()?;
        Some(if is_newer { fs::read(coded).unwrap() } else { content })
    }
}

fn get(client: &mut Client, name: &str) -> Response {
    client.request("GET", &format!("/{name}"), GZIP)
}

/// Returns the body; none for 404.
fn body(response: Response) -> Option<Vec<u8>> {
    match response.status {
        200 => Some(response.body),
        404 => None,
        status => panic!("{status}"),
    }
}

/// Has all names watched: each file is old enough, and was requested twice. Returns how many are.
fn warm(client: &mut Client, tree: &Tree) -> usize {
    for name in NAMES {
        while get(client, name).field("etag").is_none() && tree.truth(name).is_some() {}
        get(client, name);
        get(client, name);
    }
    let hits = NAMES.iter().filter(|name| is_hit(&get(client, name)));
    hits.count()
}

fn is_hit(response: &Response) -> bool {
    response.field("server-timing").is_some_and(|value| value.contains("ppoll"))
}

#[test]
fn every_change_is_in_the_next_response() {
    layouts::concurrently(layouts::all(), |layout| {
        let mut tree = Tree::new();
        // One of the changes renames a directory above the one that has the root.
        let flags = ["--explain", "--sandbox-read", tree.base.path().to_str().unwrap()];
        let server = Server::start_with(layout, &tree.root(), &flags);
        let mut clients = [server.connect(), server.connect()];
        let (mut hits, mut rounds) = (0, 0);
        for (number, (what, change)) in CHANGES.iter().enumerate() {
            let client = &mut clients[number % 2];
            hits += warm(client, &tree);
            rounds += 1;
            // The answer to the first may be older or newer than the change, that to the second not.
            client.send(format!("GET /target HTTP/1.1\r\nHost: x\r\n{GZIP}\r\n"));
            let name = change(&mut tree);
            let request = format!("GET /{name} HTTP/1.1\r\nHost: x\r\n{GZIP}\r\n");
            client.send(request.repeat(2));
            client.response(false);
            for _ in 0..2 {
                let received = body(client.response(false));
                assert_eq!(received, tree.truth(name), "{layout}: {what}, {name}, pipelined");
            }
            for name in NAMES {
                let received = body(get(&mut clients[(number + 1) % 2], name));
                assert_eq!(received, tree.truth(name), "{layout}: {what}, then {name}");
            }
        }
        let expected = if layout.model == Model::Blocking { 0 } else { rounds * NAMES.len() / 2 };
        assert!(hits >= expected, "{layout}: {hits} hits");
    });
}

/// The superuser may read everything, so of chmod only the tag shows.
#[test]
fn a_change_of_the_mode_is_in_the_next_response() {
    for layout in layouts::each_model() {
        let tree = Tree::new();
        let server = Server::start_with(layout, &tree.root(), &["--explain"]);
        let mut client = server.connect();
        for mode in [0o600, 0o640, 0o000] {
            warm(&mut client, &tree);
            let before = get(&mut client, "f").field("etag").map(str::to_owned);
            fs::set_permissions(tree.path("f"), fs::Permissions::from_mode(mode)).unwrap();
            let response = get(&mut client, "f");
            let readable = File::open(tree.path("f")).is_ok();
            assert_eq!(response.status, if readable { 200 } else { 403 }, "{layout}");
            assert!(before.is_some() && response.field("etag") != before.as_deref(), "{layout}");
        }
    }
}

/// Conditions, ranges and HEAD are answered from memory as from the file.
#[test]
fn hits_answer_conditions_and_ranges() {
    for layout in layouts::each_model() {
        let tree = Tree::new();
        let server = Server::start_with(layout, &tree.root(), &["--explain"]);
        let mut client = server.connect();
        let hits = warm(&mut client, &tree);
        assert!(hits == NAMES.len() || layout.model == Model::Blocking, "{layout}: {hits}");
        let tag = get(&mut client, "f").field("etag").unwrap().to_owned();
        let whole = tree.truth("f").unwrap();
        let not_modified = client.request("GET", "/f", &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((not_modified.status, not_modified.body.len()), (304, 0), "{layout}");
        let failed = client.request("GET", "/f", "If-Match: \"x\"\r\n");
        assert_eq!(failed.status, 412, "{layout}");
        let part = client.request("GET", "/f", "Range: bytes=2-5\r\n");
        assert_eq!((part.status, &part.body[..]), (206, &whole[2..6]), "{layout}");
        let rest = client.request("GET", "/f", "Range: bytes=-3\r\n");
        assert_eq!((rest.status, &rest.body[..]), (206, &whole[whole.len() - 3..]), "{layout}");
        let beyond = client.request("GET", "/f", "Range: bytes=100-\r\n");
        assert_eq!(beyond.status, 416, "{layout}");
        let head = client.request("HEAD", "/f", "");
        assert_eq!(head.field("content-length"), Some(&*whole.len().to_string()), "{layout}");
        assert_eq!(body(get(&mut client, "f")), Some(whole), "{layout}");
        assert_eq!(get(&mut client, "absent").status, 404, "{layout}");
    }
}
