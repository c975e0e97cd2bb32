//! The cache never returns a stale file, stays within its capacity, and closes idle files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Timespec;

use karez_http::PreparedStart;

use super::test_site::{LONG_AGO, NOW, TestSite, content, lines, tag_of};
use crate::site::{LookupResult, racy_mtime};

#[test]
fn the_same_descriptor_answers_while_nothing_changes() {
    let ground = TestSite::new();
    ground.file("d/index.html", "x");
    let site = ground.site();
    let first = site.file("d/index.html");
    assert!(Arc::ptr_eq(&first, &site.file("d/index.html")));
    assert!(Arc::ptr_eq(&first, &site.file("d/")), "the index is that file");
    // To be found under another name is to be another file: its type may differ.
    fs::hard_link(ground.path("d/index.html"), ground.path("x.txt")).unwrap();
    assert!(
        lines(&site.file("x.txt"), PreparedStart::Type, NOW)
            .starts_with(b"Content-Type: text/plain")
    );
}

#[test]
fn every_change_is_seen_at_once() {
    type Change = fn(&TestSite);
    let changes: [(&str, Change, &str); 9] = [
        ("replaced", |g| fs::rename(g.path("new"), g.path("a")).unwrap(), "new"),
        ("same size", |g| fs::write(g.path("a"), "OLD").unwrap(), "OLD"),
        ("longer", |g| fs::write(g.path("a"), "longer").unwrap(), "longer"),
        ("touched", |g| touch(g), "old"),
        ("mode", |g| mode(g, 0o600), "old"),
        ("removed", |g| fs::remove_file(g.path("a")).unwrap(), "Missing"),
        ("directory", |g| become_directory(g), "MissingSlash"),
        ("link in", |g| become_link(g, "new"), "new"),
        ("link out", |g| become_link(g, "/etc/hostname"), "Missing"),
    ];
    for (what, change, expected) in changes {
        let ground = TestSite::new();
        ground.file("a", "old").file("new", "new");
        let site = ground.site();
        let before = site.file("a");
        assert!(Arc::ptr_eq(&before, &site.file("a")), "{what}");
        change(&ground);
        for _ in 0..2 {
            match site.ask(b"a") {
                found @ LookupResult::File { .. } => {
                    let after = found.file();
                    assert_eq!(content(&after), expected, "{what}");
                    assert!(!Arc::ptr_eq(&before, &after), "{what}");
                }
                other => assert_eq!(other.name(), expected, "{what}"),
            }
        }
    }
}

#[test]
fn a_directory_on_the_way_may_change_too() {
    let ground = TestSite::new();
    ground.file("1/a", "one").file("2/a", "two").link("now", "1");
    let site = ground.site();
    assert_eq!(content(&site.file("now/a")), "one");
    fs::remove_file(ground.path("now")).unwrap();
    ground.link("now", "2");
    assert_eq!(content(&site.file("now/a")), "two");
}

#[test]
fn a_racy_file_is_not_kept_and_has_no_tag() {
    let ground = TestSite::new();
    ground.file("a", "x");
    let mut site = ground.site();
    site.granularity = Duration::from_secs(3600);
    let first = site.file("a");
    assert_eq!(tag_of(&first), None, "its inode changed just now");
    assert!(!Arc::ptr_eq(&first, &site.file("a")));
    assert_eq!(site.cache.len(), 0);
}

#[test]
fn a_tag_never_names_two_contents() {
    let ground = TestSite::new();
    ground.file("a", "");
    let mut site = ground.site();
    site.granularity = racy_mtime::granularity();
    let (mut tags, begin) = (Vec::new(), Instant::now());
    for version in 1000.. {
        fs::write(ground.path("a"), version.to_string()).unwrap();
        // Now and then long enough for the stamp to grow old, mostly not.
        for _ in 0..if version % 50 == 0 { 3000 } else { 2 } {
            let file = site.file("a");
            assert_eq!(content(&file), version.to_string());
            if let Some(tag) = tag_of(&file) {
                tags.push((tag, version));
                break;
            }
        }
        if begin.elapsed() > Duration::from_millis(300) {
            break;
        }
    }
    for (index, (tag, version)) in tags.iter().enumerate() {
        let other = tags[..index].iter().find(|(other, _)| other == tag);
        assert_eq!(other, None, "of version {version}");
    }
}

#[test]
fn no_more_files_are_held_than_allowed() {
    let ground = TestSite::new();
    let names: Vec<_> = (0..300).map(|number| format!("{number}")).collect();
    for name in &names {
        ground.file(name, name);
    }
    for capacity in [0, 1, 3, 65, 200] {
        let site = ground.site_with(|options| options.cached_files = Some(capacity));
        for name in names.iter().chain(&names) {
            assert_eq!(content(&site.file(name)), *name);
            assert!(site.cache.len() <= capacity);
        }
        assert!(site.cache.len() >= capacity.min(1), "{capacity}");
    }
}

#[test]
fn what_is_used_stays_when_others_go() {
    let ground = TestSite::new();
    ground.file("hot", "hot");
    for number in 0..20 {
        ground.file(&format!("{number}"), "");
    }
    let site = ground.site_with(|options| options.cached_files = Some(4));
    let hot = site.file("hot");
    for number in 0..20 {
        site.file(&format!("{number}"));
        assert!(Arc::ptr_eq(&hot, &site.file("hot")));
    }
}

#[test]
fn what_is_not_used_is_closed() {
    let ground = TestSite::new();
    ground.file("a", "").file("b", "");
    let site = ground.site_with(|options| options.cached_files = Some(4096));
    let (a, now) = (Arc::downgrade(&site.file("a")), Instant::now());
    let b = Arc::downgrade(&site.file("b"));
    // A round takes four sweeps here, of 16 shards each.
    let round = |from: u64| {
        for turn in 0..4 {
            site.cache.sweep(now + Duration::from_millis(from + turn * 250));
        }
    };
    round(8000);
    assert_eq!(site.cache.len(), 2);
    let later = now + Duration::from_secs(9);
    assert!(site.cache.find(None, b"b", None, later).is_some());
    round(11_000);
    assert!(a.upgrade().is_none(), "closed, so a deleted file gives its space back");
    assert!(b.upgrade().is_some());
    round(20_000);
    assert_eq!(site.cache.len(), 0);
}

fn mode(ground: &TestSite, mode: u32) {
    fs::set_permissions(ground.path("a"), fs::Permissions::from_mode(mode)).unwrap();
}

fn touch(ground: &TestSite) {
    ground.modified("a", Timespec { tv_nsec: LONG_AGO.tv_nsec + 1, ..LONG_AGO });
}

fn become_directory(ground: &TestSite) {
    fs::remove_file(ground.path("a")).unwrap();
    ground.directory("a");
}

fn become_link(ground: &TestSite, target: &str) {
    fs::remove_file(ground.path("a")).unwrap();
    ground.link("a", target);
}
