//! Files of every size, whole and in parts, checked by hash.

use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::client::Client;
use crate::layouts;
use crate::server::Server;

/// Returns bytes without nearby repetition, the same for each length.
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

/// Writes a file with a modification time of this number of seconds after 1970.
pub fn write_dated(path: &Path, content: impl AsRef<[u8]>, seconds: u64) {
    fs::write(path, content).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

const SIZES: [usize; 8] = [0, 1, 4095, 4096, 16384, 65535, 1 << 20, 64 << 20];

#[test]
fn every_layout_sends_every_size() {
    let root = tempfile::tempdir().unwrap();
    let hashes = SIZES.map(|size| {
        let content = pattern(size);
        fs::write(root.path().join(size.to_string()), &content).unwrap();
        Sha256::digest(content)
    });
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (size, hash) in SIZES.iter().zip(hashes) {
            let response = client.get(&format!("/{size}"));
            assert_eq!(response.status, 200, "{layout}, {size} bytes");
            assert_eq!(Sha256::digest(&response.body), hash, "{layout}, {size} bytes");
        }
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let root = tempfile::tempdir().unwrap();
    for size in SIZES {
        let path = root.path().join(format!("{size}.txt"));
        write_dated(&path, pattern(size.min(1 << 20)), 1_577_836_800);
    }
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for size in SIZES {
            let target = format!("/{size}.txt");
            client.wait_for_etag(&target);
            let head = client.request("HEAD", &target, "");
            // A body sent for the HEAD would be taken for the next response.
            let get = client.get(&target);
            assert_eq!((head.status, get.status), (200, 200), "{layout}, {target}");
            assert_eq!(head.fields_without_date(), get.fields_without_date(), "{layout}, {target}");
            let length = get.body.len().to_string();
            assert_eq!(head.field("content-length"), Some(&*length), "{layout}, {target}");
            assert_eq!(head.field("content-type"), Some("text/plain; charset=utf-8"), "{layout}");
            assert_eq!(
                head.field("last-modified"),
                Some("Wed, 01 Jan 2020 00:00:00 GMT"),
                "{layout}"
            );
            assert_eq!(head.field("accept-ranges"), Some("bytes"), "{layout}");
        }
    }
}

/// Larger than 32 bits can count, and not a multiple of a page.
const LARGE: u64 = (5 << 30) + 7;

/// Offsets of the data in the large file; the rest is holes.
const ISLANDS: [u64; 5] =
    [0, (1 << 31) - 100, (1 << 32) - 100, (1 << 32) + 123_456, LARGE - ISLAND];
const ISLAND: u64 = 200;

#[test]
fn file_over_4_gib_is_sent_by_ranges() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("large")).unwrap();
    file.set_len(LARGE).unwrap();
    for (place, at) in ISLANDS.into_iter().enumerate() {
        file.write_all_at(&island(place), at).unwrap();
    }
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let head = client.request("HEAD", "/large", "");
        assert_eq!(head.field("content-length"), Some("5368709127"), "{layout}");
        for (place, at) in ISLANDS.into_iter().enumerate() {
            let wanted = format!("{at}-{}", at + ISLAND - 1);
            assert_eq!(part(&mut client, &wanted), island(place), "{layout}, {wanted}");
        }
        let last = &island(ISLANDS.len() - 1)[ISLAND as usize - 7..];
        assert_eq!(part(&mut client, "-7"), last, "{layout}");
        assert_eq!(part(&mut client, "5368709120-"), last, "{layout}");
        // From a hole across the 32-bit limit into the data after it.
        let (start, end) = ((1 << 32) - 100_000, (1 << 32) + 200_000);
        let across = part(&mut client, &format!("{start}-{}", end - 1));
        assert_eq!(Sha256::digest(across), Sha256::digest(sea(start, end)), "{layout}");
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

/// Returns the content of the large file from `start` to `end`, both in holes.
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
