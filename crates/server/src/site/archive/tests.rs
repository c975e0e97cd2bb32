//! Archives without a connection: their order and contents, ranges against the whole, sharing and memory.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use karez_http::Codings;
use rustix::fd::AsFd as _;
use rustix::fs::Timespec;

use super::header::END;
use super::memory::{MOST_OF_ALL, MOST_OF_ONE};
use super::*;
use crate::rules::{RuleOptions, Rules};
use crate::site::tests::test_site::TestSite;
use crate::site::{ListingView, LookupResult, ResourceRequest, Site, SiteSettings};
use crate::torn::Torn;

fn site_of(ground: &TestSite, change: impl FnOnce(&mut SiteSettings)) -> Arc<Site> {
    Arc::new(ground.site_with(|settings| {
        settings.archives = true;
        change(settings);
    }))
}

fn job(site: &Arc<Site>, path: &str, ranged: bool) -> IndexJob {
    let (path, codings) = (path.as_bytes().to_vec(), Codings::default());
    let view = ListingView::default().changed_by(b"format=tar");
    let request = ResourceRequest { path, directory: true, codings, ranged, view };
    match site.run_lookup(site.lookup(request)).0 {
        LookupResult::Archive(found) => Arc::clone(site).index(*found, Viewer::default(), ranged),
        other => panic!("no archive but {}", other.name()),
    }
}

fn run(job: &IndexJob) -> Result<Arc<Archive>, ArchiveError> {
    loop {
        match job.step() {
            IndexStep::Working => {}
            IndexStep::Ready(archive) => return Ok(archive),
            IndexStep::Failed(error) => return Err(error),
        }
    }
}

fn archive(site: &Arc<Site>, path: &str) -> Arc<Archive> {
    run(&job(site, path, false)).unwrap()
}

/// Returns a range of an archive; `None` if a file has changed.
fn read(site: &Arc<Site>, archive: &Arc<Archive>, range: Range<u64>) -> Option<Vec<u8>> {
    let pieces = vec![ArchivePiece::Range(range)];
    let mut body = ArchiveBody::new(Arc::clone(site), Arc::clone(archive), pieces, Torn::default());
    let mut bytes = Vec::new();
    while !body.is_complete() {
        let parts = match body.step() {
            ArchiveStep::Parts(parts) => parts,
            ArchiveStep::Changed => return None,
            ArchiveStep::Failed(error) => panic!("{error}"),
        };
        for part in parts {
            match part {
                ArchivePart::Bytes(part) => bytes.extend(part),
                ArchivePart::File(file, range) => {
                    let mut part = vec![0; (range.end - range.start).try_into().unwrap()];
                    let file: fs::File = file.as_fd().try_clone_to_owned().unwrap().into();
                    file.read_exact_at(&mut part, range.start).unwrap();
                    bytes.extend(part);
                }
            }
        }
    }
    Some(bytes)
}

fn whole(site: &Arc<Site>, archive: &Arc<Archive>) -> Vec<u8> {
    let bytes = read(site, archive, 0..archive.size()).unwrap();
    assert_eq!(bytes.len() as u64, archive.size());
    bytes
}

/// Returns the names of the entries, with the targets of links.
fn names(site: &Arc<Site>, path: &str) -> Vec<String> {
    let bytes = whole(site, &archive(site, path));
    let mut reader = tar::Archive::new(&bytes[..]);
    let entries = reader.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.link_name_bytes() {
            Some(link) => format!("{name} -> {}", String::from_utf8_lossy(&link)),
            None => name,
        }
    });
    entries.collect()
}

fn tree() -> TestSite {
    let ground = TestSite::new();
    ground.file("d/b/2", &"2".repeat(511)).file("d/b/1", &"1".repeat(512)).file("d/a", "");
    ground.file("d/b-", "x").file("d/c/d/e/f", &"f".repeat(70_000));
    ground.file(&format!("d/{}", "n".repeat(150)), "long");
    ground.link("d/b/up", "../a").link(&format!("d/{}", "l".repeat(101)), "b/1");
    ground.directory("d/empty");
    ground
}

#[test]
fn ranges_are_parts_of_the_whole() {
    let ground = tree();
    let site = site_of(&ground, |_| {});
    let archive = archive(&site, "d");
    let bytes = whole(&site, &archive);
    let mut edges: Vec<u64> = archive.entries().iter().map(|entry| entry.offset).collect();
    edges.push(archive.size() - END);
    edges.push(archive.size());
    let near = |edge: &u64| [edge.saturating_sub(1), *edge, edge + 1, edge + 511, edge + 513];
    let mut places: Vec<_> = edges.iter().flat_map(near).collect();
    // An arithmetic progression that meets all residues of a block.
    places.extend((0..200).map(|number| number * 7919 % archive.size()));
    places.retain(|place| *place <= archive.size());
    for (number, start) in places.iter().enumerate() {
        let end = places[(number * 31 + 7) % places.len()].max(*start);
        let [first, behind] = [*start, end].map(|place| usize::try_from(place).unwrap());
        let part = read(&site, &archive, *start..end).unwrap();
        assert!(part == bytes[first..behind], "{start}..{end}");
    }
}

#[test]
fn entries_are_in_order_beneath_the_name_of_the_directory() {
    let ground = tree();
    let site = site_of(&ground, |_| {});
    let (long, link) = ("n".repeat(150), "l".repeat(101));
    let expected = ["", "a", "b/", "b/1", "b/2", "b/up -> ../a", "b-", "c/", "c/d/", "c/d/e/"];
    let mut expected: Vec<_> = expected.iter().map(|name| format!("d/{name}")).collect();
    expected.push("d/c/d/e/f".to_owned());
    expected.push("d/empty/".to_owned());
    expected.push(format!("d/{link} -> b/1"));
    expected.push(format!("d/{long}"));
    assert_eq!(names(&site, "d"), expected);
    assert_eq!(names(&site, "d/b"), ["b/", "b/1", "b/2", "b/up -> ../a"]);
    let of_root = names(&site, "");
    assert_eq!(of_root, expected, "the root has no name");
}

#[test]
fn attributes_are_kept_and_owners_are_not() {
    let ground = TestSite::new();
    ground.file("d/f", "x").file("d/early", "").file("d/large", "");
    fs::set_permissions(ground.path("d/f"), fs::Permissions::from_mode(0o6751)).unwrap();
    ground.modified("d/f", Timespec { tv_sec: 1_234_567_890, tv_nsec: 5 });
    ground.modified("d/early", Timespec { tv_sec: -86_400, tv_nsec: 0 });
    fs::File::options().write(true).open(ground.path("d/large")).unwrap().set_len(9 << 30).unwrap();
    let site = site_of(&ground, |_| {});
    let archive = archive(&site, "d");
    let header = |index: usize| {
        let start = archive.entries()[index].offset;
        let bytes = read(&site, &archive, start..start + 512).unwrap();
        tar::Header::from_byte_slice(&bytes).clone()
    };
    let (early, f, large) = (header(1), header(2), header(3));
    assert_eq!((f.mode().unwrap(), f.mtime().unwrap()), (0o751, 1_234_567_890));
    assert_eq!((f.uid().unwrap(), f.gid().unwrap()), (0, 0));
    assert_eq!((f.username(), f.groupname()), (Ok(Some("")), Ok(Some(""))));
    let time = early.as_gnu().unwrap().mtime;
    assert_eq!(&time[..], [&[255; 4][..], &(-86_400_i64).to_be_bytes()].concat());
    assert_eq!(large.size().unwrap(), 9 << 30);
    assert_eq!(archive.size(), 4 * 512 + 512 + (9 << 30) + END);
}

#[test]
fn only_entries_that_a_request_could_get_are_in_it() {
    let ground = TestSite::new();
    ground.file("f", "f").file("secret", "").file("d/f", "").file("d/.hidden", "");
    ground.file("d/.git/config", "").file("d/denied/f", "").file("d/moved", "").file("d/s/f", "");
    for (name, target) in [
        ("in", "f"),
        ("up", "../f"),
        ("dir", "s"),
        ("out", "../../outside"),
        ("root", "/"),
        ("none", "nothing"),
        ("loop", "loop"),
        ("to-hidden", ".hidden"),
        ("to-denied", "denied/f"),
        ("absolute", "/etc/passwd"),
    ] {
        ground.link(&format!("d/{name}"), target);
    }
    symlink("x", ground.path("d").join(OsStr::from_bytes(b"bad\xff"))).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ground.path("d/socket")).unwrap();
    fs::write(ground.root().parent().unwrap().join("outside"), "").unwrap();
    let rules = |settings: &mut SiteSettings| {
        let options = RuleOptions {
            deny: vec!["/d/denied/**=all".parse().unwrap()],
            redirects: vec!["/d/moved /f".parse().unwrap()],
            ..RuleOptions::default()
        };
        let mut rules = Rules::new(&options, b"index.html").unwrap();
        rules.read_access(&options).unwrap();
        settings.rules = Arc::new(rules);
    };
    let expected = ["d/", "d/dir -> s", "d/f", "d/in -> f", "d/s/", "d/s/f", "d/up -> ../f"]
        .map(str::to_owned);
    let found = names(&site_of(&ground, rules), "d");
    let found: Vec<_> = found.into_iter().filter(|name| name != "d/denied/").collect();
    assert_eq!(found, expected);
    let all = names(&site_of(&ground, |settings| settings.hidden = true), "d");
    for name in ["d/.git/config", "d/denied/f", "d/moved", "d/to-hidden -> .hidden"] {
        assert!(all.iter().any(|known| known == name), "{name}: {all:?}");
    }
}

#[test]
fn a_file_that_changes_ends_the_body_and_changes_the_tag() {
    let ground = tree();
    let site = site_of(&ground, |_| {});
    let before = archive(&site, "d");
    ground.file("d/b/1", &"3".repeat(512));
    assert_eq!(read(&site, &before, 0..before.size()), None);
    let start = before.entries()[6].offset;
    assert!(read(&site, &before, start..before.size()).is_some(), "behind it");
    let after = archive(&site, "d");
    assert!(before.etag().is_some() && after.etag().is_some());
    assert_ne!(before.etag(), after.etag());
    assert_ne!(whole(&site, &after), Vec::<u8>::new());
    fs::remove_file(ground.path("d/b/2")).unwrap();
    assert_eq!(read(&site, &after, 0..after.size()), None);
}

#[test]
fn shared_tags_are_those_of_replicas() {
    let grounds = [tree(), tree()];
    for ground in &grounds {
        let link = format!("d/{}", "l".repeat(101));
        for name in ["d/b/up", &link, "d/b", "d/c", "d/c/d", "d/c/d/e", "d/empty", "d"] {
            ground.modified(name, Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 });
        }
    }
    let tags = |shared: bool| {
        grounds.each_ref().map(|ground| {
            let site = site_of(ground, |settings| {
                if shared {
                    settings.etag = crate::site::FileEtag::Shared;
                }
            });
            *archive(&site, "d").etag().unwrap()
        })
    };
    let ([one, other], [shared, same]) = (tags(false), tags(true));
    assert_ne!(one, other);
    assert_eq!(shared, same);
}

#[test]
fn requests_share_a_walk_and_equal_archives() {
    let ground = tree();
    let site = site_of(&ground, |_| {});
    let (one, two) = (job(&site, "d", false), job(&site, "d", true));
    let first = run(&one).unwrap();
    assert!(Arc::ptr_eq(&first, &run(&two).unwrap()), "the same walk");
    assert!(Arc::ptr_eq(&first, &archive(&site, "d")), "another walk, an equal archive");
    ground.file("d/new", "");
    let kept = run(&job(&site, "d", true)).unwrap();
    assert!(Arc::ptr_eq(&first, &kept), "a part of the archive that was there");
    let walked = archive(&site, "d");
    assert_ne!(walked.etag(), first.etag());
    assert!(Arc::ptr_eq(&walked, &run(&job(&site, "d", true)).unwrap()));
}

#[test]
fn a_walk_without_a_request_is_dropped() {
    let ground = TestSite::new();
    for number in 0..2 * walk::NAMES {
        ground.file(&format!("d/{number}"), "");
    }
    let site = site_of(&ground, |_| {});
    let jobs = [job(&site, "d", false), job(&site, "d", false)];
    assert!(matches!(jobs[0].step(), IndexStep::Working));
    let [one, other] = jobs;
    drop(one);
    assert!(site.archives.memory().load(Ordering::Relaxed) > 0, "the other waits");
    drop(other);
    assert_eq!(site.archives.memory().load(Ordering::Relaxed), 0);
}

#[test]
fn without_memory_there_is_no_archive() {
    let ground = tree();
    let site = site_of(&ground, |_| {});
    site.archives.memory().store(MOST_OF_ALL, Ordering::Relaxed);
    assert!(matches!(run(&job(&site, "d", false)), Err(ArchiveError::Full)));
    assert_eq!(site.archives.memory().load(Ordering::Relaxed), MOST_OF_ALL, "none is lost");
    site.archives.memory().store(0, Ordering::Relaxed);
    assert!(run(&job(&site, "d", false)).is_ok());
}

/// 100,000 files with `KAREZ_HAMMER=full`, otherwise a tenth.
#[test]
fn many_files_take_bounded_memory_and_steps() {
    let full = std::env::var("KAREZ_HAMMER").is_ok_and(|value| value == "full");
    let each = if full { 5000 } else { 500 };
    let ground = TestSite::new();
    for directory in 0..20 {
        ground.file(&format!("many/{directory}/0"), "x");
        let first = ground.path(&format!("many/{directory}/0"));
        for number in 1..each {
            fs::hard_link(&first, ground.path(&format!("many/{directory}/{number}"))).unwrap();
        }
    }
    let site = site_of(&ground, |_| {});
    let taken = || site.archives.memory().load(Ordering::Relaxed);
    let (job, mut steps, mut most) = (job(&site, "many", false), 0, 0);
    let archive = loop {
        steps += 1;
        match job.step() {
            IndexStep::Working => most = most.max(taken()),
            IndexStep::Ready(archive) => break archive,
            IndexStep::Failed(error) => panic!("{error:?}"),
        }
    };
    let count = 20 * each + 21;
    assert_eq!(archive.entries().len(), count);
    assert!(steps > count / walk::NAMES, "{steps} steps");
    const { assert!(250 * 250_000 < MOST_OF_ONE) };
    assert!(most < 250 * count, "{most} bytes");
    assert!(taken() < 110 * count, "{} bytes are left", taken());
    let middle = archive.size() / 2;
    let part = read(&site, &archive, middle..middle + 5000).unwrap();
    assert!(part.contains(&b'x'));
}
