//! The order of use of the cache's entries: a doubly linked list over the numbers of a slab, so
//! that a hit and an eviction cost constant time and allocate nothing.

/// Numbers, the most recently used one first.
pub(super) struct Lru {
    links: Vec<Links>,
    first: u32,
    last: u32,
    len: usize,
}

#[derive(Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
    linked: bool,
}

impl Default for Lru {
    fn default() -> Self {
        Self { links: Vec::new(), first: NULL, last: NULL, len: 0 }
    }
}

impl Lru {
    /// Moves a number to the front, from its place in the list or from outside of it.
    pub(super) fn touch(&mut self, number: u32) {
        if self.first == number {
            return;
        }
        self.remove(number);
        let index = number as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, Links { before: NULL, after: NULL, linked: false });
        }
        self.links[index] = Links { before: NULL, after: self.first, linked: true };
        match self.links.get_mut(self.first as usize) {
            Some(first) => first.before = number,
            None => self.last = number,
        }
        self.first = number;
        self.len += 1;
    }

    /// Takes a number out of the list, if it is in it.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(own) = self.links.get_mut(number as usize).filter(|own| own.linked) else {
            return;
        };
        own.linked = false;
        let Links { before, after, .. } = *own;
        match self.links.get_mut(before as usize) {
            Some(neighbour) => neighbour.after = after,
            None => self.first = after,
        }
        match self.links.get_mut(after as usize) {
            Some(neighbour) => neighbour.before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }

    /// Returns the least recently used number.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.last != NULL).then_some(self.last)
    }

    /// Returns how many numbers are in the list.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// The end of the list: never a number of a slab.
const NULL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_a_plain_list() {
        let (mut lru, mut plain) = (Lru::default(), Vec::new());
        let mut random = 1_u32;
        for _ in 0..5000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (random >> 8) % 12;
            plain.retain(|&it| it != number);
            if random >> 30 == 0 {
                lru.remove(number);
            } else {
                lru.touch(number);
                plain.push(number);
            }
            assert_eq!((lru.oldest(), lru.len()), (plain.first().copied(), plain.len()));
        }
        for number in plain {
            assert_eq!(lru.oldest(), Some(number));
            lru.remove(number);
        }
        assert_eq!((lru.oldest(), lru.len()), (None, 0));
    }
}
