//! A slab: values in a vector under small numbers that are reused, so that tables refer to each
//! other by number without reference counts.

/// Values by their numbers.
pub(super) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value and returns its number, or the value if all numbers are in use.
    pub(super) fn insert(&mut self, value: T) -> Result<u32, T> {
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = Some(value);
            return Ok(number);
        }
        match u32::try_from(self.slots.len()) {
            // The last number is the null link of the LRU list.
            Ok(number) if number < u32::MAX => {
                self.slots.push(Some(value));
                Ok(number)
            }
            _ => Err(value),
        }
    }

    /// Removes the value under a number, which is free from then on.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }

    /// Returns the value under a number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// Returns the value under a number, to be changed.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// Returns the bound of all numbers that were ever in use.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_reused_after_its_removal_only() {
        let mut slab = Slab::default();
        let numbers: Vec<_> = "abc".chars().map(|letter| slab.insert(letter).unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(slab.remove(1), Some('b'));
        assert_eq!((slab.remove(1), slab.get(1)), (None, None), "removed once");
        assert_eq!(slab.insert('d'), Ok(1));
        assert_eq!((slab.insert('e'), slab.bound()), (Ok(3), 4));
        assert_eq!(slab.get_mut(1).copied(), Some('d'));
        assert_eq!((slab.get(0), slab.get(4)), (Some(&'a'), None));
    }
}
