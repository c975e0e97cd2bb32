//! The metrics of `karez serve`.

use karez_server::{Metrics, Monitor};
use std::io;

use crate::cli::ServeArgs;

/// Binds the addresses of metrics and of the live page; `None` if there are none. A process that `succeeds` another
/// shares them with it for a while.
///
/// # Errors
/// An address that cannot be bound.
pub(crate) fn bind(args: &ServeArgs, succeeds: bool) -> io::Result<Option<(Metrics, Monitor)>> {
    let (scrape, status) = (args.observe.metrics.as_ref(), args.observe.status.as_ref());
    if scrape.is_none() && status.is_none() {
        return Ok(None);
    }
    let metrics = Metrics::new();
    let monitor = Monitor::bind(metrics.clone(), scrape, status, succeeds)?;
    Ok(Some((metrics, monitor)))
}

/// Returns the end of the line that names the addresses.
pub(crate) fn describe(monitor: &Monitor) -> String {
    monitor.urls().iter().map(|(what, url)| format!(", {what} {url}")).collect()
}
