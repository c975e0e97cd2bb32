//! An insertion is exact: it keeps nothing that changed while it was made, and refuses paths that
//! do not have the expected meaning.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use super::{Expected, Ground, Limits, Reason, Value, WatchedCache, kernel_watches, version};

type Change = fn(&Ground);
type IsReason = fn(&Reason) -> bool;

/// Inserts `link/file`, and makes a change while the value is made.
fn insert_during(change: Change) -> Option<(Ground, bool)> {
    let ground = Ground::new()?;
    ground.write("one/file", "old");
    ground.write("two/file", "two");
    ground.link("one", "link");
    let (path, file) = (ground.path("link/file"), File::open(ground.path("link/file")).unwrap());
    let expected = [Expected::File(path.as_os_str().as_bytes(), file.as_fd())];
    // The change needs the ground, whose cache is in use.
    let mut cache = WatchedCache::new(Limits::default()).unwrap();
    let made = cache.insert(b"key", &expected, Instant::now(), |_| {
        let value = Value { version: version(&file)?, _file: file.try_clone()? };
        change(&ground);
        Ok(value)
    });
    let refused = made.is_err_and(|refusal| matches!(refusal.reason(), Reason::Changing));
    // The directories above, the ground, the one in it, and the file.
    let each = ground.outer.components().count() + 2;
    let left = if refused { (0, 0) } else { (1, each) };
    assert_eq!((cache.len(), kernel_watches(&cache)), left);
    Some((ground, refused))
}

#[test]
fn a_change_while_the_value_is_made_is_noticed() {
    let changes: [(&str, Change); 6] = [
        ("write", |ground| ground.write("one/file", "new")),
        ("rename over", |ground| {
            fs::rename(ground.path("two/file"), ground.path("one/file")).unwrap();
        }),
        ("link", |ground| ground.sh("ln -s two t; mv -T t link")),
        ("directory", |ground| ground.sh("mv one x; mv two one")),
        // The same file in another directory: only the directory's identity shows it.
        ("twin directory", |ground| ground.sh("mkdir x; ln one/file x/file; mv one y; mv x one")),
        ("mode", |ground| ground.sh("chmod 600 one/file")),
    ];
    for (what, change) in changes {
        let Some((_, refused)) = insert_during(change) else { return };
        assert!(refused, "{what}");
    }
    let Some((_, refused)) = insert_during(|ground| ground.write("one/other", "")) else { return };
    assert!(!refused, "another name");
}

#[test]
fn another_file_than_the_descriptor_is_refused() {
    let Some(mut ground) = Ground::new() else { return };
    ground.write("one", "same");
    ground.write("two", "same");
    ground.write("gone", "");
    fs::create_dir(ground.path("directory")).unwrap();
    let file = File::open(ground.path("one")).unwrap();
    let gone = File::open(ground.path("gone")).unwrap();
    fs::remove_file(ground.path("gone")).unwrap();
    let cases: [(&str, &File, IsReason); 6] = [
        ("two", &file, |reason| matches!(reason, Reason::Replaced)),
        ("missing", &file, |reason| matches!(reason, Reason::Replaced)),
        ("gone", &gone, |reason| matches!(reason, Reason::Replaced)),
        ("directory", &file, |reason| matches!(reason, Reason::NotAFile)),
        ("one/", &file, |reason| matches!(reason, Reason::Replaced)),
        ("one/x", &file, |reason| matches!(reason, Reason::Replaced)),
    ];
    for (name, file, is_reason) in cases {
        let path = ground.path(name);
        let expected = [Expected::File(path.as_os_str().as_bytes(), file.as_fd())];
        let refused = ground.cache.insert(b"key", &expected, Instant::now(), |_| unreachable!());
        let refusal = refused.unwrap_err();
        assert!(is_reason(refusal.reason()), "{name}: {refusal}");
    }
    let (path, absent) = (ground.path("one"), ground.path("two"));
    let expected = [
        Expected::File(path.as_os_str().as_bytes(), file.as_fd()),
        Expected::Absent(absent.as_os_str().as_bytes()),
    ];
    let refused = ground.cache.insert(b"key", &expected, Instant::now(), |_| unreachable!());
    assert!(matches!(refused.unwrap_err().reason(), Reason::Present));
    let expected = [Expected::File(b"one", file.as_fd())];
    let refused = ground.cache.insert(b"key", &expected, Instant::now(), |_| unreachable!());
    assert!(matches!(refused.unwrap_err().reason(), Reason::Relative));
    assert_eq!((ground.cache.watches(), kernel_watches(&ground.cache)), (0, 0));
}

#[test]
fn a_file_system_without_events_is_refused() {
    let Some(mut ground) = Ground::new() else { return };
    ground.link("/proc/self/status", "link");
    for path in ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let Ok(file) = File::open(path) else {
            println!("skipped: {path} cannot be opened");
            continue;
        };
        let expected = [Expected::File(path.as_bytes(), file.as_fd())];
        let refused = ground.cache.insert(b"key", &expected, Instant::now(), |_| unreachable!());
        let refusal = refused.unwrap_err();
        assert!(matches!(refusal.reason(), Reason::FileSystem(_)) && refusal.is_lasting());
    }
    let refusal = ground.keep("link").unwrap_err();
    assert!(matches!(refusal.reason(), Reason::FileSystem(_)), "{refusal}");
    assert_eq!(kernel_watches(&ground.cache), 0);
}

#[test]
fn a_failed_value_is_not_kept() {
    let Some(mut ground) = Ground::new() else { return };
    ground.write("file", "");
    ground.kept("file");
    let (path, file) = (ground.path("file"), File::open(ground.path("file")).unwrap());
    let expected = [Expected::File(path.as_os_str().as_bytes(), file.as_fd())];
    let failed = |_: &_| Err(io::Error::from_raw_os_error(5));
    let refusal = ground.cache.insert(b"file", &expected, Instant::now(), failed).unwrap_err();
    assert_eq!(refusal.raw_os_error(), Some(5));
    assert!(ground.hit("file").is_none(), "the old one is gone");
    assert_eq!((ground.cache.len(), kernel_watches(&ground.cache)), (0, 0));
}

#[test]
fn an_entry_may_depend_on_several_files() {
    let Some(mut ground) = Ground::new() else { return };
    ground.write("a/file", "original");
    ground.write("a/file.gz", "compressed");
    for changed in ["a/file", "a/file.gz"] {
        let paths = [ground.path("a/file.gz"), ground.path("a/file")];
        let files = [0, 1].map(|index: usize| File::open(&paths[index]).unwrap());
        let expected = [0, 1].map(|index: usize| {
            Expected::File(paths[index].as_os_str().as_bytes(), files[index].as_fd())
        });
        let made = ground.cache.insert(b"key", &expected, Instant::now(), |walk| {
            let inodes = [0, 1].map(|index| walk.meta(index).unwrap().stx_ino);
            assert_eq!(inodes, [0, 1].map(|index: usize| files[index].metadata().unwrap().ino()));
            assert!(walk.file(1).is_some() && walk.file(2).is_none());
            Ok(Value { version: version(&files[0])?, _file: files[0].try_clone()? })
        });
        made.unwrap();
        assert_eq!(ground.hit("key").unwrap().content, "compressed");
        ground.write(changed, "changed");
        assert!(ground.hit("key").is_none(), "{changed}");
        ground.write("a/file.gz", "compressed");
    }
}

#[test]
fn a_verification_counts_for_a_second() {
    let Some(mut ground) = Ground::new() else { return };
    ground.write("file", "");
    ground.keep("file").unwrap();
    let now = Instant::now();
    let entry = ground.cache.get(b"file").unwrap();
    assert!(!entry.needs_verification(entry.verified_at + Duration::from_millis(999)));
    assert!(entry.needs_verification(now + Duration::from_secs(1)));
    entry.set_verified(now + Duration::from_secs(1));
    assert!(!entry.needs_verification(now + Duration::from_millis(1999)));
    assert!(ground.cache.remove(b"file") && !ground.cache.remove(b"file"));
    assert_eq!(kernel_watches(&ground.cache), 0);
}
