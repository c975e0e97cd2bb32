//! The root is the directory that has its name now, for every kind of answer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, Timespec, mkdirat, openat};
use rustix::fs::{OFlags, renameat};
use rustix::io::Errno;

use super::powerless;
use super::test_site::{LONG_AGO, NOW, TestSite, accept, content};
use crate::site::{ListingStep, LookupResult};

fn two_releases() -> TestSite {
    let ground = TestSite::new();
    for release in ["1", "2"] {
        for name in ["f", "d/index.html", "packed", "packed.gz"] {
            ground.file(&format!("{release}/{name}"), &format!("{name} of {release}"));
        }
        ground.file(&format!("{release}/list/entry-{release}"), "");
        ground.file(&format!("{release}/only-{release}"), "");
        ground.link(&format!("{release}/link"), "f");
        ground.link(&format!("{release}/out"), "../1/f");
    }
    ground.swap("1");
    ground
}

fn listing(found: LookupResult) -> String {
    let LookupResult::Directory(mut listing) = found else { panic!("{}", found.name()) };
    let mut page = Vec::new();
    loop {
        match listing.step().unwrap() {
            ListingStep::Working | ListingStep::Ready => {}
            ListingStep::Refused(refusal) => panic!("{refusal:?}"),
            ListingStep::Chunk(chunk) => page.extend(chunk),
            ListingStep::Done => return String::from_utf8(page).unwrap(),
        }
    }
}

#[test]
fn a_swapped_link_is_the_new_tree_at_once() {
    let ground = two_releases();
    let site = ground.site_at_link();
    for round in 0..6 {
        let (release, other) = [("1", "2"), ("2", "1")][round % 2];
        ground.swap(release);
        // Each of them may be the first to see it.
        for first in 0..7 {
            let asked = |number| (first + number) % 7;
            for number in (0..7).map(asked) {
                let file = |url: &str| content(&site.file(url));
                match number {
                    0 => assert_eq!(file("f"), format!("f of {release}")),
                    1 => assert_eq!(file("d/"), format!("d/index.html of {release}")),
                    2 => assert_eq!(file("link"), format!("f of {release}")),
                    3 => {
                        let packed = site.ask_for(b"packed", accept("gzip")).file();
                        assert_eq!(content(&packed), format!("packed.gz of {release}"));
                    }
                    4 => {
                        let page = listing(site.ask(b"list/"));
                        assert!(page.contains(&format!("entry-{release}")), "{page}");
                    }
                    5 => assert_eq!(site.ask(format!("only-{other}").as_bytes()).name(), "Missing"),
                    _ => assert_eq!(site.ask(b"out").name(), "Missing", "confined to the new one"),
                }
            }
            let release = if first % 2 == 0 { other } else { release };
            if first == 6 {
                break;
            }
            ground.swap(release);
            assert_eq!(content(&site.file("f")), format!("f of {release}"));
            ground.swap([("1", "2"), ("2", "1")][round % 2].0);
        }
    }
}

#[test]
fn the_cache_holds_nothing_of_the_tree_before() {
    let ground = two_releases();
    let site = ground.site_at_link();
    let (old, packed) = (site.file("f"), Arc::downgrade(&site.file("packed")));
    ground.swap("2");
    assert_eq!(content(&site.file("f")), "f of 2");
    assert!(packed.upgrade().is_none(), "its disk space is given back");
    assert_eq!(content(&old), "f of 1", "an answer on its way keeps its file");
    let kept = site.file("f");
    ground.swap("2");
    assert!(Arc::ptr_eq(&kept, &site.file("f")), "another link to the same tree");
}

#[test]
fn a_lookup_stays_in_one_tree() {
    let ground = TestSite::new();
    ground.file("1/page", "one").file("2/page", "two").file("2/page.gz", "older than its original");
    let at = |tv_nsec| Timespec { tv_nsec, ..LONG_AGO };
    ground.modified("1/page", at(5)).modified("2/page", at(9)).modified("2/page.gz", at(7));
    ground.swap("1");
    let site = ground.site_at_link();
    site.file("page");
    let (path, codings) = (b"page".to_vec(), accept("gzip"));
    let view = crate::site::ListingView::default();
    let request =
        crate::site::ResourceRequest { path, directory: false, codings, ranged: false, view };
    let mut lookup = site.lookup(request);
    let node = site.resolve_current(&mut lookup);
    assert!(site.classify(&mut lookup, node).is_none(), "its siblings come next");
    ground.swap("2");
    let found = site.run_lookup(lookup).0.file();
    assert_eq!((content(&found), found.coding()), ("two".to_owned(), None));
}

#[test]
fn a_root_may_be_gone_for_a_while() {
    let ground = TestSite::new();
    ground.file("a", "old").file("d/index.html", "");
    let site = ground.site();
    site.file("a");
    let aside = ground.root().with_extension("aside");
    fs::rename(ground.root(), &aside).unwrap();
    for url in ["a", "d/", "d", "", "nonesuch"] {
        assert_eq!(site.ask(url.as_bytes()).name(), "Missing", "{url:?}");
    }
    fs::write(ground.root(), "a file").unwrap();
    assert_eq!(site.ask(b"a").name(), "Missing");
    fs::remove_file(ground.root()).unwrap();
    fs::rename(&aside, ground.root()).unwrap();
    assert_eq!(content(&site.file("a")), "old");
    fs::rename(ground.root(), aside).unwrap();
    fs::create_dir(ground.root()).unwrap();
    assert_eq!(site.ask(b"a").name(), "Missing");
    ground.file("a", "new");
    assert_eq!(content(&site.file("a")), "new");
}

#[test]
fn a_root_that_may_not_be_reached_is_denied() {
    let ground = two_releases();
    let site = ground.site_at_link();
    site.file("f");
    let outer = ground.current().parent().unwrap().to_owned();
    let mode = |mode| fs::set_permissions(&outer, fs::Permissions::from_mode(mode)).unwrap();
    mode(0);
    powerless(|| assert_eq!(site.ask(b"f").name(), "Denied"));
    mode(0o700);
    assert_eq!(content(&site.file("f")), "f of 1");
}

#[test]
fn no_date_from_before_a_swap_tells_anything_of_the_new_tree() {
    let ground = two_releases();
    let site = ground.site_at_link();
    let before = site.file("f").validators(NOW).changed;
    ground.swap("2");
    let swapped = site.file("f").validators(NOW).changed;
    let now = crate::http_clock::now().unix;
    assert!(swapped >= before && (now - 60..=now).contains(&swapped), "{before} {swapped} {now}");
}

/// A path beneath the root that is longer than the kernel takes, once the root's is before it.
#[test]
fn a_path_that_is_too_long_with_its_root_is_confirmed_as_well() {
    let name = "x".repeat(250);
    let deep = [&*name; 8].join("/");
    let ground = TestSite::new();
    let long = [&*name; 9].join("/");
    for release in ["1", "2"] {
        // Made from within, for the same reason.
        ground.directory(&format!("{release}/{long}"));
        let from = fs::File::open(ground.path(&format!("{release}/{long}"))).unwrap();
        let mut at = std::os::fd::OwnedFd::from(from);
        for _ in 0..7 {
            mkdirat(&at, &*name, Mode::from(0o755)).unwrap();
            at = openat(&at, &*name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let file = openat(&at, "new", OFlags::WRONLY | OFlags::CREATE, Mode::from(0o644)).unwrap();
        rustix::io::write(&file, release.as_bytes()).unwrap();
        renameat(&at, "new", &at, &*name).unwrap();
    }
    let whole = ground.path("1").join(&long).join(&deep);
    assert_eq!(
        fs::metadata(whole).unwrap_err().raw_os_error(),
        Some(Errno::NAMETOOLONG.raw_os_error())
    );
    for _ in 0..2 {
        ground.swap(&format!("1/{long}"));
        let site = ground.site_at_link();
        // The link keeps the root's own path short; the tree's is long where it is served itself.
        let direct = {
            let options =
                crate::site::SiteSettings { cached_files: Some(64), ..Default::default() };
            let mut site = crate::site::Site::open(&ground.path("1").join(&long), options).unwrap();
            site.granularity = std::time::Duration::ZERO;
            site
        };
        let first = direct.file(&deep);
        assert_eq!(content(&first), "1");
        assert!(first.absolute().is_none());
        assert!(Arc::ptr_eq(&first, &direct.file(&deep)), "it is kept all the same");
        assert_eq!(content(&site.file(&deep)), "1");
        let (one, two) = (ground.path("1"), ground.path("2"));
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, &one, CWD, &two, exchange).unwrap();
        assert_eq!(content(&direct.file(&deep)), "2");
        assert_eq!(content(&site.file(&deep)), "2");
        rustix::fs::renameat_with(CWD, &one, CWD, &two, exchange).unwrap();
        assert_eq!(content(&direct.file(&deep)), "1");
    }
}
