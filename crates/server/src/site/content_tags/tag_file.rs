//! The file of content tags: a ring of records of fixed size behind a header, each written by one pwrite(2).
//!
//! It stays open, so that a confined server needs no right to its directory. Each record has a checksum, so one that
//! was written in part counts as absent; and so do the records of a process that writes the same file at the same time,
//! as during an upgrade, where they are overwritten.
//!
//! # Limitations
//!
//! An error of a write, such as a full disk, is ignored: the hash is computed again by the next process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::content::{ContentHash, VersionKey, hash_of_bytes};

/// The length of the header, and of a record: a sequence number (8 bytes), a version (16), a hash (32), a checksum
/// (8).
const RECORD: usize = 64;
/// The length of a record without its checksum.
const CHECKED: usize = 56;
const HEADER: &[u8] = b"karez content tags, version 1\n";

/// An open file of tags.
pub(super) struct TagFile {
    file: File,
    /// The number of records of the ring.
    capacity: u64,
    /// The sequence number of the next record.
    next: AtomicU64,
}

impl TagFile {
    /// Opens or makes a file. Returns its records, too, the oldest first.
    ///
    /// # Errors
    /// The file cannot be opened or read, or has another content.
    pub(super) fn open(
        path: &Path,
        capacity: usize,
    ) -> io::Result<(Self, Vec<(VersionKey, ContentHash)>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        let length = RECORD * (1 + capacity);
        (&file).take(length as u64).read_to_end(&mut bytes)?;
        let (header, records) = bytes.split_at(bytes.len().min(RECORD));
        // A header that a crash has lost is zeros.
        if header.iter().all(|byte| *byte == 0) {
            file.write_all_at(&padded_header(), 0)?;
        } else if header != padded_header() {
            let text = "not a file of entity tags";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut found: Vec<_> = records.chunks_exact(RECORD).filter_map(decode).collect();
        found.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let next = found.last().map_or(0, |(last, ..)| last.wrapping_add(1));
        let found = found.into_iter().map(|(_, version, hash)| (version, hash)).collect();
        Ok((Self { file, capacity: capacity as u64, next: next.into() }, found))
    }

    /// Writes a record in place of the oldest.
    pub(super) fn write(&self, version: VersionKey, hash: ContentHash) {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let place = RECORD as u64 * (1 + sequence % self.capacity);
        let _lost = self.file.write_all_at(&encode(sequence, version, hash), place);
    }
}

fn padded_header() -> [u8; RECORD] {
    std::array::from_fn(|index| HEADER.get(index).copied().unwrap_or(0))
}

fn encode(sequence: u64, version: VersionKey, hash: ContentHash) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD);
    record.extend_from_slice(&sequence.to_le_bytes());
    record.extend_from_slice(&version.0);
    record.extend_from_slice(&hash);
    let checksum = hash_of_bytes(&record);
    record.extend_from_slice(&checksum[..RECORD - CHECKED]);
    record
}

/// Returns a record; `None` if the checksum is wrong.
fn decode(record: &[u8]) -> Option<(u64, VersionKey, ContentHash)> {
    let (checked, checksum) = record.split_at_checked(CHECKED)?;
    if hash_of_bytes(checked)[..RECORD - CHECKED] != *checksum {
        return None;
    }
    let sequence = u64::from_le_bytes(checked.get(..8)?.try_into().ok()?);
    let version = VersionKey(checked.get(8..24)?.try_into().ok()?);
    Some((sequence, version, checked.get(24..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn version(number: u64) -> VersionKey {
        VersionKey::of([number])
    }

    fn hash(number: u64) -> ContentHash {
        hash_of_bytes(&number.to_le_bytes())
    }

    fn records(path: &Path, capacity: usize) -> Vec<(VersionKey, ContentHash)> {
        TagFile::open(path, capacity).unwrap().1
    }

    #[test]
    fn records_are_found_again_and_the_oldest_are_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags");
        for first in (0..6).step_by(2) {
            let (file, _) = TagFile::open(&path, 4).unwrap();
            (first..first + 2).for_each(|number| file.write(version(number), hash(number)));
        }
        let expected: Vec<_> = (2..6).map(|number| (version(number), hash(number))).collect();
        assert_eq!(records(&path, 4), expected);
        assert_eq!(fs::metadata(&path).unwrap().len(), 5 * RECORD as u64);
    }

    #[test]
    fn a_damaged_record_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags");
        let (file, _) = TagFile::open(&path, 8).unwrap();
        (0..3).for_each(|number| file.write(version(number), hash(number)));
        let whole = fs::read(&path).unwrap();
        for place in RECORD..2 * RECORD {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let expected = [(version(1), hash(1)), (version(2), hash(2))];
            assert_eq!(records(&path, 8), expected, "{place}");
        }
        for length in [0, 1, RECORD, 3 * RECORD - 1] {
            let kept = if length <= RECORD { 0 } else { 1 };
            fs::write(&path, vec![0; length.min(RECORD)]).unwrap();
            if length > RECORD {
                fs::write(&path, &whole[..length]).unwrap();
            }
            assert_eq!(records(&path, 8).len(), kept, "{length}");
        }
    }

    #[test]
    fn another_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        fs::write(&path, "important").unwrap();
        assert!(TagFile::open(&path, 8).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"important");
        assert!(TagFile::open(Path::new("/dev/null"), 8).is_err());
        assert!(TagFile::open(directory.path(), 8).is_err());
    }
}
