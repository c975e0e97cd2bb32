//! Specification of a transfer: via, size, chunk size and receive mode.

use karez_transfer::Via;
use serde_json::{Value, json};

use crate::test_file::TestFile;
use crate::transport::ReceiveMode;

/// One transfer of a file.
#[derive(Clone, Copy, Debug)]
pub struct TransferSpec {
    /// The via to request.
    pub via: Via,
    /// A different via that runs instead, to test the detection of contradictions.
    pub run_instead: Option<Via>,
    /// Number of bytes from the start of the file.
    pub bytes: u64,
    /// Maximum size of one system call; `None` for the via's default.
    pub chunk: Option<u32>,
    /// How the receiver reads.
    pub receive_mode: ReceiveMode,
}

impl TransferSpec {
    /// Specifies the whole file in chunks of `chunk` bytes, read into the receiver's memory.
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
            "kernel_tls": self.receive_mode == ReceiveMode::Decrypt,
        })
    }
}
