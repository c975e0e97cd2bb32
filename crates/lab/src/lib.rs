//! The laboratory.

mod crew;
mod error;
mod ground;
mod mutation;
mod network;
mod outcome;
pub mod probe;
mod stage;
mod transport;

pub use crew::{Workers, work};
pub use error::{Error, Result};
pub use ground::{Cache, Ground};
pub use mutation::{Fate, Mutation, fate, mutations};
pub use outcome::Outcome;
pub use stage::{Movement, Stage};
pub use transport::{Taking, Transport};
