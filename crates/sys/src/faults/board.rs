//! The plan that is in force and its counters, in a page of memory that processes can share: mmap(2).
//!
//! A handler of a signal reads it, so it consists of atomic numbers, and no lock is taken. A plan that is armed
//! while a call is made may apply to that call in part.

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::calls::{CALLS, Count};
use super::plan::{ALWAYS, Effect, Plan, Rule};
use crate::split_mix::mix;

const WORDS: usize = 512;
const SIZE: usize = WORDS * 8;

type Words = [AtomicU64; WORDS];

// The words: whether a plan is armed, its seed, the number of its rules, all calls; then the rules, and two
// counters for each call.
const ARMED: usize = 0;
const SEED: usize = 1;
const RULES: usize = 2;
const CALLS_MADE: usize = 3;
const FIRST_RULE: usize = 4;
const WORDS_OF_RULE: usize = 3;
const MADE: usize = FIRST_RULE + WORDS_OF_RULE * Plan::MOST;
const INJECTED: usize = MADE + CALLS.len();

const _: () = assert!(INJECTED + CALLS.len() <= WORDS);

/// The board of this process.
static CURRENT: AtomicPtr<Words> = AtomicPtr::new(null_mut());

/// A plan in force, shared by a test and the process under test. It is mapped until the process ends.
#[derive(Clone, Copy)]
pub struct Board(&'static Words);

impl Board {
    /// Makes a board in a new file.
    ///
    /// # Errors
    /// As open(2), ftruncate(2) and mmap(2).
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(SIZE as u64)?;
        Self::map(&file)
    }

    /// Opens the board that another process has made.
    ///
    /// # Errors
    /// As open(2) and mmap(2); the file is not a board.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.len() != SIZE as u64 {
            return Err(io::Error::other("not a board of faults"));
        }
        Self::map(&file)
    }

    /// Makes a board for this process alone.
    pub(super) fn anonymous() -> io::Result<Self> {
        let file = File::from(memfd_create("faults", MemfdFlags::CLOEXEC)?);
        file.set_len(SIZE as u64)?;
        Self::map(&file)
    }

    fn map(file: &impl AsFd) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the mapping is a new one, and it is never unmapped.
        let mapped = unsafe { mmap(null_mut(), SIZE, access, flags, file, 0) }?;
        // SAFETY: it has the size and the alignment of the words, every value of which is valid; processes
        // access them by atomic operations only. A test that truncates its file gets a SIGBUS.
        Ok(Self(unsafe { &*mapped.cast::<Words>() }))
    }

    /// Puts a plan in force, and resets the counters.
    pub fn arm(&self, plan: &Plan) {
        self.disarm();
        self.reset();
        self.0[SEED].store(plan.seed, Ordering::Relaxed);
        let rules = plan.rules.iter().take(Plan::MOST);
        self.0[RULES].store(rules.len() as u64, Ordering::Relaxed);
        for (rule, words) in rules.zip(self.0[FIRST_RULE..].chunks(WORDS_OF_RULE)) {
            for (word, value) in words.iter().zip(encode(rule)) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.0[ARMED].store(1, Ordering::Release);
    }

    /// Ends the faults. The counters go on.
    pub fn disarm(&self) {
        self.0[ARMED].store(0, Ordering::Release);
    }

    /// Resets the counters.
    pub fn reset(&self) {
        for counter in &self.0[MADE..INJECTED + CALLS.len()] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the number of calls of the table that have ever been made.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.0[CALLS_MADE].load(Ordering::Relaxed)
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        let count = |at: usize| self.0[at].load(Ordering::Relaxed);
        let counts = CALLS.iter().enumerate().map(|(at, call)| Count {
            call: call.name,
            made: count(MADE + at),
            injected: count(INJECTED + at),
        });
        counts.collect()
    }

    /// Counts a call, and returns what the plan does to it with a number for what is left to chance.
    pub(super) fn decide(&self, call: usize) -> Option<(Effect, u64)> {
        self.0[CALLS_MADE].fetch_add(1, Ordering::Relaxed);
        let time = self.0.get(MADE + call)?.fetch_add(1, Ordering::Relaxed) + 1;
        if self.0[ARMED].load(Ordering::Acquire) == 0 {
            return None;
        }
        let count = usize::try_from(self.0[RULES].load(Ordering::Relaxed)).ok()?;
        let seed = self.0[SEED].load(Ordering::Relaxed);
        let words = self.0[FIRST_RULE..].chunks(WORDS_OF_RULE).take(count.min(Plan::MOST));
        for (number, words) in (0_u64..).zip(words) {
            let rule = decode(words)?;
            let drawn = mix(mix(seed, number), time);
            let applies =
                usize::from(rule.call) == call && (rule.first..=rule.last).contains(&time);
            if applies && drawn % u64::from(ALWAYS) < u64::from(rule.chance) {
                self.0.get(INJECTED + call)?.fetch_add(1, Ordering::Relaxed);
                return Some((rule.effect, drawn >> 20));
            }
        }
        None
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("calls_made", &self.calls_made()).finish_non_exhaustive()
    }
}

/// Makes a board the one of this process.
pub(super) fn set_current(board: Board) {
    CURRENT.store((&raw const *board.0).cast_mut(), Ordering::Release);
}

/// Returns the board of this process.
pub(super) fn current() -> Option<Board> {
    // SAFETY: it is null or was a reference that is valid until the process ends.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }.map(Board)
}

fn encode(rule: &Rule) -> [u64; WORDS_OF_RULE] {
    let (kind, value) = match rule.effect {
        Effect::Errno(number) => (0_u64, number),
        Effect::Short => (1, 0),
        Effect::Delay(milliseconds) => (2, milliseconds),
    };
    let word = u64::from(rule.call) | kind << 8 | u64::from(value) << 16;
    [word | u64::from(rule.chance) << 32, rule.first, rule.last]
}

fn decode(words: &[AtomicU64]) -> Option<Rule> {
    let word = |at: usize| words.get(at).map(|word| word.load(Ordering::Relaxed));
    let (first_word, first, last) = (word(0)?, word(1)?, word(2)?);
    let [call, kind, low, high, ..] = first_word.to_le_bytes();
    let value = u16::from_le_bytes([low, high]);
    let effect = match kind {
        0 => Effect::Errno(value),
        1 => Effect::Short,
        2 => Effect::Delay(value),
        _ => return None,
    };
    let chance = u32::try_from(first_word >> 32).ok()?;
    Some(Rule { call, first, last, chance, effect })
}

#[cfg(test)]
mod tests {
    use super::super::calls::position;
    use super::*;

    #[test]
    fn a_rule_applies_to_its_times_and_counts() {
        let board = Board::anonymous().unwrap();
        let (sendfile, read) = (position("sendfile").unwrap(), position("read").unwrap());
        board.arm(&"sendfile:2-3=EIO".parse().unwrap());
        let effects = [(); 4].map(|()| board.decide(sendfile).map(|(effect, _)| effect));
        let eio = Some(Effect::Errno(libc::EIO as u16));
        assert_eq!(effects, [None, eio, eio, None]);
        assert_eq!(board.decide(read), None);
        let counts = board.counts();
        assert_eq!((counts[sendfile].made, counts[sendfile].injected), (4, 2));
        board.disarm();
        assert_eq!(board.decide(sendfile), None);
        assert_eq!(board.calls_made(), 6);
    }

    #[test]
    fn chance_follows_the_seed() {
        let board = Board::anonymous().unwrap();
        let run = |seed: u64| {
            board.arm(&format!("seed={seed},accept4:*=EMFILE/10%").parse().unwrap());
            let accept = position("accept4").unwrap();
            (0..1000).map(|_| board.decide(accept).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let hits = run(3).into_iter().filter(|&hit| hit).count();
        assert!((50..200).contains(&hits), "{hits} of 1000");
    }
}
