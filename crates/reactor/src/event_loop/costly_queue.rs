//! The connections that wait to begin costly work, such as the signature of a handshake ([`Io::start_costly`]).
//!
//! Each turn has time for few of them, so they are not in the run queue, of which each turn runs all. The
//! newest and the oldest are taken alternately: a new one does not wait for a flood of those before it, and
//! no one waits for ever.
//!
//! # Limitations
//! Under a flood that never ends, half of the work is done for connections that have waited longest, whose
//! clients may have given up.
//!
//! [`Io::start_costly`]: crate::Io::start_costly

use std::collections::VecDeque;

use crate::selector::Token;

/// A queue of connections that is taken from both ends.
#[derive(Default)]
pub(crate) struct CostlyQueue {
    tokens: VecDeque<Token>,
    oldest_next: bool,
}

impl CostlyQueue {
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn push(&mut self, token: Token) {
        self.tokens.push_back(token);
    }

    /// Takes the newest connection; after it the oldest, and so on.
    pub(crate) fn pop(&mut self) -> Option<Token> {
        self.oldest_next = !self.oldest_next;
        match self.oldest_next {
            true => self.tokens.pop_back(),
            false => self.tokens.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_oldest_are_taken_alternately() {
        let mut queue = CostlyQueue::default();
        (0..4).map(Token).for_each(|token| queue.push(token));
        assert_eq!(queue.pop(), Some(Token(3)));
        assert_eq!(queue.pop(), Some(Token(0)));
        queue.push(Token(4));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [4, 1, 2].map(Token));
        assert_eq!(queue.len(), 0);
    }
}
