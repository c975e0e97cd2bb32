//! The sorted names of one batch, in little memory: a record of 32 bytes for each, and the names end to
//! end. A run is ordered by its first entry, so that a heap of runs merges them.
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

/// The names of one batch in the order of the directory.
#[derive(Default)]
pub(super) struct Batch {
    names: Vec<u8>,
    records: Vec<Record>,
}

/// The names of one batch in order; never empty.
pub(super) struct SortedRun {
    order: ListingOrder,
    names: Box<[u8]>,
    records: Box<[Record]>,
    next: usize,
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

    /// Returns the run, unless the batch is empty.
    pub(super) fn sorted(self, by: ListingOrder) -> Option<SortedRun> {
        let Self { names, mut records } = self;
        records.sort_unstable_by(|a, b| order(by, &a.entry(&names), &b.entry(&names)));
        let (names, records) = (names.into_boxed_slice(), records.into_boxed_slice());
        (!records.is_empty()).then_some(SortedRun { order: by, names, records, next: 0 })
    }
}

impl SortedRun {
    pub(super) fn first(&self) -> DirEntry<'_> {
        self.records[self.next].entry(&self.names)
    }

    /// Removes the first entry. Returns false, and keeps it, if it is the last.
    pub(super) fn advance(&mut self) -> bool {
        let more = self.next + 1 < self.records.len();
        self.next += usize::from(more);
        more
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

/// The run whose first entry comes first is the greatest, because the heap returns the greatest.
impl Ord for SortedRun {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.order, &other.first(), &self.first())
    }
}

impl PartialOrd for SortedRun {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortedRun {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortedRun {}

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
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 32);
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
