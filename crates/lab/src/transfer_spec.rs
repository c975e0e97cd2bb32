//! What a sender is asked to transfer: a file, a via, a chunk size, and how it is received.

use karez_transfer::Via;
use serde_json::{Value, json};

use crate::test_file::TestFile;
use crate::transport::ReceiveMode;

/// One movement of a file.
#[derive(Clone, Copy, Debug)]
pub struct TransferSpec {
    /// The way that is asked for.
    pub via: Via,
    /// Another way that is taken behind its back: how the laboratory is tried out.
    pub run_instead: Option<Via>,
    /// How many bytes, from the beginning of the file.
    pub bytes: u64,
    /// The most that one system call is asked for; `None` for what suits the via.
    pub chunk: Option<u32>,
    /// How the receiver takes them.
    pub receive_mode: ReceiveMode,
}

impl TransferSpec {
    /// The whole file by one way, by pieces of `chunk`, into the receiver's memory.
    #[must_use]
    pub fn of(test_file: &TestFile, via: Via, chunk: Option<u32>) -> Self {
        Self {
            via,
            run_instead: None,
            bytes: test_file.bytes(),
            chunk,
            receive_mode: ReceiveMode::Read,
        }
    }

    pub(crate) fn command(&self, test_file: &TestFile) -> Value {
        json!({
            "command": "send-file", "via": self.run_instead.unwrap_or(self.via).name(), "bytes": self.bytes,
            "chunk": self.chunk, "file": test_file.path(),
        })
    }
}
