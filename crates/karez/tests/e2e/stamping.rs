//! `--stamp`: files are personal as they leave, and as they were on the disk.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use crate::files::{pattern, write_dated};
use crate::server::{KAREZ, Server};
use crate::strace::{Traced, after, name};
use crate::ways;

const MIB: usize = 1 << 20;
const TOKEN: &[u8] = b"@@TOKEN-TOKEN@@";
const SECRET: &[u8] = b"s3cr3t-for-you!";
const FLAGS: [&str; 6] =
    ["--log", "off", "--stamp", "@@TOKEN-TOKEN@@=s3cr3t-for-you!", "--stamp", "#name#=sepehr"];

/// Where the token stands in `large`: at the ends, across pages and across mapped windows, in
/// the middle of nowhere.
const PLACES: [usize; 6] = [0, 4096 - 7, 100_000, 4 * MIB - 3, 8 * MIB - 15, 9 * MIB - 15];

fn put(content: &mut [u8], at: usize, bytes: &[u8]) {
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A root, what is in `large`, and what should leave instead.
fn root() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    let (mut plain, mut stamped) = (pattern(9 * MIB), pattern(9 * MIB));
    for at in PLACES {
        put(&mut plain, at, TOKEN);
        put(&mut stamped, at, SECRET);
    }
    let write = |name: &str, content: &[u8]| {
        write_dated(&root.path().join(name), content, 1_577_836_800);
    };
    write("large", &plain);
    write("small.txt", b"dear #name#, take @@TOKEN-TOKEN@@");
    write("small.txt.gz", b"as if it were compressed");
    write("other.txt", b"nothing to see");
    write("other.txt.gz", b"as if it were compressed");
    (root, plain, stamped)
}

#[test]
fn files_leave_with_their_stamps_and_stay_as_they_are() {
    let (root, plain, stamped) = root();
    for way in ways::all() {
        let server = Server::start_with(way, root.path(), &FLAGS);
        let mut client = server.connect();
        for _ in 0..2 {
            let large = client.get("/large");
            assert_eq!(large.field("content-length"), Some("9437184"), "{way}");
            assert!(large.body == stamped, "{way}");
            assert_eq!(client.get("/small.txt").body, b"dear sepehr, take s3cr3t-for-you!");
            assert_eq!(client.get("/other.txt").body, b"nothing to see");
        }
        assert!(fs::read(root.path().join("large")).unwrap() == plain, "{way}: the file");
    }
}

#[test]
fn ranges_are_of_the_stamped_file() {
    let (root, _, stamped) = root();
    for way in ways::some() {
        let server = Server::start_with(way, root.path(), &FLAGS);
        let mut client = server.connect();
        for at in PLACES {
            for (start, end) in [(at, at + 15), (at + 3, at + 4), (at.saturating_sub(5), at + 7)] {
                let range = format!("Range: bytes={start}-{}\r\n", end - 1);
                let part = client.request("GET", "/large", &range);
                assert_eq!(
                    (part.status, &*part.body),
                    (206, &stamped[start..end]),
                    "{way}, {range}"
                );
            }
        }
        let range = "Range: bytes=0-9,100000-100009,9437174-\r\n";
        let parts = client.request("GET", "/large", range);
        let body = parts.body;
        for part in [&stamped[..10], &stamped[100_000..100_010], &stamped[9_437_174..]] {
            assert!(body.windows(10).any(|window| window == part), "{way}");
        }
    }
}

#[test]
fn a_stamped_file_is_another_entity() {
    let (root, ..) = root();
    let way = ways::layouts().next().unwrap();
    let tags = [
        Server::start(way, root.path()),
        Server::start_with(way, root.path(), &FLAGS),
        Server::start_with(way, root.path(), &["--stamp", "@@TOKEN-TOKEN@@=n0t-for-y0u-but"]),
    ]
    .map(|server| {
        let mut client = server.connect();
        (client.settled_tag("/large"), client.settled_tag("/other.txt"))
    });
    let [plain, stamped, otherwise] = &tags;
    assert!(plain.0 != stamped.0 && stamped.0 != otherwise.0 && plain.0 != otherwise.0, "{tags:?}");
    assert!(plain.1 == stamped.1 && stamped.1 == otherwise.1, "nothing is stamped there: {tags:?}");

    let server = Server::start_with(way, root.path(), &FLAGS);
    let mut client = server.connect();
    let mut conditional =
        |tag: &str| client.request("GET", "/large", &format!("If-None-Match: {tag}\r\n")).status;
    assert_eq!((conditional(&stamped.0), conditional(&plain.0)), (304, 200));
    // No date tells by which stamps it came.
    let flags = FLAGS.into_iter().chain(["--etag", "shared"]).collect::<Vec<_>>();
    for (flags, dated) in [(&flags[..], false), (&["--etag", "shared"], true)] {
        let server = Server::start_with(way, root.path(), flags);
        let mut client = server.connect();
        client.settled_tag("/large");
        let date = "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT\r\n";
        let response = client.request("GET", "/large", date);
        assert_eq!(response.status, if dated { 304 } else { 200 }, "{flags:?}");
        assert_eq!(response.field("last-modified").is_some(), dated, "{flags:?}");
        assert!(client.request("HEAD", "/other.txt", "").field("last-modified").is_some());
    }
}

#[test]
fn what_lies_compressed_beside_a_stamped_file_is_not_sent() {
    let (root, ..) = root();
    let way = ways::layouts().next().unwrap();
    let server = Server::start_with(way, root.path(), &FLAGS);
    let mut client = server.connect();
    let accepts = "Accept-Encoding: gzip\r\n";
    let stamped = client.request("GET", "/small.txt", accepts);
    assert_eq!(stamped.field("content-encoding"), None);
    assert_eq!(stamped.body, b"dear sepehr, take s3cr3t-for-you!");
    let plain = client.request("GET", "/other.txt", accepts);
    assert_eq!(plain.field("content-encoding"), Some("gzip"));
}

#[test]
fn a_new_version_is_searched_anew() {
    let (root, ..) = root();
    for way in ways::some() {
        let server = Server::start_with(way, root.path(), &FLAGS);
        let mut client = server.connect();
        for (content, expected) in [
            ("1: #name#", "1: sepehr"),
            ("22 nobody", "22 nobody"),
            ("333 #name# #name#", "333 sepehr sepehr"),
        ] {
            fs::write(root.path().join("changing"), content).unwrap();
            assert_eq!(client.get("/changing").body, expected.as_bytes(), "{way}");
        }
    }
}

/// Where the edited page is gone, user space would get SIGBUS.
#[test]
fn a_file_cut_off_while_it_leaves_ends_the_connection_and_nothing_else() {
    let (root, plain, stamped) = root();
    let stamped = stamped.repeat(5);
    for way in ways::some() {
        let path = root.path().join("cut");
        // Far more than the buffers of two sockets.
        fs::write(&path, plain.repeat(5)).unwrap();
        let server = Server::start_with(way, root.path(), &FLAGS);
        let mut client = server.connect();
        assert_eq!(client.begin("/cut").status, 200, "{way}");
        let mut got = client.take(MIB);
        fs::File::options().write(true).open(&path).unwrap().set_len(25 * MIB as u64).unwrap();
        // Cut off: a short body, or a reset if more was on its way.
        let _end = client.stream.read_to_end(&mut got);
        assert!(got.len() <= 25 * MIB && stamped.starts_with(&got), "{way}: {}", got.len());
        assert_eq!(server.get("/small.txt").status, 200, "{way}: it goes on");
    }
}

#[test]
fn only_a_private_mapping_is_written_to() {
    let (root, _, stamped) = root();
    let way = ways::layouts().next().unwrap();
    let Some(traced) = Traced::start_serving(&[], way, root.path(), &FLAGS) else { return };
    assert!(traced.server.get("/large").body == stamped);
    let calls = traced.end().1;
    let calls = after(&calls, "GET /large");
    let maps: Vec<_> = calls
        .iter()
        .filter(|call| name(call) == "mmap" && !call.contains("MAP_ANONYMOUS"))
        .collect();
    assert!(!maps.is_empty());
    assert!(maps.iter().all(|call| call.contains("MAP_PRIVATE")), "{maps:#?}");
    assert!(!calls.iter().any(|call| name(call).starts_with("pwrite")), "no file is written to");
}

#[test]
fn a_stamp_that_would_change_the_length_is_refused() {
    for (stamp, why) in [
        ("short=longer", "5 bytes cannot be replaced by 6"),
        ("=", "there is nothing to replace"),
        ("nothing", "it has no '='"),
    ] {
        let output = Command::new(KAREZ).args(["serve", "--stamp", stamp]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stamp}: {said}");
        assert!(said.contains(why), "{stamp}: {said}");
    }
    let root = Path::new("/nonexistent");
    let output = Command::new(KAREZ).arg("serve").arg(root).args(["--stamp", "a=b"]).output();
    assert_eq!(output.unwrap().status.code(), Some(1));
}
