//! A cache of the devices whose file systems refuse `RWF_NOWAIT` (preadv2(2)): tmpfs, overlay and
//! FUSE do for all of their files.
//!
//! A server makes a new transfer for every request, and each would repeat the refused call. The
//! cache is a hint: with a wrong entry, cachestat(2) is called instead of the flag.
//!
//! # Limitations
//!
//! Only the first few such devices are cached, until the process ends: a device number that a different
//! file system gets later keeps its entry. Devices that the caller does not name
//! ([`Settings::device`](crate::Settings::device)) are not cached.

use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Device;

/// The devices from the front; 0 is a free slot.
static REFUSED: Table<16> = Table::new();

/// Returns whether files of this device are known to refuse the flag.
pub(crate) fn is_refused(device: Device) -> bool {
    REFUSED.contains(device)
}

/// Caches a device if it refuses the flag for all of its files.
pub(crate) fn remember(device: Device, errno: Errno) {
    if errno == Errno::OPNOTSUPP {
        REFUSED.insert(device);
    }
}

/// A set that only grows, and is read without a lock.
struct Table<const N: usize>([AtomicU64; N]);

impl<const N: usize> Table<N> {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    fn contains(&self, device: Device) -> bool {
        let numbers = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        numbers.take_while(|&number| number != 0).any(|number| number == device.number)
    }

    fn insert(&self, device: Device) {
        if device.number == 0 {
            return;
        }
        for slot in &self.0 {
            match slot.compare_exchange(0, device.number, Ordering::Relaxed, Ordering::Relaxed) {
                Err(there) if there != device.number => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_remembered_until_the_table_is_full() {
        let (table, device) = (Table::<2>::new(), |number| Device { number, remote: false });
        assert!(!table.contains(device(0)) && !table.contains(device(7)));
        for number in [0, 7, 7, 8, 9] {
            table.insert(device(number));
        }
        assert!(table.contains(device(7)) && table.contains(device(8)));
        assert!(!table.contains(device(0)) && !table.contains(device(9)));
    }
}
