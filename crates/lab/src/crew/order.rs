//! What stands in an order.

use serde_json::Value;

use crate::error::{Error, Result};

pub(super) fn text<'a>(order: &'a Value, name: &'static str) -> Result<&'a str> {
    order[name].as_str().ok_or_else(|| Error::new("read", name, "the order has no such word"))
}

pub(super) fn number(order: &Value, name: &'static str) -> Result<u64> {
    order[name].as_u64().ok_or_else(|| Error::new("read", name, "the order has no such number"))
}

/// A number that counts memory.
pub(super) fn size(order: &Value, name: &'static str) -> Result<usize> {
    let too_large = |_| Error::new("read", name, "it is too large");
    number(order, name).and_then(|size| usize::try_from(size).map_err(too_large))
}
