//! The laboratory.

mod cost;
mod crew;
mod error;
mod ground;
mod machine;
mod mutation;
mod network;
mod outcome;
pub mod probe;
pub mod selftest;
mod stage;
mod table;
mod tier;
mod transport;

pub use cost::{Copies, contradictions};
pub use crew::{Workers, work};
pub use error::{Error, Result};
pub use ground::{Cache, Ground};
pub use mutation::{Fate, Mutation, fate, mutations};
pub use outcome::Outcome;
pub use stage::{Movement, Stage};
pub use tier::{Tier, Tiers};
pub use transport::{Taking, Transport};
