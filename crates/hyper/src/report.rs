//! Where the report of a sent file goes.

use karez_transfer::Report;
use std::fmt;
use std::sync::Arc;

/// A function that gets the report of each file, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(&Report) + Send + Sync;

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    pub(crate) fn report(&self, report: &Report) {
        if let Some(observe) = &self.0 {
            observe(report);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({})", if self.0.is_some() { "set" } else { "none" })
    }
}
