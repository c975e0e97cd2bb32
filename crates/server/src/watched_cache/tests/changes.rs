//! Every kind of change drops the entry, made by a thread and by another process; no other change
//! does.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::thread;
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Expected, Ground, Reason, is_root, truth};

/// `link` leads to `real`, and `real/middle` to `real/dir`; `hard` is the file by another name.
const NAME: &str = "link/middle/sub/file";

fn ground() -> Option<Ground> {
    let ground = Ground::new()?;
    for (tree, content) in [("real", "old"), ("other", "other")] {
        ground.write(&format!("{tree}/dir/sub/file"), content);
        ground.write(&format!("{tree}/second/sub/file"), "second");
        ground.link("dir", &format!("{tree}/middle"));
    }
    ground.link("real", "link");
    ground.write("new", "new");
    fs::hard_link(ground.path("real/dir/sub/file"), ground.path("hard")).unwrap();
    Some(ground)
}

/// A change by a thread of this process, and the same by a shell; none where it has no command.
type Change = (&'static str, fn(&Ground), Option<&'static str>);

const CHANGES: [Change; 21] = [
    ("write", |g| g.write("real/dir/sub/file", "new"), Some("printf new > real/dir/sub/file")),
    ("append", |g| append(g, "real/dir/sub/file"), Some("printf new >> real/dir/sub/file")),
    ("truncate", |g| truncate(g, "real/dir/sub/file", 1), Some("truncate -s 1 real/dir/sub/file")),
    ("extend", |g| truncate(g, "real/dir/sub/file", 9), Some("truncate -s 9 real/dir/sub/file")),
    ("write by a hard link", |g| append(g, "hard"), Some("printf new >> hard")),
    ("remove a hard link", |g| remove(g, "hard"), Some("rm hard")),
    ("mode", |g| mode(g, "real/dir/sub/file", 0o600), Some("chmod 600 real/dir/sub/file")),
    ("time", |g| touch(g, "real/dir/sub/file"), Some("touch -d 2001-01-01 real/dir/sub/file")),
    ("rename over", |g| rename(g, "new", "real/dir/sub/file"), Some("mv -f new link/dir/sub/file")),
    ("unlink", |g| remove(g, "real/dir/sub/file"), Some("rm real/middle/sub/file")),
    ("rename away", |g| rename(g, "real/dir/sub/file", "x"), Some("mv real/dir/sub/file x")),
    ("exchange", |g| exchange(g, "new", "real/dir/sub/file"), None),
    ("sibling", |g| g.write("real/dir/sub/file.gz", ""), Some(": > real/dir/sub/file.gz")),
    ("sibling by link", |g| g.link("nowhere", "real/dir/sub/file.br"), None),
    (
        "middle link",
        |g| swap(g, "second", "real/middle"),
        Some("ln -s second t; mv -T t real/middle"),
    ),
    ("root link", |g| swap(g, "other", "link"), Some("ln -s other t; mv -T t link")),
    (
        "root directory",
        |g| {
            rename(g, "real", "gone");
            rename(g, "other", "real");
        },
        Some("mv real gone; mv other real"),
    ),
    ("exchange of roots", |g| exchange(g, "other", "real"), None),
    ("directory above", |g| rename(g, "real/dir", "real/moved"), Some("mv real/dir real/moved")),
    (
        "directory made anew",
        |g| {
            fs::remove_dir_all(g.path("real/dir/sub")).unwrap();
            g.write("real/dir/sub/file", "new");
        },
        Some("rm -r real/dir/sub; mkdir real/dir/sub; printf new > real/dir/sub/file"),
    ),
    ("mode of a directory", |g| mode(g, "real/dir", 0o700), Some("chmod 700 real/dir")),
];

#[test]
fn every_change_drops_the_entry() {
    for (what, change, script) in CHANGES {
        let Some(mut ground) = ground() else { return };
        ground.kept(NAME);
        thread::scope(|scope| scope.spawn(|| change(&ground)).join()).unwrap();
        assert!(ground.hit(NAME).is_none(), "{what}, by a thread");
        renewed(&mut ground, what);
        let Some(script) = script else { continue };
        let Some(mut ground) = self::ground() else { return };
        ground.kept(NAME);
        ground.sh(script);
        assert!(ground.hit(NAME).is_none(), "{what}, by a process");
        renewed(&mut ground, what);
    }
}

/// Asserts that the next insertion has the new version, or is refused for want of a file.
fn renewed(ground: &mut Ground, what: &str) {
    let truth = truth(&ground.path(NAME));
    let kept = ground.keep(NAME);
    // A link that leads nowhere is no sibling that could be sent, but a later target could be.
    assert_eq!(kept.is_ok(), truth.is_some(), "{what}: {kept:?}");
    assert_eq!(ground.hit(NAME), truth.as_ref(), "{what}");
}

#[test]
fn a_change_of_owner_drops_the_entry() {
    if !is_root() {
        println!("skipped: only root changes owners");
        return;
    }
    for name in ["real/dir/sub/file", "real/dir", "real"] {
        let Some(mut ground) = ground() else { return };
        ground.kept(NAME);
        chown(ground.path(name), Some(1), None).unwrap();
        assert!(ground.hit(NAME).is_none(), "{name}");
    }
}

#[test]
fn other_changes_drop_nothing() {
    let Some(mut ground) = ground() else { return };
    ground.survives(NAME, "other names in each directory", |ground| {
        for directory in [".", "real", "real/dir", "real/dir/sub"] {
            ground.write(&format!("{directory}/beside"), "");
            ground.write(&format!("{directory}/beside"), "more");
            rename(ground, &format!("{directory}/beside"), &format!("{directory}/renamed"));
            mode(ground, &format!("{directory}/renamed"), 0o600);
            remove(ground, &format!("{directory}/renamed"));
            fs::create_dir(ground.path(&format!("{directory}/beside"))).unwrap();
            fs::remove_dir(ground.path(&format!("{directory}/beside"))).unwrap();
        }
    });
    ground.survives(NAME, "reading", |ground| {
        fs::read(ground.path("real/dir/sub/file")).unwrap();
        fs::read_dir(ground.path("real/dir/sub")).unwrap().count();
        File::options().append(true).open(ground.path("hard")).unwrap();
    });
    ground.survives(NAME, "the other tree", |ground| {
        ground.write("other/dir/sub/file", "changed");
        ground.write("real/second/sub/file", "changed");
        append(ground, "new");
    });
}

#[test]
fn a_missing_file_is_an_entry_until_it_appears() {
    let Some(ground) = ground() else { return };
    let appears: [(&str, &str, &str); 4] = [
        ("missing", "real/dir/missing", ": > real/dir/missing"),
        ("in a missing directory", "real/none/file", "mkdir real/none"),
        ("behind a file", "new/file", "rm new; mkdir new"),
        ("link to nothing", "real/dangling", "mkdir real/target"),
    ];
    ground.link("target/file", "real/dangling");
    for (what, name, script) in appears {
        let path = ground.path(name);
        let bytes = path.to_str().unwrap().as_bytes();
        let mut cache = super::WatchedCache::new(super::Limits::default()).unwrap();
        cache.insert(b"404", &[Expected::Absent(bytes)], Instant::now(), |_| Ok(())).unwrap();
        cache.drain();
        assert!(cache.get(b"404").is_some(), "{what}");
        ground.sh(script);
        cache.drain();
        assert!(cache.get(b"404").is_none(), "{what}");
    }
}

#[test]
fn a_path_may_hold_dots_slashes_and_links_to_the_root() {
    let Some(mut ground) = ground() else { return };
    let absolute = ground.path("real/dir");
    ground.link(absolute.to_str().unwrap(), "absolute");
    ground.link("../../real//./dir/../dir/", "real/dir/round");
    for name in ["absolute/sub/file", "real/dir/round/sub/file", "real/./dir//sub/../sub/file"] {
        ground.kept(name);
        assert_eq!(ground.hit(name).unwrap().content, "old");
        append(&ground, "hard");
        assert!(ground.hit(name).is_none(), "{name}");
        ground.write("hard", "old");
    }
    // Only the step to the parent needs this directory.
    fs::create_dir(ground.path("real/empty")).unwrap();
    ground.kept("real/empty/../dir/sub/file");
    mode(&ground, "real/empty", 0o600);
    assert!(ground.hit("real/empty/../dir/sub/file").is_none());
    ground.link("loop", "loop");
    let file = File::open(ground.path("new")).unwrap();
    let path = ground.path("loop");
    let bytes = path.to_str().unwrap().as_bytes();
    let expected = [Expected::File(bytes, std::os::fd::AsFd::as_fd(&file))];
    let refused = ground.cache.insert(b"loop", &expected, Instant::now(), |_| unreachable!());
    assert!(matches!(refused.unwrap_err().reason(), Reason::TooManyLinks));
}

fn append(ground: &Ground, name: &str) {
    let mut file = OpenOptions::new().append(true).open(ground.path(name)).unwrap();
    file.write_all(b"new").unwrap();
}

fn truncate(ground: &Ground, name: &str, size: u64) {
    OpenOptions::new().write(true).open(ground.path(name)).unwrap().set_len(size).unwrap();
}

fn mode(ground: &Ground, name: &str, mode: u32) {
    fs::set_permissions(ground.path(name), Permissions::from_mode(mode)).unwrap();
}

fn touch(ground: &Ground, name: &str) {
    let file = OpenOptions::new().write(true).open(ground.path(name)).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
}

fn rename(ground: &Ground, from: &str, to: &str) {
    fs::rename(ground.path(from), ground.path(to)).unwrap();
}

fn remove(ground: &Ground, name: &str) {
    fs::remove_file(ground.path(name)).unwrap();
}

fn exchange(ground: &Ground, one: &str, other: &str) {
    let (one, other) = (ground.path(one), ground.path(other));
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// Leads a link elsewhere, in one step.
fn swap(ground: &Ground, target: &str, link: &str) {
    ground.link(target, "temporary");
    rename(ground, "temporary", link);
}
