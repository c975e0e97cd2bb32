//! Options that all clones of a service share.

use http::header::HeaderValue;
use karez_http::Coding;
use karez_transfer::Settings;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::report::Observer;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) base: PathBuf,
    /// The base is a file, of this media type if it is set.
    pub(super) file: Option<Option<HeaderValue>>,
    pub(super) index: bool,
    pub(super) codings: Vec<Coding>,
    pub(super) settings: Settings,
    pub(super) observer: Observer,
    /// Whether the base lies on a remote file system; empty until it has been asked.
    pub(super) remote: OnceLock<bool>,
}
