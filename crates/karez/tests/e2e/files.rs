//! Files of every size, whole and in parts, checked by hash.

use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::client::Client;
use crate::server::Server;
use crate::ways;

/// Bytes that repeat nowhere near, the same for the same length.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file that was last modified so many seconds after 1970.
pub fn write_dated(path: &Path, content: impl AsRef<[u8]>, seconds: u64) {
    fs::write(path, content).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

const SIZES: [usize; 8] = [0, 1, 4095, 4096, 16384, 65535, 1 << 20, 64 << 20];

#[test]
fn every_size_arrives_whole_on_every_way() {
    let root = tempfile::tempdir().unwrap();
    let hashes = SIZES.map(|size| {
        let content = pattern(size);
        fs::write(root.path().join(size.to_string()), &content).unwrap();
        Sha256::digest(content)
    });
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for (size, hash) in SIZES.iter().zip(hashes) {
            let response = client.get(&format!("/{size}"));
            assert_eq!(response.status, 200, "{way}, {size} bytes");
            assert_eq!(Sha256::digest(&response.body), hash, "{way}, {size} bytes");
        }
    }
}

#[test]
fn head_says_what_get_says_and_sends_no_body() {
    let root = tempfile::tempdir().unwrap();
    for size in SIZES {
        let path = root.path().join(format!("{size}.txt"));
        write_dated(&path, pattern(size.min(1 << 20)), 1_577_836_800);
    }
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for size in SIZES {
            let target = format!("/{size}.txt");
            client.settled_tag(&target);
            let head = client.request("HEAD", &target, "");
            // A body of the HEAD would be taken for the answer to this.
            let get = client.get(&target);
            assert_eq!((head.status, get.status), (200, 200), "{way}, {target}");
            assert_eq!(head.lasting_fields(), get.lasting_fields(), "{way}, {target}");
            let length = get.body.len().to_string();
            assert_eq!(head.field("content-length"), Some(&*length), "{way}, {target}");
            assert_eq!(head.field("content-type"), Some("text/plain; charset=utf-8"), "{way}");
            assert_eq!(head.field("last-modified"), Some("Wed, 01 Jan 2020 00:00:00 GMT"), "{way}");
            assert_eq!(head.field("accept-ranges"), Some("bytes"), "{way}");
        }
    }
}

/// More than 32 bits can count, and no multiple of a page.
const LARGE: u64 = (5 << 30) + 7;

/// Where something is written into the large file; zeros lie between.
const ISLANDS: [u64; 5] =
    [0, (1 << 31) - 100, (1 << 32) - 100, (1 << 32) + 123_456, LARGE - ISLAND];
const ISLAND: u64 = 200;

#[test]
fn a_file_over_4_gib_arrives_by_ranges() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("large")).unwrap();
    file.set_len(LARGE).unwrap();
    for (place, at) in ISLANDS.into_iter().enumerate() {
        file.write_all_at(&island(place), at).unwrap();
    }
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        let head = client.request("HEAD", "/large", "");
        assert_eq!(head.field("content-length"), Some("5368709127"), "{way}");
        for (place, at) in ISLANDS.into_iter().enumerate() {
            let wanted = format!("{at}-{}", at + ISLAND - 1);
            assert_eq!(part(&mut client, &wanted), island(place), "{way}, {wanted}");
        }
        let last = &island(ISLANDS.len() - 1)[ISLAND as usize - 7..];
        assert_eq!(part(&mut client, "-7"), last, "{way}");
        assert_eq!(part(&mut client, "5368709120-"), last, "{way}");
        // From a hole over the 32-bit mark into the island behind it.
        let (start, end) = ((1 << 32) - 100_000, (1 << 32) + 200_000);
        let across = part(&mut client, &format!("{start}-{}", end - 1));
        assert_eq!(Sha256::digest(across), Sha256::digest(sea(start, end)), "{way}");
    }
}

fn part(client: &mut Client, range: &str) -> Vec<u8> {
    let response = client.request("GET", "/large", &format!("Range: bytes={range}\r\n"));
    assert_eq!(response.status, 206, "{range}");
    response.body
}

fn island(place: usize) -> Vec<u8> {
    pattern(ISLAND as usize + place)[place..].to_vec()
}

/// What the large file holds from `start` to `end`, both outside of islands.
fn sea(start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; (end - start) as usize];
    for (place, at) in ISLANDS.into_iter().enumerate() {
        if (start..end).contains(&at) {
            let at = (at - start) as usize;
            bytes[at..at + ISLAND as usize].copy_from_slice(&island(place));
        }
    }
    bytes
}
