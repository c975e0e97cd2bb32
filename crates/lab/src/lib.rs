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
mod spread;
mod stage;
mod table;
mod tier;
mod transport;
pub mod vias;

pub use cost::{Copies, contradictions};
pub use crew::{Workers, work};
pub use error::{Error, Result};
pub use ground::{Cache, Ground};
pub use mutation::{Fate, Mutation, fate, mutations};
pub use outcome::{Outcome, Used};
pub use spread::Spread;
pub use stage::{Movement, Stage};
pub use tier::{Tier, Tiers};
pub use transport::{Taking, Transport};
