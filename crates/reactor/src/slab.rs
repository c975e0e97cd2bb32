//! The connections of one event loop: a slab with generations, and a list of the idle ones by age.
//!
//! A slot is used again at once, like a descriptor; the generation in its token distinguishes events
//! for the old connection from those for the new. The idle ones are linked through the slots, so
//! finding the one that has been idle longest costs nothing.

use crate::selector::Token;

/// No slot.
const NONE: u32 = u32::MAX;

/// A slab of `C`.
#[derive(Debug)]
pub(crate) struct ConnectionSlab<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    oldest: u32,
    youngest: u32,
}

#[derive(Debug)]
struct Slot<C> {
    generation: u32,
    content: Option<C>,
    idle: Option<Links>,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    older: u32,
    younger: u32,
}

impl<C> ConnectionSlab<C> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), oldest: NONE, youngest: NONE }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a connection and returns its token.
    pub(crate) fn insert(&mut self, content: C) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, content: None, idle: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        let slot = &mut self.slots[index as usize];
        slot.content = Some(content);
        token(index, slot.generation)
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut C> {
        let (index, generation) = parts(token);
        let slot = self.slots.get_mut(index as usize)?;
        slot.content.as_mut().filter(|_| slot.generation == generation)
    }

    /// Returns the tokens of all connections.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let live = self.slots.iter().zip(0..).filter(|(slot, _)| slot.content.is_some());
        live.map(|(slot, index)| token(index, slot.generation)).collect()
    }

    pub(crate) fn contains(&mut self, token: Token) -> bool {
        self.get_mut(token).is_some()
    }

    /// Returns all connections.
    #[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.slots.iter_mut().filter_map(|slot| slot.content.as_mut())
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<C> {
        self.get_mut(token)?;
        self.set_busy(token);
        let (index, _) = parts(token);
        let slot = &mut self.slots[index as usize];
        // The top bit stays clear: a token with it set is not that of a connection.
        slot.generation = (slot.generation + 1) & (u32::MAX >> 1);
        self.free.push(index);
        slot.content.take()
    }

    /// Marks a connection idle from now on.
    pub(crate) fn set_idle(&mut self, token: Token) {
        self.set_busy(token);
        let (index, _) = parts(token);
        let older = std::mem::replace(&mut self.youngest, index);
        *self.younger_of(older) = index;
        self.slots[index as usize].idle = Some(Links { older, younger: NONE });
    }

    /// Marks a connection busy.
    pub(crate) fn set_busy(&mut self, token: Token) {
        let (index, _) = parts(token);
        let Some(links) = self.slots[index as usize].idle.take() else {
            return;
        };
        *self.younger_of(links.older) = links.younger;
        *self.older_of(links.younger) = links.older;
    }

    /// The connection that has been idle longest.
    pub(crate) fn oldest_idle(&self) -> Option<Token> {
        let slot = self.slots.get(self.oldest as usize)?;
        Some(token(self.oldest, slot.generation))
    }

    /// The connection that has become idle next after this idle one.
    pub(crate) fn next_idle(&self, after: Token) -> Option<Token> {
        let (index, _) = parts(after);
        let younger = self.slots.get(index as usize)?.idle?.younger;
        let slot = self.slots.get(younger as usize)?;
        Some(token(younger, slot.generation))
    }

    /// The link of the slot `index` to its younger neighbour, or the head of the list.
    fn younger_of(&mut self, index: u32) -> &mut u32 {
        match self.slots.get_mut(index as usize).and_then(|slot| slot.idle.as_mut()) {
            Some(links) => &mut links.younger,
            None => &mut self.oldest,
        }
    }

    /// The link of the slot `index` to its older neighbour, or the tail of the list.
    fn older_of(&mut self, index: u32) -> &mut u32 {
        match self.slots.get_mut(index as usize).and_then(|slot| slot.idle.as_mut()) {
            Some(links) => &mut links.older,
            None => &mut self.youngest,
        }
    }
}

fn token(index: u32, generation: u32) -> Token {
    Token(u64::from(generation) << 32 | u64::from(index))
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a token are 32 bits each")]
fn parts(token: Token) -> (u32, u32) {
    (token.0 as u32, (token.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_finds_nothing() {
        let mut connections = ConnectionSlab::new();
        let first = connections.insert('a');
        assert_eq!(connections.remove(first), Some('a'));
        let second = connections.insert('b');
        assert_ne!(first, second);
        assert_eq!(connections.get_mut(first), None);
        assert_eq!(connections.remove(first), None);
        assert_eq!(connections.get_mut(second), Some(&mut 'b'));
        assert_eq!(connections.len(), 1);
    }

    #[test]
    fn idle_connections_are_listed_by_age() {
        let mut connections = ConnectionSlab::new();
        let [a, b, c] = ['a', 'b', 'c'].map(|name| connections.insert(name));
        assert_eq!(connections.oldest_idle(), None);
        for token in [b, a, c] {
            connections.set_idle(token);
        }
        assert_eq!(connections.oldest_idle(), Some(b));
        assert_eq!([b, a, c].map(|token| connections.next_idle(token)), [Some(a), Some(c), None]);
        connections.set_idle(b); // idle anew, so the youngest
        assert_eq!(connections.oldest_idle(), Some(a));
        connections.set_busy(c); // from the middle
        assert_eq!(connections.next_idle(c), None);
        connections.remove(a);
        assert_eq!(connections.oldest_idle(), Some(b));
        connections.set_busy(b);
        assert_eq!(connections.oldest_idle(), None);
        connections.set_idle(c);
        assert_eq!(connections.oldest_idle(), Some(c));
    }
}
