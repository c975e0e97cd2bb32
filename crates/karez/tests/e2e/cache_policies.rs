//! Page-cache policies by path, of a flag or of a key: pages of files that were sent are dropped, those of
//! others stay.

use karez_transfer::{Via, cached_bytes};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::os::fd::AsFd as _;

use crate::command::expect_error;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;

const LARGE: usize = 8 << 20;

/// Returns how much of a file is in the page cache; `None` where the kernel does not tell.
fn cached(file: &File) -> Option<u64> {
    cached_bytes(file.as_fd(), 0..LARGE as u64).ok()
}

#[test]
fn pages_of_matching_paths_are_dropped() {
    let root = tempfile::tempdir().unwrap();
    let [dropped, kept] = ["stream", "other"].map(|name| {
        fs::create_dir(root.path().join(name)).unwrap();
        let path = root.path().join(name).join("file");
        fs::write(&path, pattern(LARGE)).unwrap();
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        file
    });
    fadvise(&dropped, 0, None, Advice::DontNeed).unwrap();
    if cached(&dropped) != Some(0) {
        println!("skipped: this file system does not drop pages, or the kernel does not tell");
        return;
    }
    let configuration = root.path().join("karez.toml");
    fs::write(&configuration, "cache = [\"/stream/**=drop\", \"sequential\"]\n").unwrap();
    let file = ["--config", configuration.to_str().unwrap()];
    let flag = ["--cache", "/stream/**=drop"];
    for (layout, setting) in layouts::each_model().zip([flag, file].iter().cycle()) {
        // A page to which a socket refers is not dropped, and a copy has none.
        let layout = Layout { via: Via::Copy, ..layout };
        let flags = ["--log", "off", setting[0], setting[1]];
        let server = Server::start_with(layout, root.path(), &flags);
        for target in ["/stream/file", "/other/file"] {
            assert!(server.get(target).body == pattern(LARGE), "{layout}: {target}");
        }
        if cached(&kept) != Some(LARGE as u64) {
            println!("skipped: {layout}: the kernel has reclaimed pages");
            continue;
        }
        let half = LARGE as u64 / 2;
        server.wait_until("pages are dropped", || cached(&dropped).unwrap() <= half);
    }
}

#[test]
fn rules_are_validated() {
    for rule in ["always", "*.iso=always", "[=drop", "=drop", "/a/**"] {
        expect_error(&["serve", "--cache", rule], 2, &["--cache"]);
    }
}
