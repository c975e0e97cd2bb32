//! A global allocator that counts, for tests of the memory that a server uses: the system's allocator,
//! and what it has been asked for.
//!
//! # Limitations
//!
//! It counts requested bytes, without the overhead of malloc(3). All threads share the counters, except
//! those that [exclude](CountingAllocator::exclude_this_thread) themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts allocations. Use it with `#[global_allocator]`.
///
/// ```
/// use karez_lab_sys::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let before = CountingAllocator::allocations();
/// let bytes = std::hint::black_box(vec![0_u8; 100]);
/// assert!(CountingAllocator::allocations() > before);
/// assert!(CountingAllocator::live_bytes() >= 100);
/// # drop(bytes);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    // Without a destructor, so that it can be read while a thread ends.
    static EXCLUDED: Cell<bool> = const { Cell::new(false) };
}

impl CountingAllocator {
    /// Leaves the allocations of the calling thread out from now on. What it frees is left out, too.
    pub fn exclude_this_thread() {
        EXCLUDED.set(true);
    }

    /// Returns how many allocations there have been, reallocations included.
    #[must_use]
    pub fn allocations() -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are allocated. Below 0 where memory of an excluded thread was freed by
    /// another.
    #[must_use]
    pub fn live_bytes() -> i64 {
        LIVE.load(Ordering::Relaxed)
    }
}

fn count(allocations: u64, allocated: usize, freed: usize) {
    if EXCLUDED.try_with(Cell::get) == Ok(true) {
        return;
    }
    ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
    let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    LIVE.fetch_add(signed(allocated) - signed(freed), Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; the
// counters do not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`, and the pointer came from this allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
