//! Without a free descriptor: the cache closes its files, and then a lookup is busy.
//! The limit is that of the process, so this runs in one of its own.

use std::fs::File;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::test_site::{TestSite, content};

#[test]
fn descriptors_run_out() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "site::tests::scarcity::in_a_process_of_its_own"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "descriptors_run_out starts it in a process of its own"]
fn in_a_process_of_its_own() {
    let ground = TestSite::new();
    ground.file("a", "a").file("b", "b").file("c", "c");
    let site = ground.site();
    assert_eq!(content(&site.file("a")), "a");
    assert_eq!(content(&site.file("b")), "b");
    assert_eq!(site.cache.len(), 2);

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let mut takers: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert_eq!(site.ask(b"c").name(), "File", "the cache gave its descriptors away");
    assert_eq!(site.cache.len(), 1);

    takers.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
    let held = site.file("c");
    assert_eq!(site.ask(b"a").name(), "Busy", "what is being sent cannot be closed");
    assert_eq!(site.ask(b"").name(), "Busy");
    drop(held);
    assert_eq!(site.ask(b"a").name(), "File");
    drop(takers);
}
