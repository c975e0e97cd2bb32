//! The report of `karez copy`: a few lines for a person, an object for a program.

use indicatif::HumanBytes;
use karez_copy::{Account, Options};
use karez_transfer::Reason;
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io;
use std::time::Duration;

/// What was copied, how, and how long it took.
pub(crate) struct Copied<'a> {
    pub(crate) account: &'a Account,
    pub(crate) options: Options,
    pub(crate) time: Duration,
    /// What was told of each failure.
    pub(crate) failures: Vec<String>,
    /// The signal that ended it, or 0.
    pub(crate) signal: usize,
}

impl Copied<'_> {
    /// One object.
    pub(crate) fn json(&self) -> Value {
        let Self { account, options, .. } = self;
        let unkept = account.unkept.iter().map(|unkept| {
            json!({
                "what": unkept.what,
                "errno": unkept.errno.raw_os_error(),
                "error": words(unkept.errno),
                "times": unkept.times,
                "fails": unkept.fails,
            })
        });
        let cache_refused = account.cache_refused.map(|refused| {
            json!({
                "errno": refused.errno.raw_os_error(),
                "error": words(refused.errno),
                "times": refused.times,
            })
        });
        let calls: Map<_, _> =
            account.calls.iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        json!({
            "files": account.files,
            "directories": account.directories,
            "symlinks": account.symlinks,
            "hard_links": account.hard_links,
            "specials": account.specials,
            "synced": account.synced,
            "skipped": account.skipped,
            "failed": account.failed,
            "bytes": account.bytes,
            "bytes_copied": account.copied,
            "bytes_shared": account.shared,
            "bytes_passed": account.passed,
            "bytes_untold": account.untold,
            "bytes_holes": account.holes,
            "seconds": self.time.as_secs_f64(),
            "asked": { "via": options.via.name(), "cache": options.cache.name() },
            "vias": self.vias(),
            "fallbacks": self.fallbacks(),
            "caches": account.caches.iter().map(|cache| cache.name()).collect::<Vec<_>>(),
            "cache_refused": cache_refused,
            "unkept": unkept.collect::<Vec<_>>(),
            "calls": calls,
            "failures": self.failures,
            "signal": (self.signal != 0).then_some(self.signal),
        })
    }

    fn vias(&self) -> Vec<Value> {
        let vias = self.account.vias.iter().map(
            |went| json!({ "via": went.via.name(), "extents": went.extents, "bytes": went.bytes }),
        );
        vias.collect()
    }

    fn fallbacks(&self) -> Vec<Value> {
        let fallbacks = self.account.fallbacks.iter().map(|refused| {
            json!({
                "from": refused.via.name(),
                "errno": errno_of(refused.reason).map(Errno::raw_os_error),
                "error": told(refused.reason),
                "after": refused.after,
                "times": refused.times,
            })
        });
        fallbacks.collect()
    }
}

impl fmt::Display for Copied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, time, .. } = self;
        let counts = [
            (account.files, "file", "files"),
            (account.directories, "directory", "directories"),
            (account.symlinks, "symbolic link", "symbolic links"),
            (account.hard_links, "hard link", "hard links"),
            (account.specials, "special file", "special files"),
            (account.skipped, "there already", "there already"),
            (account.failed, "failed", "failed"),
        ];
        let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
            .collect();
        if counts.len() == 1 && account.failed > 0 && self.signal == 0 {
            return Ok(()); // which has been told
        }
        if self.signal != 0 {
            write!(f, "stopped by signal {}: ", self.signal)?;
        }
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        let size = HumanBytes(account.bytes);
        writeln!(f, "{counts}, {size} in {:.3} s: {}", time.as_secs_f64(), self.ways())?;
        for refused in &account.fallbacks {
            let (times, why) = (times(refused.times), told(refused.reason));
            writeln!(f, "  {} was refused{times}: {why}", refused.via)?;
        }
        if let Some(refused) = &account.cache_refused {
            let (times, why) = (times(refused.times), words(refused.errno));
            writeln!(f, "  uncached was refused{times}, so pages were dropped behind: {why}")?;
        }
        for unkept in &account.unkept {
            let (times, why) = (times(unkept.times), words(unkept.errno));
            writeln!(f, "  {} was not kept{times}: {why}", unkept.what)?;
        }
        Ok(())
    }
}

impl Copied<'_> {
    /// Which vias ran, and who copied.
    fn ways(&self) -> String {
        let Account { vias, copied, untold, .. } = self.account;
        let names = match &vias[..] {
            [] => return "no bytes to move".to_owned(),
            [went] => went.via.name().to_owned(),
            several => {
                let each = several
                    .iter()
                    .map(|went| format!("{} ({})", went.via.name(), HumanBytes(went.bytes)));
                each.collect::<Vec<_>>().join(" and ")
            }
        };
        match (copied, untold) {
            (0, 0) => format!("{names}, 0 bytes copied"),
            (copied, 0) => format!("{names}, {} copied", HumanBytes(*copied)),
            (0, _) => format!("{names}, copied or shared as the file system saw fit"),
            (copied, _) => format!("{names}, {} copied for certain", HumanBytes(*copied)),
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

/// The kernel's words for its error, or why there was none.
fn told(reason: Reason) -> String {
    errno_of(reason).map_or_else(|| reason.to_string(), words)
}

fn words(errno: Errno) -> String {
    io::Error::from(errno).to_string()
}
