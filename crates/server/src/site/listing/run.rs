//! The entries of one batch, sorted, and their form in memory: three bytes and the name for each, and twenty more
//! for attributes that are known.
//!
//! Directories come before files in every order and direction, and equal entries are ordered by name.
//!
//! # Limitations
//!
//! Names are ordered by ASCII regardless of case, then by bytes. No language is considered, so
//! `é` comes after `z` and `file10` before `file9`.

use std::cmp::Ordering;

use super::view::{ListingOrder, Sort};

/// The kind of an entry. Directories come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EntryKind {
    Directory,
    File,
}

/// The attributes of an entry that are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryMetadata {
    /// 0 for a directory.
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// An entry of the directory; without metadata if it has not been needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: EntryKind,
    pub(super) metadata: Option<EntryMetadata>,
}

impl DirEntry<'_> {
    /// Returns the number of bytes that it is encoded in.
    pub(super) fn encoded_len(&self) -> usize {
        3 + if self.metadata.is_some() { 20 } else { 0 } + self.name.len()
    }
}

/// The names of one batch in the order of the directory.
#[derive(Default)]
pub(super) struct Batch {
    names: Vec<u8>,
    records: Vec<Record>,
}

/// An entry whose name is in the batch.
struct Record {
    size: u64,
    seconds: i64,
    nanoseconds: u32,
    start: u16,
    length: u16,
    kind: EntryKind,
    known: bool,
}

impl Batch {
    pub(super) fn push(&mut self, entry: DirEntry<'_>) {
        let DirEntry { name, kind, metadata } = entry;
        let (start, length) = (u16::try_from(self.names.len()), u16::try_from(name.len()));
        // A batch is one buffer of 3 KiB, so this never fails.
        let (Ok(start), Ok(length)) = (start, length) else {
            return;
        };
        self.names.extend_from_slice(name);
        let known = metadata.is_some();
        let EntryMetadata { size, seconds, nanoseconds } = metadata.unwrap_or(UNKNOWN);
        self.records.push(Record { size, seconds, nanoseconds, start, length, kind, known });
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Sorts the entries, and appends them to `out`.
    pub(super) fn encode(&mut self, by: ListingOrder, out: &mut Vec<u8>) {
        let Self { names, records } = self;
        records.sort_unstable_by(|a, b| order(by, &a.entry(names), &b.entry(names)));
        for entry in records.iter().map(|record| record.entry(names)) {
            encode(entry, out);
        }
    }
}

/// Appends an entry.
fn encode(entry: DirEntry<'_>, out: &mut Vec<u8>) {
    let DirEntry { name, kind, metadata } = entry;
    let flags = u8::from(kind == EntryKind::File) * FILE + u8::from(metadata.is_some()) * KNOWN;
    out.push(flags);
    // A batch has at most 3 KiB of names.
    out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_ne_bytes());
    if let Some(EntryMetadata { size, seconds, nanoseconds }) = metadata {
        out.extend(size.to_ne_bytes());
        out.extend(seconds.to_ne_bytes());
        out.extend(nanoseconds.to_ne_bytes());
    }
    out.extend(name);
}

/// Returns the first entry, and the bytes behind it; `None` at the end.
pub(super) fn decode(bytes: &[u8]) -> Option<(DirEntry<'_>, &[u8])> {
    let (&[flags, low, high], mut rest) = bytes.split_first_chunk()?;
    let kind = if flags & FILE != 0 { EntryKind::File } else { EntryKind::Directory };
    let mut metadata = None;
    if flags & KNOWN != 0 {
        let (size, behind) = rest.split_first_chunk()?;
        let (seconds, behind) = behind.split_first_chunk()?;
        let (nanoseconds, behind) = behind.split_first_chunk()?;
        metadata = Some(EntryMetadata {
            size: u64::from_ne_bytes(*size),
            seconds: i64::from_ne_bytes(*seconds),
            nanoseconds: u32::from_ne_bytes(*nanoseconds),
        });
        rest = behind;
    }
    let (name, rest) = rest.split_at_checked(u16::from_ne_bytes([low, high]).into())?;
    Some((DirEntry { name, kind, metadata }, rest))
}

/// The flag of a file; otherwise it is a directory.
const FILE: u8 = 1;
/// The flag of attributes that are known.
const KNOWN: u8 = 2;

impl Record {
    fn entry<'a>(&self, names: &'a [u8]) -> DirEntry<'a> {
        let start = usize::from(self.start);
        let name = &names[start..start + usize::from(self.length)];
        let Self { size, seconds, nanoseconds, .. } = *self;
        let metadata = self.known.then_some(EntryMetadata { size, seconds, nanoseconds });
        DirEntry { name, kind: self.kind, metadata }
    }
}

/// Compares two entries by the order of the listing.
pub(super) fn order(by: ListingOrder, a: &DirEntry<'_>, b: &DirEntry<'_>) -> Ordering {
    let (x, y) = (a.metadata.unwrap_or(UNKNOWN), b.metadata.unwrap_or(UNKNOWN));
    let by_key = match by.sort {
        Sort::Name => by_name(a.name, b.name),
        Sort::Size => x.size.cmp(&y.size),
        Sort::Time => (x.seconds, x.nanoseconds).cmp(&(y.seconds, y.nanoseconds)),
    };
    let by_key = if by.descending { by_key.reverse() } else { by_key };
    a.kind.cmp(&b.kind).then(by_key).then_with(|| by_name(a.name, b.name))
}

fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    let folded = a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase));
    folded.then_with(|| a.cmp(b))
}

const UNKNOWN: EntryMetadata = EntryMetadata { size: 0, seconds: 0, nanoseconds: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded_as_they_were_encoded() {
        let metadata = EntryMetadata { size: u64::MAX, seconds: -1, nanoseconds: 999_999_999 };
        let entries = [
            DirEntry { name: b"a", kind: EntryKind::Directory, metadata: None },
            DirEntry { name: &[0xff; 1000], kind: EntryKind::File, metadata: Some(metadata) },
            DirEntry { name: b"", kind: EntryKind::File, metadata: None },
            DirEntry { name: b"b", kind: EntryKind::Directory, metadata: Some(metadata) },
        ];
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| encode(*entry, &mut bytes));
        assert_eq!(bytes.len(), 4 * 3 + 2 * 20 + 1002);
        let mut rest = &bytes[..];
        for expected in entries {
            let (entry, behind) = decode(rest).unwrap();
            assert_eq!(entry, expected);
            assert_eq!(entry.encoded_len(), rest.len() - behind.len());
            rest = behind;
        }
        assert_eq!((rest, decode(rest)), (&[][..], None));
    }

    #[test]
    fn a_batch_is_encoded_in_order() {
        let mut batch = Batch::default();
        for name in [b"b", b"a", b"c"] {
            batch.push(DirEntry { name, kind: EntryKind::File, metadata: None });
        }
        let (mut bytes, by) = (Vec::new(), ListingOrder { sort: Sort::Name, descending: true });
        batch.encode(by, &mut bytes);
        let (mut names, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((entry, behind)) = decode(rest) {
            names.push(entry.name);
            rest = behind;
        }
        assert_eq!((batch.len(), names), (3, vec![&b"c"[..], b"b", b"a"]));
    }

    #[test]
    fn names_regardless_of_case_then_by_bytes() {
        let mut names: Vec<&[u8]> = vec![b"b", b"a1", b"A", b"B", b"a", b"Z", b"\xff", b"_"];
        names.sort_by(|a, b| by_name(a, b));
        let expected: Vec<&[u8]> = vec![b"_", b"A", b"a", b"a1", b"B", b"b", b"Z", b"\xff"];
        assert_eq!(names, expected);
    }

    #[test]
    fn directories_first_in_both_directions() {
        let entry = |name, kind, size| {
            let metadata = Some(EntryMetadata { size, ..UNKNOWN });
            DirEntry { name, kind, metadata }
        };
        let (a, b) = (entry(b"a", EntryKind::Directory, 0), entry(b"b", EntryKind::File, 7));
        let c = entry(b"c", EntryKind::File, 7);
        for descending in [false, true] {
            let by = ListingOrder { sort: Sort::Size, descending };
            assert_eq!(order(by, &a, &b), Ordering::Less);
            assert_eq!(order(by, &b, &c), Ordering::Less, "equal sizes go by name");
        }
    }
}
