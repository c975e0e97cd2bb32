//! Names looked up by a ring mean what they mean when they are opened by calls. (Whatever the other
//! tests ask for is looked up in both ways: [`in_both_ways`].)

use karez_http::encoding::Coding;
use karez_sys::{Operation, Outcome, Ring, RingOptions};
use rustix::io::Errno;

use super::ground::{Ground, accept, content};
use super::*;

/// What there is, by calls; by a ring it must be the same, if one is to be had.
pub(super) fn in_both_ways(site: &Site, wanted: Wanted) -> Found {
    let found = site.find(site.search(wanted.clone())).0;
    // One that keeps nothing open and leaves alone what the other does; nor can it give away any.
    let (root, cache, options) = (Arc::clone(&site.root), Cache::new(0), site.options.clone());
    let twin = Site {
        mounts: Mounts::of(root.held().as_fd()),
        closers: Closers::default(),
        root,
        cache,
        grain: site.grain,
        options,
    };
    if let Some(looked_up) = by_ring(&twin, wanted).filter(|found| found.name() != "Busy") {
        assert_eq!(looked_up.name(), found.name());
        if let (Found::File { file: one }, Found::File { file: other }) = (&looked_up, &found) {
            assert_eq!(one.identity(), other.identity());
            assert_eq!(one.coding(), other.coding());
        }
    }
    found
}

/// What there is, every name being as good as cold.
#[allow(clippy::print_stdout, reason = "a test says what it skips")]
fn by_ring(site: &Site, wanted: Wanted) -> Option<Found> {
    let few = RingOptions { submissions: 4, completions: 8, buffers: 0, ..RingOptions::default() };
    let Ok(mut ring) = Ring::new(few) else {
        println!("skipped: io_uring is refused");
        return None;
    };
    if !site.options.hidden && search::has_hidden_segment(&wanted.path) {
        return None; // nobody looks for it at all
    }
    let mut search = site.search(wanted);
    loop {
        // What has to be searched, or what no name can be.
        let lookup = site.lookup(&mut search)?;
        ring.start(1, Operation::LookUp(Box::new(lookup)));
        let mut done = Vec::new();
        while done.is_empty() {
            ring.wait(None, &mut done).unwrap();
        }
        let Outcome::LookedUp(opened) = done.remove(0).outcome else { panic!() };
        match site.looked_up(search, opened) {
            Ok((found, _)) => return Some(found),
            Err(same) => search = same,
        }
    }
}

fn wanted(path: &str, codings: Codings) -> Wanted {
    Wanted { path: path.into(), directory: false, codings, view: View::default() }
}

/// What comes of a search whose lookups end so, one after the other.
fn after(site: &Site, results: impl IntoIterator<Item = Errno>) -> Result<Found, Search> {
    let mut search = site.search(wanted("file", Codings::default()));
    for errno in results {
        site.lookup(&mut search).expect("a ring can help");
        match site.looked_up(search, Err(errno)) {
            Ok((found, _)) => return Ok(found),
            Err(same) => search = same,
        }
    }
    Err(search)
}

#[test]
fn a_race_is_run_again_and_not_for_ever() {
    let ground = Ground::new();
    ground.file("file", "content");
    let site = ground.site();
    let again = after(&site, [Errno::AGAIN, Errno::INTR, Errno::AGAIN]);
    let mut search = again.err().expect("it is looked for again");
    assert!(site.lookup(&mut search).is_some());
    let lost = after(&site, std::iter::repeat_n(Errno::AGAIN, 100));
    assert_eq!(lost.ok().map(|found| found.name()), Some("Busy"));
    let broken = after(&site, [Errno::IO]).ok();
    let Some(Found::Failed(error)) = broken else { panic!() };
    assert_eq!(error.to_string(), "look up \"file\": Input/output error (os error 5)");
}

#[test]
fn what_a_ring_cannot_do_is_done_by_calls() {
    let ground = Ground::new();
    ground.file("file", "content");
    let site = ground.site();
    for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::CANCELED] {
        let mut search = after(&site, [errno]).err().expect("it knows nothing of the name");
        assert!(site.lookup(&mut search).is_none());
        assert_eq!(content(&site.find(search).0.file()), "content");
    }
}

#[test]
fn the_cache_gives_descriptors_away_once() {
    let ground = Ground::new();
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
    let ground = Ground::new();
    ground.file("file", "content").file("file.gz", "packed");
    let site = ground.site_with(|options| options.cached_files = Some(0));
    let mut search = site.search(wanted("file", accept("gzip")));
    let name = |search: &mut Search| site.lookup(search).map(|lookup| lookup.name().to_owned());
    assert_eq!(name(&mut search).as_deref(), Some(c"file"));
    let fd = fs::File::open(ground.path("file")).unwrap().into();
    let meta = Box::new(root::stat_fd(rustix::fd::AsFd::as_fd(&fd)).unwrap());
    match site.looked_up(search, Ok(karez_sys::Opened { fd, meta })) {
        Ok((found, _)) => assert_eq!(found.file().coding(), Some(Coding::Gzip)),
        Err(mut search) => assert_eq!(name(&mut search).as_deref(), Some(c"file.gz")),
    }
}
