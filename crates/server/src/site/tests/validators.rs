//! Validators: tags and dates in both forms, and files that have neither.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use rustix::fs::Timespec;

use karez_http::PreparedStart;

use super::test_site::{LONG_AGO, NOW, TestSite, lines, tag_of};
use crate::site::{FileEtag, Site};

fn both(ground: &TestSite) -> [Site; 2] {
    let shared = ground.site_with(|options| options.etag = FileEtag::Shared);
    [ground.site(), shared]
}

fn seconds(tv_sec: i64) -> Timespec {
    Timespec { tv_sec, ..LONG_AGO }
}

#[test]
fn equal_times_and_sizes_make_a_shared_tag_and_no_other() {
    let ground = TestSite::new();
    ground.file("a", "one").file("b", "two");
    let [local, shared] = both(&ground);
    let tags = |site: &Site| ["a", "b"].map(|name| tag_of(&site.file(name)).unwrap());
    let [a, b] = tags(&shared);
    assert_eq!(a, b);
    assert_eq!(a, "\"3b9aca0000000007-3\"");
    let [a, b] = tags(&local);
    assert_ne!(a, b, "two inodes");
    // Another content under the old size and time.
    fs::write(ground.path("a"), "six").unwrap();
    ground.modified("a", LONG_AGO);
    assert_ne!(tag_of(&local.file("a")), Some(a));
}

#[test]
fn a_tag_stays_while_nothing_changes() {
    let ground = TestSite::new();
    ground.file("a", "one");
    let tag = tag_of(&ground.site().file("a"));
    assert!(tag.is_some());
    assert_eq!(tag_of(&ground.site().file("a")), tag, "in another run");
    fs::rename(ground.root(), ground.root().with_extension("moved")).unwrap();
    fs::rename(ground.root().with_extension("moved"), ground.root()).unwrap();
    assert_eq!(tag_of(&ground.site().file("a")), tag, "in a directory that was renamed");
}

#[test]
fn a_time_that_tells_nothing_is_never_used_alone() {
    let ground = TestSite::new();
    for second in [0, 1] {
        ground.file("a", "x").modified("a", seconds(second));
        let [local, shared] = both(&ground);
        let file = shared.file("a");
        assert_eq!(tag_of(&file), None, "{second}");
        assert_eq!(lines(&file, PreparedStart::Validators, NOW), b"", "{second}");
        let file = local.file("a");
        let tag = tag_of(&file).expect("it has a time of change");
        assert_eq!(
            lines(&file, PreparedStart::Validators, NOW),
            format!("ETag: {tag}\r\n").as_bytes(),
            "{second}"
        );
        assert_eq!(file.validators(NOW).modified, None, "{second}");
    }
    for second in [2, -1] {
        ground.modified("a", seconds(second));
        let [_, shared] = both(&ground);
        assert!(tag_of(&shared.file("a")).is_some(), "{second}");
        assert_eq!(shared.file("a").validators(NOW).modified.is_some(), second > 0, "{second}");
    }
}

#[test]
fn a_later_change_of_the_inode_counts_unless_tags_are_shared() {
    let ground = TestSite::new();
    ground.file("a", "x");
    let changed = fs::metadata(ground.path("a")).unwrap().ctime().cast_unsigned();
    let [local, shared] = both(&ground);
    let (local, shared) = (local.file("a"), shared.file("a"));
    assert_eq!(local.validators(NOW).changed, changed);
    assert_eq!(shared.validators(NOW).changed, 1_000_000_000);
}

#[test]
fn a_date_is_told_when_no_other_version_can_have_it() {
    let ground = TestSite::new();
    ground.file("a", "x");
    let file = ground.site().file("a");
    let told = |now: u64| {
        lines(&file, PreparedStart::Validators, now).windows(5).any(|word| word == b"Last-")
    };
    let second = 1_000_000_000;
    assert_eq!([second - 1, second, second + 1, second + 2].map(told), [false, false, false, true]);
    let (without, with) =
        (lines(&file, PreparedStart::Type, second), lines(&file, PreparedStart::Type, second + 2));
    assert!(with.starts_with(without) && without.ends_with(b"\"\r\n"));
}

#[test]
fn a_modification_in_the_future_is_told_as_now_and_matches_nothing() {
    let ground = TestSite::new();
    ground.file("a", "x").modified("a", seconds(5_000_000_000));
    for site in both(&ground) {
        let file = site.file("a");
        let lines =
            String::from_utf8(lines(&file, PreparedStart::Validators, NOW).to_vec()).unwrap();
        assert!(lines.contains("Last-Modified: ") && !lines.contains("2128"), "{lines}");
        assert!(file.validators(NOW).changed >= 5_000_000_000);
        assert!(tag_of(&file).is_some(), "its inode is not racy");
    }
}

#[test]
fn a_racy_file_has_neither_a_tag_nor_a_date_that_holds() {
    let ground = TestSite::new();
    ground.file("a", "x");
    for mut site in both(&ground) {
        site.granularity = Duration::from_secs(3600);
        let file = site.file("a");
        assert_eq!(tag_of(&file), None);
        assert_eq!(file.validators(NOW).changed, u64::MAX);
    }
}

#[test]
fn what_is_replaced_in_a_file_is_told_by_no_date() {
    let ground = TestSite::new();
    ground.file("a", "token").file("b", "nothing");
    let stamps =
        crate::site::Substitutions::new(&[(b"token".to_vec(), b"other".to_vec())]).unwrap();
    let site = ground.site_with(|options| options.substitutions = stamps);
    let (stamped, plain) = (site.file("a"), site.file("b"));
    assert_eq!(stamped.validators(NOW).modified, None);
    assert!(tag_of(&stamped).is_some());
    assert!(plain.validators(NOW).modified.is_some());
}
