//! Draws from the schedule of this thread.

use karez_sys::simulation::below;

/// Draws one of several.
pub(crate) fn one_of<T: Copy>(all: &[T]) -> T {
    all[below(all.len())]
}

/// Draws a length up to `most`: as often a short one as a long one.
pub(crate) fn length(most: usize) -> usize {
    let most = most.max(1);
    match below(4) {
        0 => 1 + below(most.min(8)),
        1 => 1 + below(most.min(300)),
        2 => 1 + below(most),
        _ => most,
    }
}
