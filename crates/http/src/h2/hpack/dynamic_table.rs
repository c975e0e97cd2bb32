//! The dynamic table of a decoder (RFC 7541 §2.3.2, §4).
//!
//! Names and values lie behind each other in one buffer, the oldest first, so a table of many small
//! fields is two allocations, and an empty one is none.

use std::collections::VecDeque;

/// The fields that were indexed, as far as they fit.
#[derive(Debug)]
pub(super) struct DynamicTable {
    bytes: Vec<u8>,
    /// Bytes before this belong to evicted fields.
    start: usize,
    /// The newest is at the back.
    entries: VecDeque<Entry>,
    /// Octets by the count of RFC 7541 §4.1.
    size: usize,
    max_size: usize,
}

/// Where a field lies in the bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
}

/// The overhead of a field in octets (RFC 7541 §4.1).
pub(super) const OVERHEAD: usize = 32;

impl DynamicTable {
    pub(super) const fn new(max_size: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, entries: VecDeque::new(), size: 0, max_size }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns a field; 0 is the newest.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let place = self.entries.len().checked_sub(index.checked_add(1)?)?;
        let entry = self.entries.get(place)?;
        self.bytes.get(entry.range())?.split_at_checked(entry.name as usize)
    }

    /// Sets the largest size in octets, and evicts fields that do not fit.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(0);
    }

    /// Inserts a field as the newest. If it does not fit into the whole table, the table is empty then.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len();
        let size = length + OVERHEAD;
        self.evict(size);
        if size > self.max_size {
            return;
        }
        if self.start > 0 && self.bytes.len() + length > self.bytes.capacity() {
            self.compact();
        }
        // Nothing in the table is longer than its maximum, so nothing is cut off here.
        let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let entry = Entry {
            start: short(self.bytes.len()),
            name: short(name.len()),
            value: short(value.len()),
        };
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(entry);
        self.size += size;
    }

    /// Evicts the oldest fields until `more` octets fit, or all of them.
    fn evict(&mut self, more: usize) {
        while self.size + more > self.max_size {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.start = entry.range().end;
            self.size -= entry.range().len() + OVERHEAD;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        for entry in &mut self.entries {
            entry.start -= u32::try_from(self.start).unwrap_or(0);
        }
        self.start = 0;
    }
}

impl Entry {
    fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.name as usize + self.value as usize
    }
}

#[cfg(test)]
mod tests {
    use super::DynamicTable;
    use std::collections::VecDeque;

    #[test]
    fn the_oldest_fields_are_evicted() {
        let mut table = DynamicTable::new(100);
        table.insert(b"a", b"1");
        table.insert(b"b", b"2");
        assert_eq!((table.len(), table.size), (2, 68));
        assert_eq!(table.get(0), Some((&b"b"[..], &b"2"[..])));
        table.insert(b"c", b"3");
        assert_eq!(table.len(), 2);
        assert_eq!(table.get(1), Some((&b"b"[..], &b"2"[..])));
        assert_eq!((table.get(2), table.get(usize::MAX)), (None, None));
        table.set_max_size(40);
        assert_eq!(table.get(0), Some((&b"c"[..], &b"3"[..])));
        table.insert(b"too", b"large for the table");
        assert_eq!((table.len(), table.size), (0, 0));
        table.set_max_size(0);
        table.insert(b"", b"");
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn many_insertions_stay_in_a_bounded_buffer() {
        let mut table = DynamicTable::new(4096);
        let mut model = VecDeque::new();
        for n in 0..10_000_usize {
            let (name, value) = (format!("name-{}", n % 7), "v".repeat(n * 31 % 200));
            table.insert(name.as_bytes(), value.as_bytes());
            model.push_front((name, value));
            model.truncate(table.len());
            for (index, (name, value)) in model.iter().enumerate() {
                assert_eq!(table.get(index), Some((name.as_bytes(), value.as_bytes())));
            }
            assert!(table.size <= 4096);
        }
        assert!(table.bytes.capacity() <= 8192, "{}", table.bytes.capacity());
    }
}
