//! What this machine offers: each model, each via, the limits that matter, io_uring, what the
//! laboratory needs, and the file system of a directory.
//!
//! Nothing is looked up in a table of kernel versions that could be wrong here: each thing is
//! tried, by the code that would use it, and the answer is what came of it.
//!
//! ```
//! let examination = karez_doctor::examine(std::path::Path::new("."));
//! let limits = examination.sections.iter().find(|section| section.title == "limits").unwrap();
//! assert!(limits.findings.iter().any(|finding| finding.name == "open files"));
//! ```

mod filesystem;
mod finding;
mod laboratory;
mod limits;
mod models;
mod uring;
mod vias;

pub use finding::{Examination, Finding, Section, Verdict};

use std::path::Path;

/// Tries everything; what has to do with files is tried in `directory`, where a few small files
/// come and go without a name if it can be written to.
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
            laboratory::section(),
        ],
    }
}
