//! The report of `karez copy`, as text and as JSON.

use indicatif::HumanBytes;
use karez_copy::{Options, Summary};
use karez_transfer::Reason;
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io;
use std::time::Duration;

/// The result of a copy.
pub(crate) struct CopyReport<'a> {
    pub(crate) summary: &'a Summary,
    pub(crate) options: Options,
    pub(crate) time: Duration,
    /// The error messages.
    pub(crate) failures: Vec<String>,
    /// The signal that stopped the copy, or 0.
    pub(crate) signal: usize,
}

impl CopyReport<'_> {
    /// Returns the report as one JSON object.
    pub(crate) fn json(&self) -> Value {
        let Self { summary, options, .. } = self;
        let attribute_failures = summary.attribute_failures.iter().map(|failure| {
            json!({
                "attribute": failure.attribute,
                "errno": failure.errno.raw_os_error(),
                "error": message(failure.errno),
                "times": failure.times,
                "fails": failure.fails,
            })
        });
        let cache_fallback = summary.cache_fallback.map(|fallback| {
            json!({
                "errno": fallback.errno.raw_os_error(),
                "error": message(fallback.errno),
                "times": fallback.times,
            })
        });
        let calls: Map<_, _> =
            summary.calls.iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        json!({
            "files": summary.files,
            "directories": summary.directories,
            "symlinks": summary.symlinks,
            "hard_links": summary.hard_links,
            "special_files": summary.special_files,
            "synced": summary.synced,
            "skipped": summary.skipped,
            "failed": summary.failed,
            "bytes": summary.bytes,
            "bytes_copied": summary.bytes_copied,
            "bytes_shared": summary.bytes_shared,
            "bytes_by_reference": summary.bytes_by_reference,
            "bytes_unknown": summary.bytes_unknown,
            "bytes_holes": summary.hole_bytes,
            "seconds": self.time.as_secs_f64(),
            "requested": { "via": options.via.name(), "cache": options.cache.name() },
            "vias": self.vias(),
            "fallbacks": self.fallbacks(),
            "cache_policies": summary.cache_policies.iter().map(|cache| cache.name()).collect::<Vec<_>>(),
            "cache_fallback": cache_fallback,
            "attribute_failures": attribute_failures.collect::<Vec<_>>(),
            "calls": calls,
            "failures": self.failures,
            "signal": (self.signal != 0).then_some(self.signal),
        })
    }

    fn vias(&self) -> Vec<Value> {
        let vias = self.summary.vias.iter().map(
            |usage| json!({ "via": usage.via.name(), "extents": usage.extents, "bytes": usage.bytes }),
        );
        vias.collect()
    }

    fn fallbacks(&self) -> Vec<Value> {
        let fallbacks = self.summary.fallbacks.iter().map(|fallback| {
            json!({
                "from": fallback.via.name(),
                "errno": errno_of(fallback.reason).map(Errno::raw_os_error),
                "error": reason(fallback.reason),
                "after": fallback.after,
                "times": fallback.times,
            })
        });
        fallbacks.collect()
    }
}

impl fmt::Display for CopyReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, time, .. } = self;
        let counts = [
            (summary.files, "file", "files"),
            (summary.directories, "directory", "directories"),
            (summary.symlinks, "symbolic link", "symbolic links"),
            (summary.hard_links, "hard link", "hard links"),
            (summary.special_files, "special file", "special files"),
            (summary.skipped, "skipped", "skipped"),
            (summary.failed, "failed", "failed"),
        ];
        let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
            .collect();
        if counts.len() == 1 && summary.failed > 0 && self.signal == 0 {
            return Ok(()); // the errors are printed already
        }
        if self.signal != 0 {
            write!(f, "stopped by signal {}: ", self.signal)?;
        }
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        let size = HumanBytes(summary.bytes);
        writeln!(f, "{counts}, {size} in {:.3} s: {}", time.as_secs_f64(), self.methods())?;
        for fallback in &summary.fallbacks {
            let (times, why) = (times(fallback.times), reason(fallback.reason));
            writeln!(f, "  fell back from {}{times}: {why}", fallback.via)?;
        }
        if let Some(fallback) = &summary.cache_fallback {
            let (times, why) = (times(fallback.times), message(fallback.errno));
            writeln!(f, "  fell back from --cache uncached to drop{times}: {why}")?;
        }
        for failure in &summary.attribute_failures {
            let (times, why) = (times(failure.times), message(failure.errno));
            writeln!(f, "  could not set {}{times}: {why}", failure.attribute)?;
        }
        Ok(())
    }
}

impl CopyReport<'_> {
    /// Returns the transfer methods that ran, and the number of bytes that were copied.
    fn methods(&self) -> String {
        let Summary { vias, bytes_copied: copied, bytes_unknown: unknown, .. } = self.summary;
        let names = match &vias[..] {
            [] => return "no bytes to move".to_owned(),
            [usage] => usage.via.name().to_owned(),
            several => {
                let each = several
                    .iter()
                    .map(|usage| format!("{} ({})", usage.via.name(), HumanBytes(usage.bytes)));
                each.collect::<Vec<_>>().join(" and ")
            }
        };
        match (copied, unknown) {
            (0, 0) => format!("{names}, 0 bytes copied"),
            (copied, 0) => format!("{names}, {} copied", HumanBytes(*copied)),
            (0, _) => format!("{names}, copied or shared by the file system"),
            (copied, unknown) => format!(
                "{names}, {} copied, {} copied or shared by the file system",
                HumanBytes(*copied),
                HumanBytes(*unknown)
            ),
        }
    }
}

fn times(count: u64) -> String {
    if count == 1 { String::new() } else { format!(" {count} times") }
}

fn errno_of(reason: Reason) -> Option<Errno> {
    match reason {
        Reason::Errno(errno) => Some(errno),
        _ => None,
    }
}

/// Returns the message of the errno, or the reason that is none.
fn reason(reason: Reason) -> String {
    errno_of(reason).map_or_else(|| reason.to_string(), message)
}

fn message(errno: Errno) -> String {
    io::Error::from(errno).to_string()
}
