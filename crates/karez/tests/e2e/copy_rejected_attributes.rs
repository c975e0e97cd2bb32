//! Attributes that the destination rejects: the file is still created, with the other attributes,
//! and the exit code is that of `cp -a`.

use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::copy::{Outcome, command, copy, names};
use crate::disk_image::Image;
use crate::strace;

/// CIFS, NFS, FUSE and FAT can return each of these.
const ERRNOS: [(&str, i64); 12] = [
    ("EPERM", 1),
    ("EIO", 5),
    ("E2BIG", 7),
    ("EACCES", 13),
    ("EINVAL", 22),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("ERANGE", 34),
    ("ENOSYS", 38),
    ("EOPNOTSUPP", 95),
    ("ESTALE", 116),
    ("EDQUOT", 122),
];

/// A call of `-a`, the attributes that are lost if it fails, and the exit code of `cp -a` (GNU
/// coreutils 9.1, as root) in the same case.
const FILE: [(&str, &[&str], i32); 6] = [
    ("fchown", &["group", "owner"], 1),
    ("fchmod", &["mode"], 1),
    ("utimensat", &["times"], 1),
    ("fsetxattr", &["user.colour"], 0),
    ("flistxattr", &["extended attributes"], 0),
    ("fgetxattr", &["user.colour"], 0),
];

fn has_xattrs(path: &Path) -> bool {
    match setxattr(path, "user.colour", b"sand", XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: user.colour: {error}");
            false
        }
    }
}

/// Sets a mode and a time that no new file has.
fn mark(path: &Path) {
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    File::open(path).unwrap().set_times(times).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o751)).unwrap();
}

/// Gives files an owner that their copies do not have from the start. Returns false without privilege.
fn give_away(paths: &[&Path]) -> bool {
    let given = paths.iter().all(|path| lchown(path, Some(1234), Some(2345)).is_ok());
    if !given {
        println!("skipped: the owner: only root can give files away");
    }
    given
}

/// Returns the attributes that were not kept, sorted.
fn unkept(outcome: &Outcome) -> Vec<&str> {
    let entries = outcome.json["attribute_failures"].as_array().unwrap();
    let mut unkept: Vec<_> =
        entries.iter().map(|entry| entry["attribute"].as_str().unwrap()).collect();
    unkept.sort_unstable();
    unkept
}

fn errno(outcome: &Outcome) -> i64 {
    outcome.json["attribute_failures"][0]["errno"].as_i64().unwrap()
}

/// Runs a copy whose calls of this name fail. Returns `None` without strace.
fn injected(command: &Command, call: &str, errno: &str) -> Option<Outcome> {
    let inject = format!("inject={call}:error={errno}");
    let (output, calls) = strace::run(&["-e", &inject], command)?;
    let first = call.split(',').next().unwrap();
    assert!(strace::injected(&calls, first) > 0, "{call} was not called");
    Some(Outcome::of(&output))
}

#[test]
fn each_rejected_attribute_is_reported_and_the_rest_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "content").unwrap();
    let has_xattrs = has_xattrs(&from);
    mark(&from);
    // Without extended attributes the copy has its mode from the start.
    let needs_xattrs = |call: &str| call.contains("xattr") || call == "fchmod";
    let is_foreign = give_away(&[&from]);
    for (call, lost, code) in FILE
        .into_iter()
        .filter(|(call, ..)| has_xattrs || !needs_xattrs(call))
        .filter(|(call, ..)| is_foreign || *call != "fchown")
    {
        for (name, number) in ERRNOS {
            let Some(outcome) = injected(&command(&[&"-a", &from, &to]), call, name) else {
                return;
            };
            let what = format!("{call}, {name}: {outcome:?}");
            assert_eq!(fs::read(&to).unwrap(), b"content", "{what}");
            assert_eq!((outcome.count("files"), outcome.count("failed")), (1, 0), "{what}");
            assert_eq!(outcome.status.code(), Some(code), "{what}");
            let absent = ["ENOSYS", "EOPNOTSUPP"].contains(&name) && call == "flistxattr";
            if absent {
                assert!(unkept(&outcome).is_empty(), "{what}");
            } else {
                assert_eq!(unkept(&outcome), lost, "{what}");
                assert_eq!(errno(&outcome), number, "{what}");
            }
            expect_error_if_nonzero(&outcome, call, if call == "fgetxattr" { &from } else { &to });
            let of = fs::metadata(&to).unwrap();
            assert_eq!(of.mode() & 0o7777 == 0o751, !lost.contains(&"mode"), "{what}");
            assert_eq!(of.mtime() == 1_000_000_000, !lost.contains(&"times"), "{what}");
            let kept = getxattr(&to, "user.colour", &mut [0; 9][..]).is_ok();
            assert_eq!(kept, has_xattrs && !call.contains("xattr"), "{what}");
            assert_eq!(names(root.path()), ["from", "to"], "{what}");
            fs::remove_file(&to).unwrap();
        }
    }
}

/// Expects one line that names the call and the file, and the same in the report; nothing for exit
/// code 0.
fn expect_error_if_nonzero(outcome: &Outcome, call: &str, path: &Path) {
    let fails = outcome.status.code() == Some(1);
    let failures = outcome.json["failures"].as_array().unwrap();
    assert_eq!(outcome.stderr.lines().count(), usize::from(fails), "{outcome:?}");
    assert_eq!(failures.len(), usize::from(fails), "{outcome:?}");
    if fails {
        for word in [call, path.to_str().unwrap(), "copied without its "] {
            assert!(outcome.stderr.contains(word), "{word} is not in {outcome:?}");
        }
    }
}

#[test]
fn rejected_acl_removes_group_permissions() {
    let acl = "system.posix_acl_access";
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "content").unwrap();
    if let Err(error) = setxattr(&from, acl, crate::copy_attributes::ACL, XattrFlags::empty()) {
        println!("skipped: {acl}: {error}");
        return;
    }
    for call in ["fsetxattr", "fgetxattr"] {
        for (name, number) in ERRNOS {
            let Some(outcome) = injected(&command(&[&"-a", &from, &to]), call, name) else {
                return;
            };
            let what = format!("{call}, {name}: {outcome:?}");
            assert_eq!(outcome.status.code(), Some(1), "{what}");
            assert_eq!((unkept(&outcome), errno(&outcome)), (vec![acl], number), "{what}");
            expect_error_if_nonzero(&outcome, call, if call == "fgetxattr" { &from } else { &to });
            assert_eq!(fs::read(&to).unwrap(), b"content", "{what}");
            assert_eq!(fs::metadata(&to).unwrap().mode() & 0o077, 0, "{what}");
            fs::remove_file(&to).unwrap();
        }
    }
    // Listing the attributes fails, and the ACL is still kept.
    let Some(outcome) = injected(&command(&[&"-a", &from, &to]), "flistxattr", "EIO") else {
        return;
    };
    assert!(
        outcome.status.success() && getxattr(&to, acl, &mut [0; 99][..]).is_ok(),
        "{outcome:?}"
    );
}

#[test]
fn inherited_acl_grants_no_permissions() {
    let root = tempfile::tempdir().unwrap();
    let (from, into) = (root.path().join("from"), root.path().join("into"));
    fs::write(&from, "content").unwrap();
    fs::set_permissions(&from, Permissions::from_mode(0o664)).unwrap();
    fs::create_dir(&into).unwrap();
    let default = "system.posix_acl_default";
    if let Err(error) = setxattr(&into, default, crate::copy_attributes::ACL, XattrFlags::empty()) {
        println!("skipped: {default}: {error}");
        return;
    }
    let command = command(&[&"-a", &from, &into]);
    let Some(outcome) = injected(&command, "fremovexattr", "EPERM") else { return };
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert_eq!(unkept(&outcome), ["system.posix_acl_access"]);
    assert_eq!(fs::read(into.join("from")).unwrap(), b"content");
    // The bits of the group are the mask of the ACL.
    assert_eq!(fs::metadata(into.join("from")).unwrap().mode() & 0o070, 0);
}

#[test]
fn rejected_attributes_of_directories_links_and_fifos_are_reported() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir_all(from.join("closed")).unwrap();
    fs::write(from.join("closed/file"), "content").unwrap();
    symlink("closed/file", from.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(from.join("fifo")).status().unwrap().success());
    fs::set_permissions(from.join("closed"), Permissions::from_mode(0o500)).unwrap();
    // Nothing is made with this bit, so that fchmod(2) is called whatever the umask is.
    let file = from.join("closed/file");
    fs::set_permissions(&file, Permissions::from_mode(0o1644)).unwrap();
    fs::set_permissions(&from, Permissions::from_mode(0o1755)).unwrap();
    let entries = ["", "closed", "closed/file", "link", "fifo"].map(|name| from.join(name));
    let is_foreign = give_away(&entries.each_ref().map(|path| path.as_path()));
    let cases = [
        ("-a", "fchown,fchownat", &["group", "owner"][..], 4 + 1),
        ("-a", "fchmod,fchmodat", &["mode"], 3 + 1),
        ("-a", "utimensat", &["times"], 4 + 1),
        ("-r", "fchmod", &["mode"], 1),
    ];
    for (flag, call, lost, times) in
        cases.into_iter().filter(|(_, call, ..)| is_foreign || !call.starts_with("fchown"))
    {
        for errno in ["EACCES", "EOPNOTSUPP", "ENOSYS", "EIO"] {
            let command = command(&[&flag, &"--jobs", &"1", &from, &to]);
            let Some(outcome) = injected(&command, call, errno) else { return };
            let what = format!("{flag}, {call}, {errno}: {outcome:?}");
            assert_eq!(outcome.status.code(), Some(1), "{what}");
            assert_eq!(unkept(&outcome), lost, "{what}");
            assert_eq!(outcome.json["attribute_failures"][0]["times"], times, "{what}");
            assert_eq!(outcome.stderr.lines().count(), times, "{what}");
            assert!(!outcome.stderr.contains(".karez."), "{what}");
            assert_eq!(names(&to), ["closed", "fifo", "link"], "{what}");
            fs::set_permissions(to.join("closed"), Permissions::from_mode(0o700)).unwrap();
            assert_eq!(fs::read(to.join("closed/file")).unwrap(), b"content", "{what}");
            fs::remove_dir_all(&to).unwrap();
        }
    }
    fs::set_permissions(from.join("closed"), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn file_is_replaced_when_old_attributes_are_rejected() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "new").unwrap();
    for (call, lost) in [("fchown", None), ("fchmod", Some("mode"))] {
        for errno in ["EPERM", "EACCES", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EIO"] {
            fs::write(&to, "old").unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o640)).unwrap();
            let Some(outcome) = injected(&command(&[&from, &to]), call, errno) else { return };
            let outcome = outcome.expect_success();
            // The owner is correct from the start.
            assert_eq!(unkept(&outcome), Vec::from_iter(lost), "{call}, {errno}: {outcome:?}");
            assert_eq!(fs::read(&to).unwrap(), b"new", "{call}, {errno}");
            let mode = if call == "fchmod" { 0o600 } else { 0o640 };
            assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, mode, "{call}, {errno}");
        }
    }
}

#[test]
fn group_is_kept_when_the_owner_is_rejected() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let (from, into) = (root.path().join("from"), root.path().join("into"));
    fs::write(&from, "content").unwrap();
    mark(&from);
    chown(&from, Some(1234), Some(2345)).unwrap();
    fs::create_dir(&into).unwrap();
    chown(&into, Some(65534), Some(65534)).unwrap();
    let wanted = command(&[&"-a", &from, &into]);
    let mut member = Command::new("setpriv");
    member.args(["--reuid=65534", "--regid=65534", "--groups=65534,2345"]);
    let output = member.arg(wanted.get_program()).args(wanted.get_args()).output();
    let output = match output {
        Ok(output) if !output.stdout.is_empty() => output,
        other => return println!("skipped: setpriv: {other:?}"),
    };
    let outcome = Outcome::of(&output).expect_success();
    assert_eq!(unkept(&outcome), ["owner"], "{outcome:?}");
    let of = fs::metadata(into.join("from")).unwrap();
    assert_eq!((of.uid(), of.gid(), of.mode() & 0o7777), (65534, 2345, 0o751));
}

#[test]
fn oversized_xattr_is_skipped() {
    let Some(large) = Image::made_by(&["mkfs.ext4", "-q", "-O", "ea_inode"], 16) else { return };
    let Some(small) = Image::made_by(&["mkfs.ext4", "-q", "-I", "128"], 16) else { return };
    let (from, to) = (large.join("from"), small.join("to"));
    fs::write(&from, "content").unwrap();
    if let Err(error) = setxattr(&from, "user.large", &[7; 20_000], XattrFlags::empty()) {
        return println!("skipped: user.large: {error}");
    }
    setxattr(&from, "user.small", b"grain", XattrFlags::empty()).unwrap();
    mark(&from);
    let outcome = copy(&[&"-a", &from, &to]).expect_success();
    assert_eq!((unkept(&outcome), errno(&outcome)), (vec!["user.large"], 28), "{outcome:?}");
    assert_eq!(fs::read(&to).unwrap(), b"content");
    let of = fs::metadata(&to).unwrap();
    assert_eq!((of.mode() & 0o7777, of.mtime()), (0o751, 1_000_000_000));
    assert!(getxattr(&to, "user.small", &mut [0; 9][..]).is_ok());
}

#[test]
fn tree_is_copied_to_a_filesystem_without_attributes() {
    let Some(image) = Image::bound(&["--chmod-deny", "--chown-deny", "--xattr-none"]) else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), image.join("to"));
    fs::create_dir_all(from.join("below")).unwrap();
    for number in 0..20_u32 {
        let path = from.join(format!("below/{number}"));
        fs::write(&path, number.to_string()).unwrap();
        mark(&path);
    }
    for flag in ["-r", "-a"] {
        let outcome = copy(&[&flag, &from, &to]);
        assert_eq!(outcome.status.code(), Some(i32::from(flag == "-a")), "{outcome:?}");
        assert_eq!(outcome.count("files"), 20, "{outcome:?}");
        for number in 0..20_u32 {
            let copied = to.join(format!("below/{number}"));
            assert_eq!(fs::read_to_string(&copied).unwrap(), number.to_string(), "{flag}");
            let is_kept = fs::metadata(copied).unwrap().mtime() == 1_000_000_000;
            assert_eq!(is_kept, flag == "-a");
        }
        assert_eq!(unkept(&outcome).contains(&"mode"), flag == "-a", "{outcome:?}");
        fs::remove_dir_all(&to).unwrap();
    }
}
