//! Reports which I/O features this machine supports: every model and via, the relevant limits,
//! io_uring, kernel TLS (the feature `tls`), the requirements of the laboratory, and the file system of
//! a directory.
//!
//! No table of kernel versions is consulted: each feature is tested by the code that uses it.
//!
//! ```
//! let examination = karez_doctor::examine(std::path::Path::new("."));
//! let limits = examination.sections.iter().find(|section| section.title == "limits").unwrap();
//! assert!(limits.findings.iter().any(|finding| finding.name == "open files"));
//! ```

mod confinement;
mod filesystem;
mod finding;
mod laboratory;
mod limits;
mod models;
#[cfg(feature = "tls")]
mod tls;
mod uring;
mod vias;

pub use finding::{Examination, Finding, Section, Verdict};

use std::path::Path;

/// Tests every feature. File features are tested in `directory`, with a few small unnamed files if
/// it is writable.
#[must_use]
pub fn examine(directory: &Path) -> Examination {
    let uname = rustix::system::uname();
    Examination {
        schema: 1,
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        directory: directory.to_string_lossy().into_owned(),
        sections: vec![
            models::section(),
            vias::section(directory),
            filesystem::section(directory),
            limits::section(),
            uring::section(),
            confinement::section(),
            #[cfg(feature = "tls")]
            tls::section(),
            laboratory::section(),
        ],
    }
}

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
