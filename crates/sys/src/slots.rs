//! A slab of operations in flight, so that the kernel can return a number for an operation. A slot is
//! reused at once; a generation distinguishes its old key from the new one.

use crate::operation::Key;

/// The bits of a generation. The two bits above are free for keys of parts of an operation.
const GENERATIONS: u64 = (1 << 30) - 1;

/// A slab of `T`.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<(u64, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, content: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[index as usize];
        entry.1 = Some(content);
        Key(entry.0 << 32 | u64::from(index))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, content) = self.entries.get_mut(index(key))?;
        content.as_mut().filter(|_| *generation == key.0 >> 32)
    }

    #[cfg(target_env = "gnu")]
    #[cfg(all(feature = "aio", target_env = "gnu"))]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, content) = self.entries.get(index(key))?;
        content.as_ref().filter(|_| *generation == key.0 >> 32)
    }

    /// Returns the key of the current entry of a slot.
    #[cfg(target_env = "gnu")]
    #[cfg(all(feature = "aio", target_env = "gnu"))]
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key> {
        let (generation, content) = self.entries.get(slot as usize)?;
        content.as_ref().map(|_| Key(generation << 32 | u64::from(slot)))
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let (generation, content) = &mut self.entries[index(key)];
        *generation = (*generation + 1) & GENERATIONS;
        self.free.push((key.0 & u64::from(u32::MAX)) as u32);
        content.take()
    }

    /// Returns the keys of all entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let named = self.entries.iter().zip(0_u64..);
        named
            .filter(|((_, content), _)| content.is_some())
            .map(|((generation, _), index)| Key(generation << 32 | index))
    }
}

fn index(key: Key) -> usize {
    (key.0 & u64::from(u32::MAX)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_no_entry() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_ne!(first, second);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.keys().collect::<Vec<_>>(), [second]);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        assert_eq!(slots.len(), 1);
    }
}
