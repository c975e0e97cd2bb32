//! A directory and a file inside the root are exchanged atomically and continuously with links that
//! point outside, during requests: no file from outside is ever served.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::Client;
use crate::layouts;
use crate::server::Server;

/// In total over all layouts; each layout then continues until both states were served.
const REQUESTS: usize = 10_000;
const MOST_REQUESTS: usize = 1_000_000;

const TARGETS: [&str; 4] = ["/d/file", "/file", "/d/file", "/d/"];

/// Creates `root` with `d`, `file` and their replacements, and `outside` beside it.
fn ground() -> tempfile::TempDir {
    let ground = tempfile::tempdir().unwrap();
    let path = |name| ground.path().join(name);
    fs::create_dir_all(path("root/d")).unwrap();
    fs::create_dir(path("outside")).unwrap();
    for name in ["root/d/file", "root/file"] {
        fs::write(path(name), "inside").unwrap();
    }
    // Of the same length, and with a name that only a listing of it can contain.
    for name in ["outside/file", "outside/secret"] {
        fs::write(path(name), "secret").unwrap();
    }
    symlink("../outside", path("root/link-to-directory")).unwrap();
    symlink("../outside/file", path("root/link-to-file")).unwrap();
    ground
}

/// Exchanges both pairs.
fn exchange(root: &Path) -> rustix::io::Result<()> {
    for (one, other) in [("d", "link-to-directory"), ("file", "link-to-file")] {
        let (one, other) = (root.join(one), root.join(other));
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    }
    Ok(())
}

fn exchange_until(root: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        exchange(root).unwrap();
    }
}

/// Stops the other thread when dropped, also on a panic.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The responses seen for one target.
#[derive(Debug, Default)]
struct Met {
    inside: usize,
    refused: usize,
}

impl Met {
    fn ask(&mut self, client: &mut Client, target: &str, what: &str) {
        let response = client.get(target);
        let body = String::from_utf8_lossy(&response.body);
        assert!(!body.contains("secret"), "{what}, {target}: {body}");
        match response.status {
            200 => {
                assert!(body == "inside" || target.ends_with('/'), "{what}, {target}: {body}");
                self.inside += 1;
            }
            404 | 503 => self.refused += 1,
            status => panic!("{what}, {target}: {status}"),
        }
    }

    fn is_both(&self) -> bool {
        self.inside > 0 && self.refused > 0
    }
}

/// Requests each of the targets in turn, at least this number of times.
fn ask_all(server: &Server, requests: usize, what: &str) {
    let mut met: [Met; 4] = Default::default();
    let mut client = server.connect();
    for count in 0..MOST_REQUESTS {
        let place = count % TARGETS.len();
        met[place].ask(&mut client, TARGETS[place], what);
        if count >= requests && met.iter().all(Met::is_both) {
            return;
        }
    }
    panic!("{what}: never both states: {met:?}");
}

#[test]
fn rename_races_do_not_escape_the_root() {
    let ground = ground();
    let root = ground.path().join("root");
    if let Err(errno) = exchange(&root) {
        return println!("skipped: renameat2 with RENAME_EXCHANGE: {errno}");
    }
    let ways: Vec<_> = layouts::sample().collect();
    let requests = REQUESTS.div_ceil(ways.len());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| exchange_until(&root, &stop));
        for layout in ways {
            let server = Server::start(layout, &root);
            ask_all(&server, requests, &layout.to_string());
        }
    });
}
