//! Reports attributes that could not be set: in the summary, and to the observer where cp(1) would
//! exit with 1.
//!
//! The table of errnos is in [`attributes`](crate::attributes).

use rustix::io::Errno;
use rustix::process::geteuid;

use crate::context::Context;
use crate::error::Error;
use crate::summary::{AttributeFailure, Summary};

/// Collects the attributes of one file that could not be set.
pub(crate) struct AttributeFailures<'a> {
    context: &'a Context<'a>,
    summary: &'a mut Summary,
}

impl<'a> AttributeFailures<'a> {
    pub(crate) fn new(context: &'a Context<'a>, summary: &'a mut Summary) -> Self {
        Self { context, summary }
    }

    /// Adds a failure for which cp(1) exits with 1. The error has the call and its object.
    pub(crate) fn add(&mut self, attribute: &str, error: Error, errno: Errno) {
        let source = Box::new(error);
        let error = Error::Attribute { attribute: attribute.to_owned(), source };
        self.context.observer.attribute_failed(&error);
        self.count(attribute, errno, true);
    }

    /// Adds a failure that cp(1) does not report.
    pub(crate) fn add_silent(&mut self, attribute: &str, errno: Errno) {
        self.count(attribute, errno, false);
    }

    /// Adds a refused owner, which only a privileged process can set.
    pub(crate) fn add_owner(&mut self, error: Error, errno: Errno) {
        if matches!(errno, Errno::PERM | Errno::INVAL) && !geteuid().is_root() {
            self.add_silent("owner", errno);
        } else {
            self.add("owner", error, errno);
        }
    }

    fn count(&mut self, attribute: &str, errno: Errno, fails: bool) {
        let attribute = attribute.to_owned();
        let failure = AttributeFailure { attribute, errno, times: 1, fails };
        self.summary.add_attribute_failure(failure);
    }
}
