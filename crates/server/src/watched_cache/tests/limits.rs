//! Bounds: of the queue, of entries, of watches, of the user's rights.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::parent_id;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Ground, Limits, Reason, is_again, is_root, kernel_watches, run_again, run_in_namespaces,
};

#[test]
fn an_overflow_of_the_queue_drops_everything() {
    let Some(mut ground) = Ground::new() else { return };
    let bound = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let bound: usize = bound.trim().parse().unwrap();
    if bound > 100_000 {
        println!("skipped: the queue takes {bound} events");
        return;
    }
    ground.write("file", "old");
    ground.survives("file", "a full queue that is read in time", |ground| fill(ground, bound / 4));
    ground.kept("file");
    fill(&ground, bound / 2 + 10);
    // This event is lost.
    ground.write("file", "new");
    assert!(ground.hit("file").is_none());
    assert_eq!((ground.cache.len(), kernel_watches(&ground.cache)), (0, 0));
    ground.kept("file");
    assert_eq!(ground.hit("file").unwrap().content, "new");
}

/// Makes two events each, which differ so that the kernel does not merge them.
fn fill(ground: &Ground, count: usize) {
    for number in 0..count {
        let path = ground.path(&format!("n{number}"));
        File::create(&path).unwrap();
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_busy_directory_is_read_in_one_drain() {
    let Some(mut ground) = Ground::new() else { return };
    ground.write("file", "old");
    ground.kept("file");
    // More than one buffer.
    fill(&ground, 1000);
    ground.write("file", "new");
    assert!(ground.hit("file").is_none());
    let readable = |ground: &Ground| {
        let inotify = ground.cache.descriptors()[0].0;
        let mut fds = [PollFd::from_borrowed_fd(inotify, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    };
    // The removed watches left their IN_IGNORED.
    ground.cache.drain();
    assert!(!readable(&ground));
    ground.kept("file");
    ground.write("file", "newer");
    assert!(readable(&ground), "the event loop learns of it");
}

#[test]
fn the_least_recently_used_entry_is_evicted() {
    let limits = Limits { entries: 3, ..Limits::default() };
    let Some(mut ground) = Ground::with(limits) else { return };
    for name in ["a", "b", "c", "d"] {
        ground.write(name, name);
    }
    for name in ["a", "b", "c"] {
        ground.kept(name);
    }
    assert!(ground.hit("a").is_some());
    ground.kept("d");
    assert!(ground.hit("b").is_none() && ground.hit("a").is_some() && ground.hit("c").is_some());
    assert_eq!(ground.cache.len(), 3);
    let Some(mut off) = Ground::with(Limits { entries: 0, ..limits }) else {
        return;
    };
    off.write("a", "");
    assert!(matches!(off.keep("a").unwrap_err().reason(), Reason::Full));
}

#[test]
fn watches_stay_within_the_bound() {
    let Some(ground) = Ground::new() else { return };
    // The directories above, the ground's own, one of its own, and the file.
    let each = ground.outer.components().count() + 2;
    let limits = Limits { watches: each + 3, ..Limits::default() };
    let Some(mut ground) = Ground::with(limits) else { return };
    for number in 0..20 {
        let name = format!("{number}/file");
        ground.write(&name, "");
        ground.kept(&name);
        assert!(kernel_watches(&ground.cache) <= limits.watches);
        // An entry needs two watches of its own.
        assert_eq!(ground.cache.len(), if number == 0 { 1 } else { 2 });
    }
    ground.write("1/2/3/4/5/6/file", "");
    assert!(matches!(ground.keep("1/2/3/4/5/6/file").unwrap_err().reason(), Reason::Full));
    assert_eq!((ground.cache.watches(), kernel_watches(&ground.cache)), (0, 0));
    ground.kept("1/file");
}

#[test]
fn a_directory_that_may_not_be_read_is_refused() {
    let Some(mut ground) = Ground::new() else { return };
    if is_root() {
        println!("skipped: root may read every directory");
        return;
    }
    ground.write("searchable/file", "");
    fs::set_permissions(ground.path("searchable"), fs::Permissions::from_mode(0o311)).unwrap();
    let refusal = ground.keep("searchable/file").unwrap_err();
    assert!(matches!(refusal.reason(), Reason::Denied), "{refusal}");
    assert_eq!(refusal.at(), ground.path("searchable"));
    fs::set_permissions(ground.path("searchable"), fs::Permissions::from_mode(0o755)).unwrap();
    ground.kept("searchable/file");
}

#[test]
fn the_bounds_of_the_user_are_refusals() {
    // In a user namespace, whose bounds are its own and can be lowered by it.
    if !is_again() {
        let arguments = ["--user", "--map-root-user", "--mount"];
        run_in_namespaces(&arguments, "limits::the_bounds_of_the_user_are_refusals");
        return;
    }
    let Some(mut ground) = Ground::new() else { return };
    ground.write("file", "");
    ground.write("1/2/3/4/file", "");
    let depth = ground.outer.components().count() + 1;
    fs::write("/proc/sys/user/max_inotify_watches", format!("{}", depth + 3)).unwrap();
    ground.kept("file");
    let refusal = ground.keep("1/2/3/4/file").unwrap_err();
    assert!(matches!(refusal.reason(), Reason::NoWatchLeft), "{refusal}");
    assert_eq!(refusal.raw_os_error(), Some(28));
    assert!(ground.hit("file").is_some(), "an entry with watches is not affected");
    assert_eq!(kernel_watches(&ground.cache), depth);
    fs::write("/proc/sys/user/max_inotify_instances", "1").unwrap();
    let refused = super::WatchedCache::<()>::new(Limits::default()).err().unwrap();
    assert!(refused.to_string().starts_with("inotify_init1: "), "{refused}");
    drop(ground);
    assert!(super::WatchedCache::<()>::new(Limits::default()).is_ok());
}

#[test]
fn a_drain_without_events_and_a_hit_are_one_system_call() {
    if is_again() {
        let Some(mut ground) = Ground::new() else { return };
        ground.write("file", "");
        ground.kept("file");
        let _marker = parent_id();
        for _ in 0..1000 {
            assert_eq!(ground.cache.drain(), 0);
            assert!(ground.cache.get(b"file").is_some() && ground.cache.get(b"other").is_none());
        }
        let _marker = parent_id();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let arguments = ["-f", "-o", trace.to_str().unwrap()];
    let test = "limits::a_drain_without_events_and_a_hit_are_one_system_call";
    if !run_again("strace", &arguments, test) {
        return;
    }
    let trace = fs::read_to_string(trace).unwrap();
    let mut calls = trace.lines().filter_map(|line| line.split_once(' '));
    let (thread, _) = calls.find(|(_, call)| call.trim_start().starts_with("getppid(")).unwrap();
    let between: Vec<_> = calls
        .filter(|(of, _)| *of == thread)
        .map(|(_, call)| call.trim_start())
        .take_while(|call| !call.starts_with("getppid("))
        // The second half of a call that another thread's interrupted.
        .filter(|call| !call.starts_with("<..."))
        .collect();
    let polls = between.iter().filter(|call| is_poll(call)).count();
    // Programs beside this one change the directory of temporary files: their events are read.
    let other: Vec<_> =
        between.iter().filter(|call| !is_poll(call) && !call.starts_with("read(")).collect();
    assert_eq!((polls, &other[..]), (1000, &[][..]));
}

fn is_poll(call: &str) -> bool {
    call.starts_with("poll") || call.starts_with("ppoll")
}
