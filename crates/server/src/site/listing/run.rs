//! The names of one batch, sorted, in as little memory as will do: a record of 32 bytes each, the
//! names themselves end to end. A run orders like its first entry, so that a heap of runs merges.
//!
//! Directories come before files whatever the sort and its direction, and equals go by name.
//!
//! What it does badly: "by name" is by ASCII letters regardless of case, then by bytes; no
//! language is known, so `é` comes after `z` and `file10` before `file9`.

use std::cmp::Ordering;

use super::view::{Sort, View};

/// What an entry is. Directories come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Directory,
    File,
}

/// What statx said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// 0 for a directory.
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// An entry of the directory; without facts if none were needed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    pub(super) facts: Option<Facts>,
}

/// The names of one batch as they come.
#[derive(Default)]
pub(super) struct Batch {
    names: Vec<u8>,
    records: Vec<Record>,
}

/// The names of one batch in order; never empty.
pub(super) struct Run {
    view: View,
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
    kind: Kind,
    known: bool,
}

impl Batch {
    pub(super) fn push(&mut self, entry: Entry<'_>) {
        let Entry { name, kind, facts } = entry;
        let (start, length) = (u16::try_from(self.names.len()), u16::try_from(name.len()));
        // A batch is one buffer of 3 KiB, so this never fails.
        let (Ok(start), Ok(length)) = (start, length) else {
            return;
        };
        self.names.extend_from_slice(name);
        let known = facts.is_some();
        let Facts { size, seconds, nanoseconds } = facts.unwrap_or(UNKNOWN);
        self.records.push(Record { size, seconds, nanoseconds, start, length, kind, known });
    }

    /// The run, if there is anything in it.
    pub(super) fn sorted(self, view: View) -> Option<Run> {
        let Self { names, mut records } = self;
        records.sort_unstable_by(|a, b| order(view, &a.entry(&names), &b.entry(&names)));
        let (names, records) = (names.into_boxed_slice(), records.into_boxed_slice());
        (!records.is_empty()).then_some(Run { view, names, records, next: 0 })
    }
}

impl Run {
    pub(super) fn first(&self) -> Entry<'_> {
        self.records[self.next].entry(&self.names)
    }

    /// Leaves the first entry behind. Returns false, and keeps it, if it is the last.
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

/// Of two runs the one whose first entry comes first is the greater: the heap gives the greatest.
impl Ord for Run {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.view, &other.first(), &self.first())
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Run {}

impl Record {
    fn entry<'a>(&self, names: &'a [u8]) -> Entry<'a> {
        let start = usize::from(self.start);
        let name = &names[start..start + usize::from(self.length)];
        let Self { size, seconds, nanoseconds, .. } = *self;
        let facts = self.known.then_some(Facts { size, seconds, nanoseconds });
        Entry { name, kind: self.kind, facts }
    }
}

/// The order in which two entries are listed.
pub(super) fn order(view: View, a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let (x, y) = (a.facts.unwrap_or(UNKNOWN), b.facts.unwrap_or(UNKNOWN));
    let by_key = match view.sort {
        Sort::Name => by_name(a.name, b.name),
        Sort::Size => x.size.cmp(&y.size),
        Sort::Time => (x.seconds, x.nanoseconds).cmp(&(y.seconds, y.nanoseconds)),
    };
    let by_key = if view.descending { by_key.reverse() } else { by_key };
    a.kind.cmp(&b.kind).then(by_key).then_with(|| by_name(a.name, b.name))
}

fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    let folded = a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase));
    folded.then_with(|| a.cmp(b))
}

const UNKNOWN: Facts = Facts { size: 0, seconds: 0, nanoseconds: 0 };

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
            let facts = Some(Facts { size, ..UNKNOWN });
            Entry { name, kind, facts }
        };
        let (a, b) = (entry(b"a", Kind::Directory, 0), entry(b"b", Kind::File, 7));
        let c = entry(b"c", Kind::File, 7);
        for descending in [false, true] {
            let view = View { sort: Sort::Size, descending, ..View::default() };
            assert_eq!(order(view, &a, &b), Ordering::Less);
            assert_eq!(order(view, &b, &c), Ordering::Less, "equal sizes go by name");
        }
    }
}
