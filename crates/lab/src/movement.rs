//! What a sender is asked to transfer: a file, a via, a chunk size, and how it is received.

use karez_transfer::Via;
use serde_json::{Value, json};

use crate::ground::Ground;
use crate::transport::Taking;

/// One movement of a file.
#[derive(Clone, Copy, Debug)]
pub struct Movement {
    /// The way that is asked for.
    pub via: Via,
    /// Another way that is taken behind its back: how the laboratory is tried out.
    pub posing: Option<Via>,
    /// How many bytes, from the beginning of the file.
    pub bytes: u64,
    /// The most that one system call is asked for; `None` for what suits the via.
    pub chunk: Option<u32>,
    /// How the receiver takes them.
    pub taking: Taking,
}

impl Movement {
    /// The whole file by one way, by pieces of `chunk`, into the receiver's memory.
    #[must_use]
    pub fn of(ground: &Ground, via: Via, chunk: Option<u32>) -> Self {
        Self { via, posing: None, bytes: ground.bytes(), chunk, taking: Taking::Read }
    }

    pub(crate) fn order(&self, ground: &Ground) -> Value {
        json!({
            "do": "push", "via": self.posing.unwrap_or(self.via).name(), "bytes": self.bytes,
            "chunk": self.chunk, "file": ground.path(),
        })
    }
}
