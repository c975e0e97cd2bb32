//! The results of lookups, except for the subjects of the modules below.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;

mod content_tags;
mod freshness;
mod precompressed;
mod ring;
mod roots;
mod scarcity;
pub(super) mod test_site;
mod validators;

use karez_http::{Codings, PreparedStart};

use test_site::{NOW, TestSite, content, lines, tag_of};

#[test]
fn a_root_that_cannot_be_served_is_named() {
    let ground = TestSite::new();
    ground.file("a", "");
    for (path, reason) in [("a", "Not a directory"), ("b", "No such file or directory")] {
        let path = ground.path(path);
        let error = Site::open(&path, SiteSettings::default()).err().unwrap().to_string();
        assert!(error.starts_with(&format!("open {path:?}: {reason} (os error ")), "{error}");
    }
}

#[test]
fn files_and_what_their_heads_say() {
    let ground = TestSite::new();
    ground.file("a/b/page.html", "hello").file("empty", "");
    let site = ground.site();
    let file = site.file("a/b/page.html");
    assert_eq!(content(&file), "hello");
    assert_eq!(file.validators(NOW).modified, Some(1_000_000_000));
    let etag = tag_of(&file).unwrap();
    let validators = format!("ETag: {etag}\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    let content_type = "Content-Type: text/html; charset=utf-8\r\n";
    assert_eq!(lines(&file, PreparedStart::Validators, NOW), validators.as_bytes());
    assert_eq!(lines(&file, PreparedStart::Coding, NOW), validators.as_bytes());
    assert_eq!(file.prepared().content_type(), "text/html; charset=utf-8");
    assert_eq!(
        lines(&file, PreparedStart::Type, NOW),
        format!("{content_type}{validators}").as_bytes()
    );
    assert_eq!(site.file("empty").size(), 0);
}

#[test]
fn directories_and_their_slash() {
    let ground = TestSite::new();
    ground.file("with/index.html", "index").directory("without").file("odd/index.html/x", "");
    ground.file("root", "");
    let site = ground.site();
    assert_eq!(content(&site.file("with/")), "index");
    for (url, expected) in [
        ("with", "MissingSlash"),
        ("without", "MissingSlash"),
        ("without/", "Directory"),
        ("odd/", "Directory"),
        ("root/", "Missing"),
        ("root/x", "Missing"),
        ("nonesuch", "Missing"),
        ("nonesuch/", "Missing"),
        ("", "Directory"),
    ] {
        assert_eq!(site.ask(url.as_bytes()).name(), expected, "{url}");
    }
    let site = ground.site_with(|options| options.listing = false);
    assert_eq!(site.ask(b"without/").name(), "ListingForbidden");
    assert_eq!(site.ask(b"with/").name(), "File");
    let site = ground.site_with(|options| options.index = Vec::new());
    assert_eq!(site.ask(b"with/").name(), "Directory");
    ground.file("index.html", "root");
    assert_eq!(content(&ground.site().file("")), "root");
}

#[test]
fn what_the_kernel_has_in_its_caches_is_found_without_waiting() {
    let ground = TestSite::new();
    ground.file("file", "content").file("with/index.html", "index").directory("without");
    ground.file("packed", "long").file("packed.gz", "short").link("in", "file");
    let site = ground.site();
    for url in ["file", "with/", "with", "without/", "packed", "in", "nonesuch", ".hidden"] {
        let (path, directory) = (url.trim_end_matches('/').into(), url.ends_with('/'));
        let (codings, view) = (Codings::default(), ListingView::default());
        let request = ResourceRequest { path, directory, codings, ranged: false, view };
        let lookup = || site.lookup(request.clone());
        if url == "nonesuch" {
            assert!(site.run_cached(lookup()).is_err(), "the kernel has not cached it");
        }
        let whole = site.run_lookup(lookup()).0;
        // The kernel may answer that it would have to wait, and before 5.12 always does.
        let cached = site.run_cached(lookup());
        assert!(cached.is_err() || cached.is_ok_and(|(it, _)| it.name() == whole.name()), "{url}");
    }
}

#[test]
fn dot_files_exist_only_if_hidden_ones_are_served() {
    let ground = TestSite::new();
    ground.file(".env", "").file(".git/config", "").file("a/.b/c", "").file("a/.b/index.html", "");
    let urls: [&[u8]; 5] = [b".env", b".git/config", b"a/.b/c", b"a/.b", b"a/.b/"];
    let (closed, open) = (ground.site(), ground.site_with(|options| options.hidden = true));
    for url in urls {
        assert_eq!(closed.ask(url).name(), "Missing");
        assert_ne!(open.ask(url).name(), "Missing");
    }
}

#[test]
fn well_known_is_served_at_the_top_alone() {
    let ground = TestSite::new();
    for path in [".well-known/acme/token", ".well-known/.x", ".well-known-not", "a/.well-known/f"] {
        ground.file(path, "");
    }
    let site = ground.site();
    assert_eq!(site.ask(b".well-known/acme/token").name(), "File");
    assert_eq!(site.ask(b".well-known/").name(), "Directory");
    assert_eq!(site.ask(b".well-known").name(), "MissingSlash");
    for path in [".well-known/.x", ".well-known-not", "a/.well-known/f", "a/.well-known/"] {
        assert_eq!(site.ask(path.as_bytes()).name(), "Missing", "{path}");
    }
}

#[test]
fn links_work_unless_they_leave_the_root() {
    let ground = TestSite::new();
    fs::write(ground.root().join("../secret"), "secret").unwrap();
    ground.file("a/file", "inside").file("releases/2/index.html", "two");
    ground.link("in", "a/file").link("a/up", "../a/file").link("current", "releases/2");
    ground.link("out", "../secret").link("parent", "..").link("dangling", "nonesuch");
    ground.link("absolute", ground.path("a/file")).link("loop", "loop");
    ground.link("proc", "/proc/self/root").link("out-and-in", "../site/a/file");
    let site = ground.site();
    for (url, expected) in [("in", "inside"), ("a/up", "inside"), ("current/", "two")] {
        assert_eq!(content(&site.file(url)), expected, "{url}");
        assert_eq!(content(&site.file(url)), expected, "{url}, again");
    }
    assert_eq!(site.ask(b"current").name(), "MissingSlash");
    for url in [
        "out",
        "parent",
        "parent/",
        "parent/secret",
        "dangling",
        "absolute",
        "loop",
        "proc",
        "proc/etc/passwd",
        "out-and-in",
    ] {
        assert_eq!(site.ask(url.as_bytes()).name(), "Missing", "{url}");
    }
}

#[test]
fn what_is_neither_file_nor_directory_is_missing() {
    let ground = TestSite::new();
    let make = |name, kind, device| {
        mknodat(CWD, ground.path(name), kind, Mode::from_raw_mode(0o666), device)
    };
    make("fifo", FileType::Fifo, 0).unwrap();
    // Only the superuser can make devices; for other users the file does not exist.
    let _ = make("null", FileType::CharacterDevice, makedev(1, 3));
    let _ = make("nonesuch", FileType::CharacterDevice, makedev(511, 77));
    let _listener = UnixListener::bind(ground.path("socket")).unwrap();
    ground.link("to-fifo", "fifo").directory("d").link("d/index.html", "../fifo");
    let site = ground.site();
    let urls: [&[u8]; 7] =
        [b"fifo", b"fifo/", b"socket", b"null", b"nonesuch", b"to-fifo", b"d/index.html"];
    for url in urls {
        assert_eq!(site.ask(url).name(), "Missing", "{}", String::from_utf8_lossy(url));
    }
    assert_eq!(site.ask(b"d/").name(), "Directory");
}

#[test]
fn names_of_any_bytes() {
    let ground = TestSite::new();
    ground.file("a\\b ?#%41:\n", "odd");
    let site = ground.site();
    assert_eq!(content(&site.file("a\\b ?#%41:\n")), "odd");
    let long = [b'x'; 256];
    let deep = b"x/".repeat(3000);
    for url in [&b"a\0b"[..], b"\0", &long, &deep, b"\xff\xfe"] {
        assert_eq!(site.ask(url).name(), "Missing");
    }
}

#[test]
fn what_may_not_be_read_is_denied() {
    let ground = TestSite::new();
    ground.file("secret", "x").file("closed/a", "x").file("walk/index.html", "x");
    ground.file("index/index.html", "x");
    let forbid = |name, mode| {
        fs::set_permissions(ground.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let site = ground.site();
    // Put in the cache while it may still be read.
    assert_eq!(site.ask(b"secret").name(), "File");
    forbid("secret", 0);
    forbid("closed", 0);
    forbid("walk", 0o111);
    forbid("index/index.html", 0);
    powerless(|| {
        for (url, expected) in [
            ("secret", "Denied"),
            ("closed/a", "Denied"),
            ("closed/", "Denied"),
            ("closed", "MissingSlash"),
            ("walk", "MissingSlash"),
            ("walk/", "File"),
            ("index/", "Denied"),
        ] {
            assert_eq!(site.ask(url.as_bytes()).name(), expected, "{url}");
        }
    });
}

#[test]
fn a_site_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Site>();
    sent::<LookupResult>();
    sent::<ResourceRequest>();
}

/// Runs a function without the capabilities that override permissions, in a thread of its own, because
/// capabilities belong to threads.
fn powerless(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            let power = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
            sets.effective.remove(power);
            set_capabilities(None, sets).unwrap();
            run();
        });
        thread.join().unwrap();
    });
}
