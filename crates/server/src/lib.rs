//! The file server: HTTP connections as tasks, and the files below one directory.

mod access;
mod account;
mod answer;
mod clock;
mod connection;
mod exchange;
mod explain;
mod iso;
mod job;
mod log;
mod plan;
mod service;
mod site;

pub use access::{AccessLog, Format};
pub use log::Log;
pub use service::{FileService, Options, Patience};
pub use site::{FileEtag, Stamps, UnequalStamp};
