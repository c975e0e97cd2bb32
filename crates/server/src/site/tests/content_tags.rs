//! Tags by content: the same for equal bytes, and none as long as the hash is not known.

use std::fs;
use std::sync::Arc;

use karez_http::Coding;

use super::test_site::{LONG_AGO, TestSite, accept, tag_of};
use crate::site::content::hash_of_bytes;
use crate::site::content_tags::hash_of_file;
use crate::site::identity::Identity;
use crate::site::{ContentTags, FileEtag, LookupResult, OpenFile, Site};

fn site_with_tags(ground: &TestSite, tags: &ContentTags, max_size: u64) -> Site {
    ground.site_with(|options| {
        options.etag = FileEtag::Content { max_size };
        options.content_tags = tags.clone();
    })
}

fn site(ground: &TestSite) -> Site {
    site_with_tags(ground, &ContentTags::default(), 1 << 20)
}

/// Returns the tag of these bytes.
fn tag(bytes: &str, suffix: &str) -> String {
    let hash = hash_of_bytes(bytes.as_bytes());
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}{suffix}\"")
}

/// Asks for a file until its hash is known.
fn tagged(site: &Site, ask: impl Fn(&Site) -> LookupResult) -> Arc<OpenFile> {
    loop {
        let file = ask(site).file();
        if tag_of(&file).is_some() {
            return file;
        }
        site.request_tag(&file);
        std::thread::yield_now();
    }
}

#[test]
fn equal_contents_have_equal_tags_from_the_second_response_on() {
    let ground = TestSite::new();
    ground.file("a", "one").file("b", "one").file("c", "two");
    let site = site(&ground);
    for (name, content) in [("a", "one"), ("b", "one"), ("c", "two")] {
        let first = site.file(name);
        assert_eq!(tag_of(&first), None, "{name}");
        let file = tagged(&site, |site| site.ask(name.as_bytes()));
        assert_eq!(tag_of(&file), Some(tag(content, "")), "{name}");
        assert!(file.awaited_hash().is_none() && first.awaited_hash().is_some());
    }
    // SHA-256 as other programs have it.
    let known = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    assert_eq!(tag_of(&site.file("a")), Some(format!("\"{known}\"")));
    // A new version under the old size and time has no tag until it is hashed.
    fs::write(ground.path("a"), "six").unwrap();
    ground.modified("a", LONG_AGO);
    assert_eq!(tag_of(&site.file("a")), None);
    let file = tagged(&site, |site| site.ask(b"a"));
    assert_eq!(tag_of(&file), Some(tag("six", "")));
}

#[test]
fn codings_have_tags_of_their_own() {
    let ground = TestSite::new();
    ground.file("a.css", "same").file("a.css.br", "same");
    let site = site(&ground);
    let coded = tagged(&site, |site| site.ask_for(b"a.css", accept("br")));
    assert_eq!(coded.coding(), Some(Coding::Brotli));
    assert_eq!(tag_of(&coded), Some(tag("same", "-br")));
    let plain = tagged(&site, |site| site.ask(b"a.css"));
    assert_eq!(tag_of(&plain), Some(tag("same", "")));
}

#[test]
fn large_and_racy_files_have_no_tag() {
    let ground = TestSite::new();
    ground.file("a", "four").file("b", "three");
    let mut site = site_with_tags(&ground, &ContentTags::default(), 4);
    tagged(&site, |site| site.ask(b"a"));
    let large = site.file("b");
    assert!(tag_of(&large).is_none() && large.awaited_hash().is_none());
    site.granularity = std::time::Duration::from_secs(3600);
    ground.file("c", "new");
    let racy = site.file("c");
    assert!(tag_of(&racy).is_none() && racy.awaited_hash().is_none());
}

#[test]
fn a_file_that_is_written_while_it_is_hashed_has_no_tag() {
    let ground = TestSite::new();
    ground.file("a", "before");
    let site = site(&ground);
    let opened = site.file("a");
    assert_eq!(hash_of_file(&opened), Some(hash_of_bytes(b"before")));
    for content in ["behind", "longer than before", "cut", ""] {
        fs::write(ground.path("a"), content).unwrap();
        assert_eq!(hash_of_file(&opened), None, "{content}");
    }
}

#[test]
fn hashes_outlive_the_site_and_with_a_file_the_process() {
    let ground = TestSite::new();
    ground.file("a", "one");
    let path = ground.root().with_extension("tags");
    let tags = ContentTags::open(&path).unwrap();
    tagged(&site_with_tags(&ground, &tags, 10), |site| site.ask(b"a"));
    assert!(tag_of(&site_with_tags(&ground, &tags, 10).file("a")).is_some(), "another site");
    let again = ContentTags::open(&path).unwrap();
    assert_eq!(tag_of(&site_with_tags(&ground, &again, 10).file("a")), Some(tag("one", "")));
    // The inode is the same, and the version is not.
    ground.file("a", "two");
    assert_eq!(tag_of(&site_with_tags(&ground, &again, 10).file("a")), None);
}

#[test]
fn each_attribute_makes_another_version() {
    let ground = TestSite::new();
    ground.file("a", "one");
    let site = site(&ground);
    let version = |file: &OpenFile| Identity::version(file.identity());
    let first = version(&site.file("a"));
    assert_eq!(version(&site.file("a")), first);
    // The change time alone.
    fs::rename(ground.path("a"), ground.path("b")).unwrap();
    assert_ne!(version(&site.file("b")), first);
}
