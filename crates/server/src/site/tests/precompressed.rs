//! Precompressed siblings: which is served, and that none is where it should not be.

use rustix::fs::Timespec;

use karez_http::encoding::Coding;

use karez_http::PreparedStart;

use super::test_site::{LONG_AGO, NOW, TestSite, accept, content, lines, tag_of};
use crate::site::{FileEtag, OpenFile, Site};

fn with_siblings() -> TestSite {
    let ground = TestSite::new();
    ground.file("app.css", "plain").file("app.css.zst", "zst");
    ground.file("app.css.br", "br").file("app.css.gz", "gz");
    ground
}

fn answer(site: &Site, accepted: &str) -> String {
    content(&site.ask_for(b"app.css", accept(accepted)).file())
}

fn date_of(file: &OpenFile) -> Option<u64> {
    file.validators(NOW).modified
}

#[test]
fn the_best_of_what_is_accepted() {
    let ground = with_siblings();
    let site = ground.site();
    for (accepted, expected) in [
        ("gzip, br, zstd", "zst"),
        ("gzip;q=0.9, br, zstd;q=0.1", "br"),
        ("gzip", "gz"),
        ("identity", "plain"),
        ("", "plain"),
        ("br;q=0", "plain"),
    ] {
        for round in 0..2 {
            assert_eq!(answer(&site, accepted), expected, "{accepted}, round {round}");
        }
    }
    std::fs::remove_file(ground.path("app.css.zst")).unwrap();
    assert_eq!(answer(&site, "zstd, gzip"), "gz");
}

#[test]
fn a_sibling_has_the_type_of_the_original_and_a_tag_of_its_own() {
    let ground = with_siblings();
    ground.file("app.css.br", "plain");
    let site = ground.site();
    let br = site.ask_for(b"app.css", accept("br")).file();
    assert_eq!(br.coding(), Some(Coding::Brotli));
    let text = String::from_utf8(lines(&br, PreparedStart::Type, NOW).to_vec()).unwrap();
    let head = "Content-Type: text/css; charset=utf-8\r\nContent-Encoding: br\r\nETag: ";
    assert!(text.starts_with(head), "{text}");
    assert!(lines(&br, PreparedStart::Coding, NOW).starts_with(b"Content-Encoding: br\r\n"));
    assert!(lines(&br, PreparedStart::Validators, NOW).starts_with(b"ETag: "));
    // Same size and time: only the coding distinguishes them.
    let shared = ground.site_with(|options| options.etag = FileEtag::Shared);
    for site in [&site, &shared] {
        let (plain, br) = (site.file("app.css"), site.ask_for(b"app.css", accept("br")).file());
        assert_eq!((plain.size(), date_of(&plain)), (br.size(), date_of(&br)));
        assert_ne!(tag_of(&plain), tag_of(&br));
    }

    // Asked for by its own name it is a file like any other, whatever the cache holds.
    for _ in 0..2 {
        let itself = site.file("app.css.br");
        assert_eq!(itself.coding(), None);
        assert!(!lines(&itself, PreparedStart::Type, NOW).starts_with(b"Content-Type: text/css"));
        assert_eq!(site.ask_for(b"app.css", accept("br")).file().coding(), Some(Coding::Brotli));
    }
}

#[test]
fn a_sibling_older_than_the_original_is_not_served() {
    let ground = with_siblings();
    let site = ground.site();
    let at = |tv_nsec| Timespec { tv_nsec, ..LONG_AGO };
    for (nanoseconds, expected) in [(6, "plain"), (7, "br"), (8, "br"), (6, "plain")] {
        ground.modified("app.css.br", at(nanoseconds));
        assert_eq!(answer(&site, "br"), expected, "{nanoseconds}");
    }
    // An outdated one does not stand in the way of the next best.
    assert_eq!(answer(&site, "br, gzip;q=0.5"), "gz");
    ground.modified("app.css", at(8));
    assert_eq!(answer(&site, "br, gzip;q=0.5"), "plain");
}

#[test]
fn only_regular_files_beneath_the_root_are_siblings() {
    let ground = TestSite::new();
    ground.file("app.css", "plain").directory("app.css.zst");
    std::fs::write(ground.root().join("../out"), "out").unwrap();
    ground.link("app.css.br", "../out");
    assert_eq!(answer(&ground.site(), "zstd, br, gzip"), "plain");
    // Nor does a sibling stand for an original that is not there.
    ground.file("gone.css.gz", "gz");
    assert_eq!(ground.site().ask_for(b"gone.css", accept("gzip")).name(), "Missing");
}

#[test]
fn an_index_has_siblings_too() {
    let ground = TestSite::new();
    ground.file("d/index.html", "plain").file("d/index.html.gz", "gz");
    let site = ground.site();
    assert_eq!(content(&site.ask_for(b"d/", accept("gzip")).file()), "gz");
    assert_eq!(content(&site.ask_for(b"d/", accept("br")).file()), "plain");
}
