//! Access to the fields of a command.

use serde_json::Value;

use crate::error::{Error, Result};

pub(super) fn text<'a>(command: &'a Value, name: &'static str) -> Result<&'a str> {
    command[name].as_str().ok_or_else(|| Error::new("read", name, "the command lacks a word"))
}

pub(super) fn number(command: &Value, name: &'static str) -> Result<u64> {
    command[name].as_u64().ok_or_else(|| Error::new("read", name, "the command lacks a number"))
}

/// Returns a number that fits in memory.
pub(super) fn size(command: &Value, name: &'static str) -> Result<usize> {
    let too_large = |_| Error::new("read", name, "the number is too large");
    number(command, name).and_then(|size| usize::try_from(size).map_err(too_large))
}
