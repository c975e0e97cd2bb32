//! Validators of files with similar contents (RFC 9110 §8.8): a client with one version never gets
//! a 304 for another, nor a part of it to join.

use std::any::Any;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::client::{Client, Response};
use crate::disk_image::Image;
use crate::files::write_dated;
use crate::layouts::{self, Layout};
use crate::server::Server;

const LOCAL: [&str; 2] = ["--log", "off"];
const SHARED: [&str; 4] = ["--log", "off", "--etag", "shared"];
const OLD: u64 = 1_577_836_800;

/// Returns every condition that a client can derive from a response, each with the status that it
/// must not have after a change of the content.
fn conditions(known: &Response) -> Vec<(String, u16)> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: &str, behind: &str, wrong| {
        all.push((format!("{name}: {value}\r\n{behind}"), wrong));
    };
    let range = "Range: bytes=1-\r\n";
    let tag = known.field("etag");
    if let Some(tag) = tag {
        let weak = format!("W/{}", tag.trim_start_matches("W/"));
        add("If-None-Match", tag, "", 304);
        add("If-None-Match", &weak, "", 304);
        add("If-None-Match", &format!("\"x\", {tag}"), "", 304);
        add("If-Range", tag, range, 206);
        add("If-Match", tag, range, 206);
    }
    if let Some(date) = known.field("last-modified") {
        add("If-Modified-Since", date, "", 304);
        add("If-Range", date, range, 206);
        add("If-Unmodified-Since", date, range, 206);
    }
    all
}

/// Requests a new version under every condition that the old response allows.
fn assert_unknown(client: &mut Client, target: &str, known: &Response, content: &[u8], what: &str) {
    for (fields, wrong) in conditions(known) {
        let response = client.request("GET", target, &fields);
        let what = format!("{what}: {fields:?}");
        assert_ne!(response.status, wrong, "{what}");
        assert!(response.status == 412 || response.body == content, "{what}: {response:?}");
        assert_ne!(client.request("HEAD", target, &fields).status, wrong, "{what}, HEAD");
    }
}

/// Returns the response that a client would cache once the file's time stamps are old enough.
fn known(client: &mut Client, target: &str) -> Response {
    client.wait_for_etag(target);
    client.get(target)
}

#[test]
fn new_content_of_equal_time_and_size_is_a_new_version() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for layout in layouts::sample() {
        type Change = fn(&Path, &Path);
        let changes: [(&str, Change); 4] = [
            ("written in place", |file, _| write_dated(file, "second", OLD)),
            ("renamed over", |file, new| fs::rename(new, file).unwrap()),
            ("its directory exchanged", |file, new| {
                let (directory, other) = (file.parent().unwrap(), new.parent().unwrap());
                fs::rename(new, other.join("f")).unwrap();
                fs::rename(directory, directory.with_extension("gone")).unwrap();
                fs::rename(other, directory).unwrap();
            }),
            ("touched", |file, _| {
                fs::write(file, "second").unwrap();
                let file = File::options().write(true).open(file).unwrap();
                file.set_modified(UNIX_EPOCH + Duration::from_secs(OLD)).unwrap();
            }),
        ];
        for (what, change) in changes {
            for directory in ["d", "e", "d.gone"] {
                let _none_yet = fs::remove_dir_all(path(directory));
            }
            fs::create_dir(path("d")).unwrap();
            fs::create_dir(path("e")).unwrap();
            // Both with the same time, as by a build that sets all times.
            write_dated(&path("d/f"), "first!", OLD);
            write_dated(&path("e/new"), "second", OLD);
            let server = Server::start_with(layout, root.path(), &LOCAL);
            let mut client = server.connect();
            let first = known(&mut client, "/d/f");
            assert_eq!(first.body, b"first!", "{layout}");
            let tag = first.field("etag").unwrap();
            let same = format!("If-None-Match: {tag}\r\n");
            assert_eq!(client.request("GET", "/d/f", &same).status, 304, "{layout}, {what}");
            change(&path("d/f"), &path("e/new"));
            let what = format!("{layout}, {what}");
            assert_unknown(&mut client, "/d/f", &first, b"second", &what);
            let second = known(&mut client, "/d/f");
            assert_ne!(second.field("etag"), Some(tag), "{what}");
            assert_unknown(&mut client, "/d/f", &first, b"second", &what);
        }
    }
}

#[test]
fn new_precompressed_file_is_a_new_version() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f.gz");
    let gzip = "Accept-Encoding: gzip\r\n";
    for layout in layouts::sample() {
        write_dated(&root.path().join("f"), "plain", OLD);
        write_dated(&path, "first!", OLD);
        let server = Server::start_with(layout, root.path(), &LOCAL);
        let mut client = server.connect();
        client.wait_for_etag("/f.gz");
        let first = client.request("GET", "/f", gzip);
        assert_eq!(first.field("content-encoding"), Some("gzip"), "{layout}");
        write_dated(&path, "second", OLD);
        for (fields, wrong) in conditions(&first) {
            let response = client.request("GET", "/f", &format!("{gzip}{fields}"));
            assert_ne!(response.status, wrong, "{layout}, {fields}");
        }
    }
}

#[test]
fn shared_etags_match_for_equal_times_and_sizes() {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in [("one", "first!"), ("two", "second")] {
        write_dated(&root.path().join(name), content, OLD);
    }
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &SHARED);
        let mut client = server.connect();
        let (one, two) = (known(&mut client, "/one"), known(&mut client, "/two"));
        assert_eq!(one.field("etag"), two.field("etag"), "{layout}: worker threads exist for this");
        assert_eq!(one.field("etag"), Some("\"5e0be10000000000-6\""), "{layout}");
        let server = Server::start_with(layout, root.path(), &LOCAL);
        let mut client = server.connect();
        let (one, two) = (known(&mut client, "/one"), known(&mut client, "/two"));
        assert_ne!(one.field("etag"), two.field("etag"), "{layout}");
    }
}

#[test]
fn mtime_of_zero_or_one_needs_other_evidence() {
    let root = tempfile::tempdir().unwrap();
    for (name, second) in [("zero", 0), ("one", 1)] {
        write_dated(&root.path().join(name), "first!", second);
    }
    for layout in layouts::sample() {
        for (flags, tagged) in [(&LOCAL[..], true), (&SHARED, false)] {
            let server = Server::start_with(layout, root.path(), flags);
            let mut client = server.connect();
            for target in ["/zero", "/one"] {
                let what = format!("{layout}, {flags:?}, {target}");
                // Without a date the response never gets a tag, so only the other case can be
                // waited for.
                let first = if tagged { known(&mut client, target) } else { client.get(target) };
                assert_eq!(first.field("etag").is_some(), tagged, "{what}");
                assert_eq!(first.field("last-modified"), None, "{what}");
                for date in ["Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:01 GMT"] {
                    let range = format!("If-Range: {date}\r\nRange: bytes=1-\r\n");
                    assert_eq!(client.request("GET", target, &range).status, 200, "{what}");
                    let since = format!("If-Modified-Since: {date}\r\n");
                    assert_eq!(client.request("GET", target, &since).status, 200, "{what}");
                }
                let any = "If-None-Match: *\r\n";
                assert_eq!(client.request("GET", target, any).status, 304, "{what}: there is one");
            }
        }
    }
}

#[test]
fn last_modified_counts_once_its_second_has_passed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    fs::write(&path, "content").unwrap();
    for layout in layouts::sample() {
        for flags in [&LOCAL[..], &SHARED] {
            let what = format!("{layout}, {flags:?}");
            let server = Server::start_with(layout, root.path(), flags);
            let mut client = server.connect();
            let date = client.wait_for_last_modified("/f");
            let mut ask = |name: &str, behind: &str| {
                client.request("GET", "/f", &format!("{name}: {date}\r\n{behind}")).status
            };
            let range = "Range: bytes=1-\r\n";
            assert_eq!(ask("If-Modified-Since", ""), 304, "{what}");
            assert_eq!(ask("If-Unmodified-Since", ""), 200, "{what}");
            assert_eq!(ask("If-Unmodified-Since", range), 206, "{what}");
            assert_eq!(ask("If-Range", range), 206, "{what}");
        }
    }
    // The date is unchanged, the inode is another.
    let layout = layouts::all().next().unwrap();
    let server = Server::start_with(layout, root.path(), &LOCAL);
    let mut client = server.connect();
    client.wait_for_last_modified("/f");
    let before = client.get("/f");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "CONTENT").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_unknown(&mut client, "/f", &before, b"CONTENT", "rewritten");
    client.wait_for_etag("/f");
    let after = client.get("/f");
    assert_eq!(after.field("last-modified"), before.field("last-modified"));
    assert_unknown(&mut client, "/f", &before, b"CONTENT", "rewritten, a while ago");
}

#[test]
fn older_replacement_is_a_new_version() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for layout in layouts::sample() {
        let _none_yet = (fs::remove_dir_all(path("d")), fs::remove_dir_all(path("old")));
        for (directory, content) in [("old", "first!"), ("d", "second")] {
            fs::create_dir(path(directory)).unwrap();
            fs::write(path(directory).join("f"), content).unwrap();
            let server = Server::start(layout, root.path());
            server.connect().wait_for_last_modified(&format!("/{directory}/f"));
        }
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let second = client.get("/d/f");
        assert!(second.field("last-modified").is_some(), "{layout}");
        // A rollback: no file's inode changes.
        fs::rename(path("d"), path("new")).unwrap();
        fs::rename(path("old"), path("d")).unwrap();
        fs::remove_dir_all(path("new")).unwrap();
        assert_unknown(&mut client, "/d/f", &second, b"first!", &layout.to_string());
    }
}

#[test]
fn future_mtime_is_reported_as_now() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("f"), "content", 4_000_000_000);
    for layout in layouts::sample() {
        for flags in [&LOCAL[..], &SHARED] {
            let server = Server::start_with(layout, root.path(), flags);
            let mut client = server.connect();
            let first = known(&mut client, "/f");
            let date = first.field("last-modified").unwrap().to_owned();
            assert!(!date.contains("2096"), "{layout}, {date}");
            let since = format!("If-Modified-Since: {date}\r\n");
            assert_eq!(client.request("GET", "/f", &since).status, 200, "{layout}");
            let range = format!("If-Range: {date}\r\nRange: bytes=1-\r\n");
            assert_eq!(client.request("GET", "/f", &range).status, 200, "{layout}");
            let tag = format!("If-None-Match: {}\r\n", first.field("etag").unwrap());
            assert_eq!(client.request("GET", "/f", &tag).status, 304, "{layout}");
        }
    }
}

/// Returns directories on several file systems: those of the machine, one with coarse time stamps,
/// one with time stamps of two seconds.
fn file_systems() -> Vec<(&'static str, PathBuf, Box<dyn Any>)> {
    let local = |name, directory: tempfile::TempDir| {
        (name, directory.path().to_owned(), Box::new(directory) as Box<dyn Any>)
    };
    let image = |name, image: Image| (name, image.path.clone(), Box::new(image) as Box<dyn Any>);
    let own = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut all = vec![local("temporary", tempfile::tempdir().unwrap()), local("own", own)];
    all.extend(Image::mount_in_memory("ramfs", "mode=755").map(|it| image("ramfs", it)));
    all.extend(Image::mount_in_memory("tmpfs", "size=4m").map(|it| image("tmpfs", it)));
    all.extend(Image::made_by(&["mkfs.vfat"], 4).map(|it| image("vfat", it)));
    all.extend(Image::made_by(&["mkfs.minix"], 4).map(|it| image("minix", it)));
    all
}

/// Writes two versions within one tick of the file system's clock: no validator of the first
/// matches the second, neither then nor when both are old.
fn write_twice(layout: Layout, flags: &[&str], name: &str, root: &Path) {
    let path = root.join("f");
    let server = Server::start_with(layout, root, flags);
    let mut client = server.connect();
    let stamps = || {
        let meta = fs::metadata(&path).unwrap();
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let mut alike = 0;
    for round in 0..100 {
        let (one, other) = (format!("one {round:08}"), format!("two {round:08}"));
        fs::write(&path, &one).unwrap();
        let before = stamps();
        let first = client.get("/f");
        fs::write(&path, &other).unwrap();
        if before != stamps() {
            continue; // not within a tick
        }
        alike += 1;
        let what = format!("{layout}, {flags:?}, {name}, {round}");
        assert_eq!(first.body, one.as_bytes(), "{what}");
        assert_unknown(&mut client, "/f", &first, other.as_bytes(), &what);
        if alike == 3 {
            client.wait_for_etag("/f");
            assert_unknown(&mut client, "/f", &first, other.as_bytes(), &what);
            client.wait_for_last_modified("/f");
            assert_unknown(&mut client, "/f", &first, other.as_bytes(), &what);
            return;
        }
    }
    println!("{name}: {alike} of 100 pairs look alike, as this kernel tells times");
}

#[test]
fn two_writes_within_one_tick_are_two_versions() {
    for (name, root, _held) in file_systems() {
        for layout in layouts::sample() {
            write_twice(layout, &LOCAL, name, &root);
            write_twice(layout, &SHARED, name, &root);
        }
    }
}
