//! Lookups by io_uring have the results of lookups by system calls. All requests of the other tests are
//! looked up in both ways: [`in_both_ways`].

use std::sync::Arc;

use karez_http::{Coding, Codings};
use karez_sys::{Operation, Outcome, Ring, RingOptions};
use rustix::io::Errno;

use super::super::cache::Cache;
use super::super::closer::Closers;
use super::super::mounts::Mounts;
use super::super::paths::has_hidden_segment;
use super::test_site::{TestSite, accept, content};
use super::*;

/// Returns the result by system calls. The result by io_uring must be the same, if it is available.
pub(super) fn in_both_ways(site: &Site, request: ResourceRequest) -> LookupResult {
    let found = site.run_lookup(site.lookup(request.clone())).0;
    // A site with an empty cache of its own: nothing can be evicted from it.
    let (root, cache, options) = (Arc::clone(&site.root), Cache::new(0), site.options.clone());
    let twin = Site {
        number: u32::MAX,
        mounts: Mounts::of(&root.held()),
        closers: Closers::default(),
        compressed: None,
        archives: Default::default(),
        root,
        cache,
        granularity: site.granularity,
        options,
    };
    if let Some(opened) = by_ring(&twin, request).filter(|found| found.name() != "Busy") {
        assert_eq!(opened.name(), found.name());
        if let (LookupResult::File { file: one, .. }, LookupResult::File { file: other, .. }) =
            (&opened, &found)
        {
            assert_eq!(one.identity(), other.identity());
            assert_eq!(one.coding(), other.coding());
        }
    }
    found
}

/// Returns the result by io_uring, as if the kernel had no name in its caches.
#[allow(clippy::print_stdout, reason = "a test says what it skips")]
fn by_ring(site: &Site, request: ResourceRequest) -> Option<LookupResult> {
    let few = RingOptions::default().submissions(4).completions(8).buffers(0);
    let Ok(mut ring) = Ring::new(few) else {
        println!("skipped: io_uring is refused");
        return None;
    };
    if !site.options.hidden && has_hidden_segment(&request.path) {
        return None; // it is not looked up at all
    }
    let mut lookup = site.lookup(request);
    loop {
        // `None` with substitutions, and for a name with a NUL.
        let open = site.open_request(&mut lookup)?;
        ring.start(1, Operation::Open(Box::new(open)));
        let mut done = Vec::new();
        while done.is_empty() {
            ring.wait(None, &mut done).unwrap();
        }
        let Outcome::Opened(opened) = done.remove(0).outcome else { panic!() };
        match site.opened(lookup, opened) {
            Ok((found, _)) => return Some(found),
            Err(same) => lookup = same,
        }
    }
}

fn request(path: &str, codings: Codings) -> ResourceRequest {
    ResourceRequest {
        path: path.into(),
        directory: false,
        codings,
        ranged: false,
        view: ListingView::default(),
    }
}

/// Returns the result of a lookup whose opens fail with these errors, one after the other.
fn after(
    site: &Site,
    results: impl IntoIterator<Item = Errno>,
) -> Result<LookupResult, PathLookup> {
    let mut lookup = site.lookup(request("file", Codings::default()));
    for errno in results {
        site.open_request(&mut lookup).expect("a ring can help");
        match site.opened(lookup, Err(errno)) {
            Ok((found, _)) => return Ok(found),
            Err(same) => lookup = same,
        }
    }
    Err(lookup)
}

#[test]
fn a_race_is_run_again_and_not_for_ever() {
    let ground = TestSite::new();
    ground.file("file", "content");
    let site = ground.site();
    let again = after(&site, [Errno::AGAIN, Errno::INTR, Errno::AGAIN]);
    let mut lookup = again.err().expect("it is looked for again");
    assert!(site.open_request(&mut lookup).is_some());
    let lost = after(&site, std::iter::repeat_n(Errno::AGAIN, 100));
    assert_eq!(lost.ok().map(|found| found.name()), Some("Busy"));
    let broken = after(&site, [Errno::IO]).ok();
    let Some(LookupResult::Failed(error)) = broken else { panic!() };
    assert_eq!(error.to_string(), "look up \"file\": Input/output error (os error 5)");
}

#[test]
fn what_a_ring_cannot_do_is_done_by_calls() {
    let ground = TestSite::new();
    ground.file("file", "content");
    let site = ground.site();
    for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::CANCELED] {
        let mut lookup = after(&site, [errno]).err().expect("it knows nothing of the name");
        assert!(site.open_request(&mut lookup).is_none());
        assert_eq!(content(&site.run_lookup(lookup).0.file()), "content");
    }
}

#[test]
fn the_cache_gives_descriptors_away_once() {
    let ground = TestSite::new();
    ground.file("file", "content").file("other", "content");
    let site = ground.site();
    site.file("other");
    assert_eq!(site.cache.len(), 1);
    let found = after(&site, [Errno::MFILE, Errno::MFILE]);
    assert_eq!(found.ok().map(|found| found.name()), Some("Busy"));
    assert_eq!(site.cache.len(), 0);
}

#[test]
fn what_was_found_so_far_is_not_looked_for_again() {
    let ground = TestSite::new();
    ground.file("file", "content").file("file.gz", "packed");
    let site = ground.site_with(|options| options.cached_files = Some(0));
    let mut lookup = site.lookup(request("file", accept("gzip")));
    let name =
        |lookup: &mut PathLookup| site.open_request(lookup).map(|open| open.name().to_owned());
    assert_eq!(name(&mut lookup).as_deref(), Some(c"file"));
    let fd = fs::File::open(ground.path("file")).unwrap().into();
    let meta = Box::new(root::stat_fd(rustix::fd::AsFd::as_fd(&fd)).unwrap());
    match site.opened(lookup, Ok(karez_sys::OpenedFile { fd, meta })) {
        Ok((found, _)) => assert_eq!(found.file().coding(), Some(Coding::Gzip)),
        Err(mut lookup) => assert_eq!(name(&mut lookup).as_deref(), Some(c"file.gz")),
    }
}
