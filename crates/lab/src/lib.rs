//! The laboratory.

mod error;
pub mod probe;

pub use error::{Error, Result};
