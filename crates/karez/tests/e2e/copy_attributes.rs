//! Attributes of copied files: with `-a` all are kept, without it the umask applies.

use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::copy::{Outcome, command, copy};
use crate::disk_image::Image;
use crate::server::KAREZ;

/// An ACL: version 2; user::rwx user:1234:r-- group::--- mask::r-- other::---.
pub const ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 7, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 210, 4, 0, 0, //
    4, 0, 0, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255,
];

/// Returns mode, owner, group and modification time in nanoseconds.
fn attributes(path: &Path) -> (u32, u32, u32, i128) {
    let of = fs::symlink_metadata(path).unwrap();
    let written = i128::from(of.mtime()) * 1_000_000_000 + i128::from(of.mtime_nsec());
    (of.mode(), of.uid(), of.gid(), written)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65536];
    let length = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can give files away");
    }
    root
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets access and modification time to this number of seconds and 123456789 ns.
fn set_times(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    File::open(path).unwrap().set_times(times).unwrap();
}

#[test]
fn archive_keeps_mode_times_owner_xattrs_and_acls() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir_all(from.join("closed/empty")).unwrap();
    fs::write(from.join("closed/file"), "file").unwrap();
    fs::write(from.join("program"), "program").unwrap();
    symlink("closed/file", from.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(from.join("fifo")).status().unwrap().success());
    let paths = ["closed/file", "closed/empty", "closed", "program", "link", "fifo", ""];
    let mut has_xattrs = true;
    let mut has_acls = true;
    for (number, name) in paths.iter().enumerate() {
        let path = from.join(name);
        if is_root() {
            std::os::unix::fs::lchown(&path, Some(1000 + number as u32), Some(2000)).unwrap();
        }
        if path.is_symlink() {
            continue;
        }
        if path.is_file() || path.is_dir() {
            let set = |name: &str, value: &[u8]| {
                setxattr(&path, name, value, XattrFlags::empty())
                    .inspect_err(|error| println!("skipped: {name}: {error}"))
                    .is_ok()
            };
            has_xattrs &= set("user.empty", b"") && set("user.colour", b"sand\0\xff");
            has_acls &= set("system.posix_acl_access", ACL);
        }
    }
    set_mode(&from.join("program"), 0o6751);
    set_mode(&from.join("fifo"), 0o602);
    set_mode(&from.join("closed/empty"), 0o1700);
    for (number, name) in
        paths.iter().enumerate().filter(|(_, name)| !["link", "fifo"].contains(name))
    {
        set_times(&from.join(name), 1_000_000_000 + number as u64);
    }
    set_mode(&from.join("closed"), 0o500);
    let before = paths.map(|name| attributes(&from.join(name)));
    for jobs in ["1", "3"] {
        // The copy itself reads the original.
        let accessed = fs::metadata(from.join("program")).unwrap().atime();
        let outcome = copy(&[&"-a", &"--jobs", &jobs, &from, &to]).expect_success();
        assert_eq!(outcome.json["attribute_failures"].as_array().unwrap().len(), 0, "{outcome:?}");
        for (name, before) in paths.iter().zip(before) {
            assert_eq!(attributes(&to.join(name)), before, "{name}");
        }
        assert_eq!(fs::metadata(to.join("program")).unwrap().atime(), accessed);
        for name in ["closed/file", "closed", "program", ""] {
            let path = to.join(name);
            if has_xattrs {
                assert_eq!(xattr(&path, "user.colour").as_deref(), Some(&b"sand\0\xff"[..]));
                assert_eq!(xattr(&path, "user.empty").as_deref(), Some(&b""[..]));
            }
            if has_acls {
                let acl = "system.posix_acl_access";
                assert_eq!(xattr(&path, acl), xattr(&from.join(name), acl), "{name}");
            }
        }
        set_mode(&to.join("closed"), 0o700);
        fs::remove_dir_all(&to).unwrap();
    }
    set_mode(&from.join("closed"), 0o700);
}

#[test]
fn xattrs_of_read_only_files_are_kept_without_privilege() {
    let root = tempfile::tempdir().unwrap();
    set_mode(root.path(), 0o755);
    let (from, into) = (root.path().join("from"), root.path().join("into"));
    let names = ["from/file", "from/closed", "from", "into"];
    fs::create_dir_all(from.join("closed")).unwrap();
    fs::create_dir(&into).unwrap();
    fs::write(from.join("file"), "file").unwrap();
    for name in names {
        let path = root.path().join(name);
        if let Err(error) = setxattr(&path, "user.colour", b"sand", XattrFlags::empty()) {
            println!("skipped: user.colour: {error}");
            return;
        }
        if is_root() {
            chown(&path, Some(65534), Some(65534)).unwrap();
        }
    }
    for (name, mode) in names.into_iter().zip([0o444, 0o500, 0o500, 0o700]) {
        set_mode(&root.path().join(name), mode);
    }
    // With this umask not even a new file is writable by its mode.
    let (file, copied) = (from.join("file"), into.join("file"));
    let (closed, over) = (from.join("closed"), into.join("from"));
    for (umask, wanted) in [
        ("022", command(&[&"-a", &from, &into])),
        // Onto the copy, which has the same restrictive mode.
        ("022", command(&[&"-a", &closed, &over])),
        ("277", command(&[&"-a", &file, &copied])),
    ] {
        let script = format!("umask {umask}; exec \"$@\"");
        let mut sh = if is_root() {
            let mut unprivileged = Command::new("setpriv");
            unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh"]);
            unprivileged
        } else {
            Command::new("sh")
        };
        sh.args(["-c", &script, "sh"]).arg(wanted.get_program()).args(wanted.get_args());
        let output = match sh.output() {
            Ok(output) if !output.stdout.is_empty() => output,
            other => return println!("skipped: setpriv: {other:?}"),
        };
        let outcome = Outcome::of(&output).expect_success();
        assert_eq!(
            outcome.json["attribute_failures"].as_array().unwrap().len(),
            0,
            "{umask}: {outcome:?}"
        );
    }
    let copies = ["into/from/file", "into/from/closed", "into/from", "into/file"];
    for (name, mode) in copies.into_iter().zip([0o444, 0o500, 0o500, 0o444]) {
        let path = root.path().join(name);
        assert_eq!(xattr(&path, "user.colour").as_deref(), Some(&b"sand"[..]), "{name}");
        assert_eq!(attributes(&path).0 & 0o7777, mode, "{name}");
    }
    // The directory must be writable to be removed.
    for name in ["from", "into/from"] {
        set_mode(&root.path().join(name), 0o700);
    }
}

#[test]
fn archive_does_not_inherit_the_directory_acl() {
    let root = tempfile::tempdir().unwrap();
    let (from, into) = (root.path().join("from"), root.path().join("into"));
    fs::write(&from, "file").unwrap();
    set_mode(&from, 0o640);
    fs::create_dir(&into).unwrap();
    let default = "system.posix_acl_default";
    if let Err(error) = setxattr(&into, default, ACL, XattrFlags::empty()) {
        println!("skipped: {default}: {error}");
        return;
    }
    copy(&[&"-a", &from, &into]).expect_success();
    assert_eq!(xattr(&into.join("from"), "system.posix_acl_access"), None);
    assert_eq!(fs::metadata(into.join("from")).unwrap().mode() & 0o7777, 0o640);
    // Without -a the ACL is inherited like that of any new file.
    copy(&[&from, &into.join("new")]).expect_success();
    assert!(xattr(&into.join("new"), "system.posix_acl_access").is_some());
}

#[test]
fn umask_applies_without_archive() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir_all(from.join("closed")).unwrap();
    for (name, mode) in [("program", 0o4755), ("closed/file", 0o666), ("secret", 0o400)] {
        fs::write(from.join(name), name).unwrap();
        set_mode(&from.join(name), mode);
        set_times(&from.join(name), 1_000_000_000);
    }
    set_mode(&from.join("closed"), 0o557);
    let script = format!("umask 027; exec {KAREZ} copy --json -r \"$@\"");
    let output = Command::new("sh").args(["-c", &script, "sh"]).arg(&from).arg(&to).output();
    Outcome::of(&output.unwrap()).expect_success();
    for (name, mode) in
        [("program", 0o750), ("closed/file", 0o640), ("secret", 0o400), ("closed", 0o550)]
    {
        let of = fs::metadata(to.join(name)).unwrap();
        assert_eq!(of.mode() & 0o7777, mode, "{name}");
        assert!(of.mtime() > 1_000_000_000, "{name}");
    }
    set_mode(&from.join("closed"), 0o700);
    set_mode(&to.join("closed"), 0o700);
}

#[test]
fn unpreserved_attributes_are_reported() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    set_mode(root.path(), 0o755);
    let (from, into) = (root.path().join("from"), root.path().join("into"));
    fs::write(&from, "file").unwrap();
    chown(&from, Some(1234), Some(2345)).unwrap();
    set_mode(&from, 0o6755);
    set_times(&from, 1_000_000_000);
    fs::create_dir(&into).unwrap();
    chown(&into, Some(65534), Some(65534)).unwrap();
    let wanted = command(&[&"-a", &from, &into]);
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let output = unprivileged.arg(wanted.get_program()).args(wanted.get_args()).output();
    let output = match output {
        Ok(output) if !output.stdout.is_empty() => output,
        other => {
            println!("skipped: setpriv: {other:?}");
            return;
        }
    };
    let outcome = Outcome::of(&output).expect_success();
    assert_eq!(outcome.json["attribute_failures"][0]["attribute"], "owner", "{outcome:?}");
    let (mode, owner, group, written) = attributes(&into.join("from"));
    assert_eq!((mode & 0o7777, owner, group), (0o755, 65534, 65534), "no set-user-ID for another");
    assert_eq!(written, 1_000_000_000_123_456_789);
}

#[test]
fn filesystem_without_xattrs_receives_the_other_attributes() {
    let Some(image) = Image::mount_in_memory("ramfs", "mode=700") else { return };
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    fs::write(&from, "file").unwrap();
    for (name, value) in [("user.colour", &b"sand"[..]), ("system.posix_acl_access", ACL)] {
        if let Err(error) = setxattr(&from, name, value, XattrFlags::empty()) {
            println!("skipped: {name}: {error}");
            return;
        }
    }
    // cp(1) accepts the loss of attributes, but not of an ACL, which restricts access.
    let outcome = copy(&[&"-a", &from, &image.join("to")]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    let unkept = outcome.json["attribute_failures"].as_array().unwrap();
    let unkept: Vec<_> = unkept.iter().map(|each| each["attribute"].as_str().unwrap()).collect();
    assert_eq!(unkept.len(), 2, "{unkept:?}");
    assert!(unkept.contains(&"user.colour") && unkept.contains(&"system.posix_acl_access"));
    let mode = fs::metadata(image.join("to")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o700, "the group had no right of its own");
}

#[test]
fn replaced_file_keeps_its_acl_or_has_none() {
    let root = tempfile::tempdir().unwrap();
    let (new, old) = (root.path().join("new"), root.path().join("old"));
    let acl = "system.posix_acl_access";
    fs::write(&new, "new").unwrap();
    fs::write(&old, "old").unwrap();
    if let Err(error) = setxattr(&old, acl, ACL, XattrFlags::empty()) {
        println!("skipped: {acl}: {error}");
        return;
    }
    copy(&[&new, &old]).expect_success();
    assert_eq!(fs::read(&old).unwrap(), b"new");
    assert_eq!(xattr(&old, acl).as_deref(), Some(ACL));
    setxattr(root.path(), "system.posix_acl_default", ACL, XattrFlags::empty()).unwrap();
    copy(&[&old, &new]).expect_success();
    assert_eq!(xattr(&new, acl), None, "the file before it had none");
}

/// Runs `karez copy` with these arguments under a umask, as an unprivileged user.
fn copy_under_umask(umask: &str, args: &[&str]) -> Option<Outcome> {
    let script = format!("umask {umask}; exec {KAREZ} copy --json \"$@\"");
    let mut sh = if rustix::process::geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh"]);
        setpriv
    } else {
        Command::new("sh")
    };
    match sh.args(["-c", &script, "sh"]).args(args).output() {
        Ok(output) if !output.stdout.is_empty() => Some(Outcome::of(&output)),
        other => {
            println!("skipped: setpriv: {other:?}");
            None
        }
    }
}

/// A umask may take the owner's own rights to a new directory, in which files have to be made.
#[test]
fn new_directories_are_filled_under_any_umask() {
    for umask in [0o277, 0o377, 0o177, 0o777, 0o477] {
        for flag in ["-r", "-a"] {
            let root = tempfile::tempdir().unwrap();
            let (from, into) = (root.path().join("from"), root.path().join("into"));
            fs::create_dir_all(from.join("below/deeper")).unwrap();
            fs::write(from.join("below/deeper/file"), "file").unwrap();
            fs::create_dir(&into).unwrap();
            let names = ["from/below/deeper/file", "from/below/deeper", "from/below", "from"];
            for name in names {
                let path = root.path().join(name);
                set_mode(&path, if path.is_dir() { 0o755 } else { 0o644 });
                if rustix::process::geteuid().is_root() {
                    chown(&path, Some(65534), Some(65534)).unwrap();
                    chown(&into, Some(65534), Some(65534)).unwrap();
                }
            }
            set_mode(root.path(), 0o755);
            let args = [flag, from.to_str().unwrap(), into.to_str().unwrap()];
            let Some(outcome) = copy_under_umask(&format!("{umask:o}"), &args) else { return };
            outcome.expect_success();
            let (file, directory) = match flag {
                "-a" => (0o644, 0o755),
                _ => (0o644 & !umask, 0o755 & !umask),
            };
            for (name, mode) in names.into_iter().zip([file, directory, directory, directory]).rev()
            {
                let copy = into.join(name);
                assert_eq!(attributes(&copy).0 & 0o7777, mode, "{umask:o} {flag} {name}");
                set_mode(&copy, 0o700);
            }
            assert_eq!(fs::read(into.join("from/below/deeper/file")).unwrap(), b"file");
        }
    }
}
