//! The metrics of `karez serve`.

use karez_reactor::InheritedListener;
use karez_server::{Metrics, Monitor};
use std::io;

use crate::cli::ServeArgs;

/// Binds the addresses of metrics and of the live page, or takes the sockets of another process for them out of
/// `inherited`; `None` if there are none.
///
/// # Errors
/// An address that cannot be bound.
pub(crate) fn bind(
    args: &ServeArgs,
    inherited: &mut Vec<InheritedListener>,
) -> io::Result<Option<(Metrics, Monitor)>> {
    let (scrape, status) = (args.observe.metrics.as_ref(), args.observe.status.as_ref());
    if scrape.is_none() && status.is_none() {
        return Ok(None);
    }
    let metrics = Metrics::new();
    let monitor = Monitor::bind(metrics.clone(), scrape, status, inherited)?;
    Ok(Some((metrics, monitor)))
}

/// Returns the end of the line that names the addresses.
pub(crate) fn describe(monitor: &Monitor) -> String {
    monitor.urls().iter().map(|(what, url)| format!(", {what} {url}")).collect()
}
