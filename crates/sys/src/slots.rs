//! Operations in flight: a slab, so that an operation is named by a number that fits beside it
//! into the kernel. A place is used again at once; a generation tells its old name from the new.

use crate::operation::Key;

/// Bits of a generation. The two above are free for whoever names parts of an operation.
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
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, content) = self.entries.get(index(key))?;
        content.as_ref().filter(|_| *generation == key.0 >> 32)
    }

    /// Whoever is in this place now.
    #[cfg(target_env = "gnu")]
    pub(crate) fn key_at(&self, place: u32) -> Option<Key> {
        let (generation, content) = self.entries.get(place as usize)?;
        content.as_ref().map(|_| Key(generation << 32 | u64::from(place)))
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let (generation, content) = &mut self.entries[index(key)];
        *generation = (*generation + 1) & GENERATIONS;
        self.free.push((key.0 & u64::from(u32::MAX)) as u32);
        content.take()
    }

    /// The names of all.
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
    fn an_old_name_finds_nothing() {
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
