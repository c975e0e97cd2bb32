//! The entries of a directory in sorted runs, one for each batch, and a binary heap of the runs that returns one
//! entry after the other (a merge of many runs). The runs are in mappings of their own, whose size is reserved from
//! the memory of all listings before they are made.
//!
//! # Limitations
//!
//! An entry is decoded for each comparison. The memory of the first entries is free when the last one has been
//! returned.

use std::cmp::Ordering;

use karez_sys::AnonymousBuffer;

use super::memory::{MemoryRefusal, Reservation};
use super::run::{Batch, DirEntry, decode, order};
use super::view::ListingOrder;

/// Reserved for a listing besides its entries: a piece of the page, and the listing itself.
const BASE: u64 = 32 << 10;

/// The sizes of the first buffer and of the largest. A run, from one batch of at most 3 KiB of names, fits into the first.
const FIRST: usize = 16 << 10;
const LARGEST: usize = 256 << 10;

/// The sorted runs of a directory.
pub(super) struct Merge {
    order: ListingOrder,
    buffers: Vec<AnonymousBuffer>,
    /// A binary heap: the run whose first entry comes first is the first.
    heap: Vec<Run>,
    reserved: Reservation,
}

/// The rest of a run; never empty.
#[derive(Clone, Copy)]
struct Run {
    /// The index of its buffer.
    buffer: u32,
    /// The offset of its first entry.
    offset: u32,
    entries: u32,
}

impl Merge {
    pub(super) fn new(order: ListingOrder, reserved: Reservation) -> Self {
        Self { order, buffers: Vec::new(), heap: Vec::new(), reserved }
    }

    /// Adds a batch as a run. A refusal frees all memory.
    pub(super) fn push(&mut self, batch: &mut Batch) -> Result<(), MemoryRefusal> {
        self.try_push(batch).inspect_err(|_| self.clear())
    }

    fn try_push(&mut self, batch: &mut Batch) -> Result<(), MemoryRefusal> {
        if self.reserved.is_empty() {
            self.reserved.grow(BASE)?;
        }
        if batch.len() == 0 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        batch.encode(self.order, &mut bytes);
        let run = self.store(&bytes, batch.len())?;
        self.heap.push(run);
        self.sift_up(self.heap.len() - 1);
        Ok(())
    }

    /// Returns the entry that comes first.
    pub(super) fn first(&self) -> Option<DirEntry<'_>> {
        self.entry(*self.heap.first()?)
    }

    /// Removes the entry that comes first.
    pub(super) fn advance(&mut self) {
        let Some(&run) = self.heap.first() else { return };
        let next = self.entry(run).filter(|_| run.entries > 1).map(|first| run.behind(first));
        match next {
            Some(next) => self.heap[0] = next,
            None => {
                self.heap.swap_remove(0);
            }
        }
        self.sift_down(0);
    }

    /// Frees all memory, which the listing needs no more.
    pub(super) fn clear(&mut self) {
        self.heap = Vec::new();
        self.buffers = Vec::new();
        self.reserved.release();
    }

    /// Stores the entries of a run, in the last buffer or a new one.
    fn store(&mut self, bytes: &[u8], entries: usize) -> Result<Run, MemoryRefusal> {
        let in_use = |_| MemoryRefusal::InUse;
        let has_room = |buffer: &AnonymousBuffer| buffer.capacity() - buffer.len() >= bytes.len();
        if !self.buffers.last().is_some_and(has_room) {
            let total: usize = self.buffers.iter().map(AnonymousBuffer::capacity).sum();
            let capacity = total.clamp(FIRST, LARGEST).max(bytes.len());
            self.reserved.grow(capacity as u64)?;
            // The kernel has no memory either.
            self.buffers.push(AnonymousBuffer::with_capacity(capacity).map_err(in_use)?);
        }
        let index = self.buffers.len() - 1;
        let buffer = &mut self.buffers[index];
        let offset = buffer.len();
        if !buffer.append(bytes) {
            return Err(MemoryRefusal::InUse);
        }
        let number = |number: usize| u32::try_from(number).map_err(|_| MemoryRefusal::TooLarge);
        Ok(Run { buffer: number(index)?, offset: number(offset)?, entries: number(entries)? })
    }

    fn entry(&self, run: Run) -> Option<DirEntry<'_>> {
        let bytes = self.buffers.get(run.buffer as usize)?.get(run.offset as usize..)?;
        decode(bytes).map(|(entry, _)| entry)
    }

    /// Returns whether one run comes before another.
    fn precedes(&self, one: usize, other: usize) -> bool {
        match (self.entry(self.heap[one]), self.entry(self.heap[other])) {
            (Some(one), Some(other)) => order(self.order, &one, &other) == Ordering::Less,
            _ => false,
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.precedes(at, parent) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter();
            let mut first = at;
            for child in children.filter(|&child| child < self.heap.len()) {
                if self.precedes(child, first) {
                    first = child;
                }
            }
            if first == at {
                break;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.heap.len()
    }

    #[cfg(test)]
    pub(super) fn longest(&self) -> u32 {
        self.heap.iter().map(|run| run.entries).max().unwrap_or(0)
    }
}

impl Run {
    /// Returns the run behind its first entry.
    fn behind(self, first: DirEntry<'_>) -> Self {
        let length = u32::try_from(first.encoded_len()).unwrap_or(u32::MAX);
        Self { offset: self.offset.saturating_add(length), entries: self.entries - 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::listing::memory::ListingMemory;
    use crate::site::listing::run::EntryKind;

    fn batch(names: &[String]) -> Batch {
        let mut batch = Batch::default();
        for name in names {
            batch.push(DirEntry { name: name.as_bytes(), kind: EntryKind::File, metadata: None });
        }
        batch
    }

    #[test]
    fn entries_of_many_runs_come_in_order() {
        let mut merge = Merge::new(ListingOrder::default(), ListingMemory::default().begin());
        // 7919 is a prime, so these are all numbers in no order.
        let mut names: Vec<_> = (0..7919).map(|n| format!("{:08}", n * 1009 % 7919)).collect();
        for part in names.chunks(37) {
            merge.push(&mut batch(part)).unwrap();
        }
        assert_eq!((merge.runs(), merge.longest()), (7919_usize.div_ceil(37), 37));
        names.sort();
        for name in names {
            assert_eq!(merge.first().unwrap().name, name.as_bytes());
            merge.advance();
        }
        assert_eq!(merge.first(), None);
        merge.advance();
    }

    #[test]
    fn memory_is_reserved_before_it_is_used_and_given_back() {
        let limit = BASE + 3 * FIRST as u64;
        let memory = ListingMemory::default().with_limit(limit);
        let mut merge = Merge::new(ListingOrder::default(), memory.begin());
        assert_eq!(memory.used(), 0);
        merge.push(&mut batch(&[])).unwrap();
        assert_eq!(memory.used(), BASE, "an empty directory");
        let names: Vec<_> = (0..10).map(|number| format!("{number:0>250}")).collect();
        let mut runs = 0;
        let refused = loop {
            if let Err(refusal) = merge.push(&mut batch(&names)) {
                break refusal;
            }
            runs += 1;
            assert!(memory.used() <= limit);
        };
        // 253 bytes of memory for each entry, and less than a run is left of each of two buffers.
        assert!(runs * 2530 > 2 * (FIRST - 2530), "{runs}");
        assert_eq!((refused, memory.used()), (MemoryRefusal::TooLarge, 0));
        assert_eq!(merge.first(), None);
        let mut other = Merge::new(ListingOrder::default(), memory.begin());
        other.push(&mut batch(&names)).unwrap();
        let limit = memory.used() + BASE;
        let memory = memory.with_limit(limit);
        let mut third = Merge::new(ListingOrder::default(), memory.begin());
        assert_eq!(third.push(&mut batch(&names)), Err(MemoryRefusal::InUse));
        third.clear();
        drop(other);
        assert_eq!(memory.used(), 0);
    }
}
