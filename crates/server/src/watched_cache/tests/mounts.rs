//! Changes of the mount table, and overlays, in a mount namespace of the test's own.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};

use super::hammer::{hammer, plant};
use super::writers::{Noticed, noticed};
use super::{Ground, Limits, Reason, is_again, is_root, run_in_namespaces};

/// Whether the test goes on here; otherwise it has run in a process of its own.
fn is_inside(test: &str) -> bool {
    if !is_again() {
        // Root needs no user namespace, and some hosts forbid them.
        let arguments = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
        let arguments = if is_root() { &arguments[2..] } else { &arguments };
        run_in_namespaces(arguments, &format!("mounts::{test}"));
    }
    is_again()
}

#[test]
fn a_mount_on_the_path_drops_the_entry() {
    if !is_inside("a_mount_on_the_path_drops_the_entry") {
        return;
    }
    let Some(mut ground) = Ground::new() else { return };
    ground.write("a/b/file", "below");
    ground.write("over", "over");
    let steps = [
        ("mount -t tmpfs none a; mkdir a/b; printf upper > a/b/file", "upper"),
        ("mount --bind over a/b/file", "over"),
        // The cache holds the file open, so its file system is busy.
        ("umount -l a/b/file", "upper"),
        ("umount -l a", "below"),
        // The mount is elsewhere, but which path it changes is not known.
        ("mkdir c; mount -t tmpfs none c", "below"),
        ("umount c", "below"),
    ];
    ground.kept("a/b/file");
    for (script, content) in steps {
        ground.sh(script);
        assert!(ground.hit("a/b/file").is_none(), "{script}");
        ground.kept("a/b/file");
        assert_eq!(ground.hit("a/b/file").unwrap().content, content, "{script}");
        assert!(ground.hit("a/b/file").is_some(), "the table changed once");
    }
}

#[test]
fn the_mode_of_a_mounted_root_counts() {
    if !is_inside("the_mode_of_a_mounted_root_counts") {
        return;
    }
    // Of a mounted directory no parent reports a change.
    let Some(mut ground) = Ground::new() else { return };
    ground.sh("mkdir a; mount -t tmpfs none a; printf upper > a/file; printf beside > beside");
    for name in ["a/file", "a/../beside"] {
        ground.kept(name);
        ground.sh("chmod 700 a");
        assert!(ground.hit(name).is_none(), "{name}");
        ground.sh("chmod 755 a");
    }
}

#[test]
fn a_file_system_that_goes_drops_its_entries() {
    if !is_inside("a_file_system_that_goes_drops_its_entries") {
        return;
    }
    let Some(mut ground) = Ground::new() else { return };
    ground.sh("mkdir a; mount -t tmpfs none a; printf upper > a/file; printf beside > beside");
    ground.kept("a/file");
    // Nothing holds the file system but the watches.
    ground.cache.clear();
    ground.sh("umount a");
    assert!(ground.keep("a/file").is_err());
    ground.kept("beside");
}

#[test]
fn the_wait_of_the_event_loop_consumes_no_change() {
    if !is_inside("the_wait_of_the_event_loop_consumes_no_change") {
        return;
    }
    let Some(mut ground) = Ground::new() else { return };
    ground.write("file", "");
    fs::create_dir(ground.path("a")).unwrap();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    for (number, (fd, flags)) in ground.cache.descriptors().into_iter().enumerate() {
        let flags = EventFlags::from_bits_retain(u32::from(flags.bits()));
        epoll::add(&epoll, fd, EventData::new_u64(u64::try_from(number).unwrap()), flags).unwrap();
    }
    let reported = || {
        let mut events = Vec::with_capacity(4);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap();
        events.iter().map(|event| event.data.u64()).collect::<Vec<_>>()
    };
    ground.kept("file");
    while !reported().is_empty() {
        ground.cache.drain();
    }
    ground.kept("file");
    ground.sh("mount -t tmpfs none a");
    assert_eq!(reported(), [1], "the mount table");
    assert!(reported().is_empty(), "once");
    assert!(ground.hit("file").is_none(), "and the cache sees it all the same");
    ground.kept("file");
    ground.write("file", "new");
    assert_eq!(reported(), [0], "inotify");
    assert_eq!(reported(), [0], "until it is read");
    assert!(ground.hit("file").is_none());
    ground.cache.drain();
    assert!(reported().is_empty());
    assert_eq!(ground.cache.descriptors()[1].1, PollFlags::PRI);
}

/// A mounted overlay.
struct Overlay(PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        // Otherwise the directory cannot be removed.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Mounts an overlay over `lower`, which is filled before.
fn overlay(directory: &Path, fill: impl FnOnce(&Path)) -> Option<Overlay> {
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    fill(&directory.join("lower"));
    let options = "lowerdir=lower,upperdir=upper,workdir=work";
    let mounted = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", options, "merged"])
        .current_dir(directory)
        .output();
    match mounted {
        Ok(output) if output.status.success() => Some(Overlay(directory.join("merged"))),
        Ok(output) => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: mount: {error}");
            None
        }
    }
}

#[test]
fn no_hit_on_an_overlay_is_older_than_the_last_change() {
    if !is_inside("no_hit_on_an_overlay_is_older_than_the_last_change") {
        return;
    }
    // All files are in the lower layer at first, and are copied up as they change.
    for seed in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let Some(merged) = overlay(directory.path(), plant) else { return };
        let Some(mut ground) = Ground::at(&merged.0, Limits::default()) else { return };
        hammer(&mut ground, 100, seed);
    }
}

#[test]
fn lower_files_with_several_links_are_refused() {
    if !is_inside("lower_files_with_several_links_are_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(merged) = overlay(directory.path(), |lower| {
        fs::write(lower.join("one"), "").unwrap();
        fs::write(lower.join("single"), "").unwrap();
        fs::hard_link(lower.join("one"), lower.join("two")).unwrap();
    }) else {
        return;
    };
    let Some(mut ground) = Ground::at(&merged.0, Limits::default()) else { return };
    ground.kept("single");
    let refusal = ground.keep("one").unwrap_err();
    assert!(matches!(refusal.reason(), Reason::SeveralLinks), "{refusal}");
}

#[test]
fn a_write_through_an_overlay_is_noticed_in_its_layer_by_verification() {
    if !is_inside("a_write_through_an_overlay_is_noticed_in_its_layer_by_verification") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(merged) = overlay(directory.path(), |_| ()) else { return };
    fs::write(merged.0.join("file"), "old").unwrap();
    let Some(mut layer) = Ground::at(&directory.path().join("upper"), Limits::default()) else {
        return;
    };
    // Opening it to be written, or truncating it, would raise an event of another kind.
    let file = File::options().write(true).open(merged.0.join("file")).unwrap();
    let found = noticed(&mut layer, "file", || file.write_all_at(b"new", 0).unwrap());
    println!("a write through an overlay: {found:?}");
    assert_ne!(found, Noticed::Never);
}
