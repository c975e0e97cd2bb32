//! `--substitute`: bytes are replaced in the response, and the file on the disk is not changed.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use crate::files::{pattern, write_dated};
use crate::layouts;
use crate::server::{KAREZ, Server};
use crate::strace::{Traced, after, name};

const MIB: usize = 1 << 20;
const TOKEN: &[u8] = b"@@TOKEN-TOKEN@@";
const SECRET: &[u8] = b"s3cr3t-for-you!";
const FLAGS: [&str; 6] = [
    "--log",
    "off",
    "--substitute",
    "@@TOKEN-TOKEN@@=s3cr3t-for-you!",
    "--substitute",
    "#name#=sepehr",
];

/// Offsets of the token in `large`: at both ends, across pages and mapped windows, inside a page.
const PLACES: [usize; 6] = [0, 4096 - 7, 100_000, 4 * MIB - 3, 8 * MIB - 15, 9 * MIB - 15];

fn put(content: &mut [u8], at: usize, bytes: &[u8]) {
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A root, the content of `large`, and the content expected in its response.
fn root() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    let (mut plain, mut changed) = (pattern(9 * MIB), pattern(9 * MIB));
    for at in PLACES {
        put(&mut plain, at, TOKEN);
        put(&mut changed, at, SECRET);
    }
    let write = |name: &str, content: &[u8]| {
        write_dated(&root.path().join(name), content, 1_577_836_800);
    };
    write("large", &plain);
    write("small.txt", b"dear #name#, take @@TOKEN-TOKEN@@");
    write("small.txt.gz", b"as if it were compressed");
    write("other.txt", b"nothing to see");
    write("other.txt.gz", b"as if it were compressed");
    (root, plain, changed)
}

#[test]
fn bytes_are_replaced_in_responses_and_not_on_the_disk() {
    let (root, plain, changed) = root();
    for layout in layouts::all_with_vias() {
        let server = Server::start_with(layout, root.path(), &FLAGS);
        let mut client = server.connect();
        for _ in 0..2 {
            let large = client.get("/large");
            assert_eq!(large.field("content-length"), Some("9437184"), "{layout}");
            assert!(large.body == changed, "{layout}");
            assert_eq!(client.get("/small.txt").body, b"dear sepehr, take s3cr3t-for-you!");
            assert_eq!(client.get("/other.txt").body, b"nothing to see");
        }
        assert!(fs::read(root.path().join("large")).unwrap() == plain, "{layout}: the file");
    }
}

#[test]
fn ranges_are_of_the_changed_content() {
    let (root, _, changed) = root();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &FLAGS);
        let mut client = server.connect();
        for at in PLACES {
            for (start, end) in [(at, at + 15), (at + 3, at + 4), (at.saturating_sub(5), at + 7)] {
                let range = format!("Range: bytes={start}-{}\r\n", end - 1);
                let part = client.request("GET", "/large", &range);
                assert_eq!(
                    (part.status, &*part.body),
                    (206, &changed[start..end]),
                    "{layout}, {range}"
                );
            }
        }
        let range = "Range: bytes=0-9,100000-100009,9437174-\r\n";
        let parts = client.request("GET", "/large", range);
        let body = parts.body;
        for part in [&changed[..10], &changed[100_000..100_010], &changed[9_437_174..]] {
            assert!(body.windows(10).any(|window| window == part), "{layout}");
        }
    }
}

#[test]
fn a_changed_file_has_its_own_etag() {
    let (root, ..) = root();
    let layout = layouts::all().next().unwrap();
    let tags = [
        Server::start(layout, root.path()),
        Server::start_with(layout, root.path(), &FLAGS),
        Server::start_with(
            layout,
            root.path(),
            &["--substitute", "@@TOKEN-TOKEN@@=n0t-for-y0u-but"],
        ),
    ]
    .map(|server| {
        let mut client = server.connect();
        (client.wait_for_etag("/large"), client.wait_for_etag("/other.txt"))
    });
    let [plain, changed, otherwise] = &tags;
    assert!(plain.0 != changed.0 && changed.0 != otherwise.0 && plain.0 != otherwise.0, "{tags:?}");
    assert!(
        plain.1 == changed.1 && changed.1 == otherwise.1,
        "nothing is replaced there: {tags:?}"
    );

    let server = Server::start_with(layout, root.path(), &FLAGS);
    let mut client = server.connect();
    let mut conditional =
        |tag: &str| client.request("GET", "/large", &format!("If-None-Match: {tag}\r\n")).status;
    assert_eq!((conditional(&changed.0), conditional(&plain.0)), (304, 200));
    // A date does not identify the substitutions.
    let flags = FLAGS.into_iter().chain(["--etag", "shared"]).collect::<Vec<_>>();
    for (flags, dated) in [(&flags[..], false), (&["--etag", "shared"], true)] {
        let server = Server::start_with(layout, root.path(), flags);
        let mut client = server.connect();
        client.wait_for_etag("/large");
        let date = "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT\r\n";
        let response = client.request("GET", "/large", date);
        assert_eq!(response.status, if dated { 304 } else { 200 }, "{flags:?}");
        assert_eq!(response.field("last-modified").is_some(), dated, "{flags:?}");
        assert!(client.request("HEAD", "/other.txt", "").field("last-modified").is_some());
    }
}

#[test]
fn a_changed_file_is_not_sent_precompressed() {
    let (root, ..) = root();
    let layout = layouts::all().next().unwrap();
    let server = Server::start_with(layout, root.path(), &FLAGS);
    let mut client = server.connect();
    let accepts = "Accept-Encoding: gzip\r\n";
    let changed = client.request("GET", "/small.txt", accepts);
    assert_eq!(changed.field("content-encoding"), None);
    assert_eq!(changed.body, b"dear sepehr, take s3cr3t-for-you!");
    let plain = client.request("GET", "/other.txt", accepts);
    assert_eq!(plain.field("content-encoding"), Some("gzip"));
}

#[test]
fn a_new_version_is_searched_again() {
    let (root, ..) = root();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &FLAGS);
        let mut client = server.connect();
        for (content, expected) in [
            ("1: #name#", "1: sepehr"),
            ("22 no name", "22 no name"),
            ("333 #name# #name#", "333 sepehr sepehr"),
        ] {
            fs::write(root.path().join("changing"), content).unwrap();
            assert_eq!(client.get("/changing").body, expected.as_bytes(), "{layout}");
        }
    }
}

/// A read of a page beyond the new end by user space would be SIGBUS.
#[test]
fn truncation_while_sending_ends_only_the_connection() {
    let (root, plain, changed) = root();
    let changed = changed.repeat(5);
    for layout in layouts::sample() {
        let path = root.path().join("cut");
        // Far more than the buffers of two sockets.
        fs::write(&path, plain.repeat(5)).unwrap();
        let server = Server::start_with(layout, root.path(), &FLAGS);
        let mut client = server.connect();
        assert_eq!(client.start_get("/cut").status, 200, "{layout}");
        let mut got = client.read_body(MIB);
        fs::File::options().write(true).open(&path).unwrap().set_len(25 * MIB as u64).unwrap();
        // Truncated: a short body, or a reset if more was in flight.
        let _end = client.stream.read_to_end(&mut got);
        assert!(got.len() <= 25 * MIB && changed.starts_with(&got), "{layout}: {}", got.len());
        assert_eq!(server.get("/small.txt").status, 200, "{layout}: it still serves");
    }
}

#[test]
fn only_a_private_mapping_is_written_to() {
    let (root, _, changed) = root();
    let layout = layouts::all().next().unwrap();
    let Some(traced) = Traced::start_serving(&[], layout, root.path(), &FLAGS) else { return };
    assert!(traced.server.get("/large").body == changed);
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
fn unequal_lengths_are_rejected() {
    for (substitution, why) in [
        ("short=longer", "5 bytes cannot be replaced by 6"),
        ("=", "there is nothing to replace"),
        ("nothing", "it has no '='"),
    ] {
        let output =
            Command::new(KAREZ).args(["serve", "--substitute", substitution]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{substitution}: {printed}");
        assert!(printed.contains(why), "{substitution}: {printed}");
    }
    let root = Path::new("/nonexistent");
    let output = Command::new(KAREZ).arg("serve").arg(root).args(["--substitute", "a=b"]).output();
    assert_eq!(output.unwrap().status.code(), Some(1));
}
