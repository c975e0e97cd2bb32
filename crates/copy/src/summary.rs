//! The summary of a copy: counts, bytes by transfer method, fallbacks and failures.

use karez_transfer::{CachePolicy, Calls, Copied, Direction, Reason, Report, Via};
use rustix::io::Errno;

/// The result of a copy of one or many sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Regular files that were copied.
    pub files: u64,
    /// Directories that were made or merged into.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links to files that were copied before.
    pub hard_links: u64,
    /// FIFOs, sockets and devices.
    pub special_files: u64,
    /// Files and directories that were synchronized to the disk (with `sync`).
    pub synced: u64,
    /// Sources that were skipped because their destination exists.
    pub skipped: u64,
    /// Files and directories that could not be copied.
    pub failed: u64,
    /// Bytes of data that were moved, without holes. Includes files that failed later.
    pub bytes: u64,
    /// Bytes in holes.
    pub hole_bytes: u64,
    /// Bytes that were copied by the CPU, or by a disk past the page cache.
    pub bytes_copied: u64,
    /// Bytes whose blocks both files share on the disk.
    pub bytes_shared: u64,
    /// Bytes whose pages a pipe got by reference, without a copy.
    pub bytes_by_reference: u64,
    /// Bytes that the file system copied or shared; it does not report which.
    pub bytes_unknown: u64,
    /// The transfer methods that moved bytes.
    pub vias: Vec<ViaUsage>,
    /// The fallbacks from an unsupported transfer method to the next.
    pub fallbacks: Vec<FallbackCount>,
    /// The page-cache policies that ran.
    pub cache_policies: Vec<CachePolicy>,
    /// The fallback from [`CachePolicy::Uncached`] to [`CachePolicy::Drop`], if there was one.
    pub cache_fallback: Option<CacheFallback>,
    /// Attributes that could not be set. The files were copied without them.
    pub attribute_failures: Vec<AttributeFailure>,
    /// The system calls that moved bytes and searched holes.
    pub calls: Calls,
}

/// The use of one transfer method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViaUsage {
    /// The transfer method.
    pub via: Via,
    /// The number of extents of which it moved at least one byte.
    pub extents: u64,
    /// The number of bytes that it moved.
    pub bytes: u64,
}

/// Fallbacks from one transfer method for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackCount {
    /// The transfer method that was unsupported.
    pub via: Via,
    /// The reason of the fallback.
    pub reason: Reason,
    /// The offset in its extent at which the first fallback happened.
    pub after: u64,
    /// The number of fallbacks.
    pub times: u64,
}

/// Fallbacks from [`CachePolicy::Uncached`] to [`CachePolicy::Drop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheFallback {
    /// The errno of the first one.
    pub errno: Errno,
    /// The number of files.
    pub times: u64,
}

/// An attribute that could not be set, for want of support or of privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttributeFailure {
    /// `owner`, `group`, `mode`, `times`, `extended attributes` (their list), or the name of an
    /// extended attribute.
    pub attribute: String,
    /// The errno of the first failure.
    pub errno: Errno,
    /// The number of files.
    pub times: u64,
    /// Whether cp(1) would exit with 1 for it: see [`Summary::is_complete`].
    pub fails: bool,
}

impl Summary {
    /// Returns whether nothing failed, except for attributes that cp(1) ignores: the owner without
    /// privilege, and extended attributes other than ACLs.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && !self.attribute_failures.iter().any(|failure| failure.fails)
    }

    /// Adds the report of one extent.
    pub(crate) fn add_report(&mut self, report: &Report) {
        self.calls.add(&report.calls);
        self.add_cache_policy(report.cache);
        if let Some(errno) = report.cache_refused {
            self.add_cache_fallback(CacheFallback { errno, times: 1 });
        }
        let mut from = 0;
        for fallback in &report.fallbacks {
            self.add_fallback(FallbackCount {
                via: fallback.from,
                reason: fallback.reason,
                after: fallback.after,
                times: 1,
            });
            self.add_bytes(report, fallback.from, fallback.after - from);
            from = fallback.after;
        }
        self.add_bytes(report, report.effective, report.bytes - from);
    }

    fn add_bytes(&mut self, report: &Report, via: Via, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes += bytes;
        match (via, report.copied_by(via)) {
            (Via::Reflink, _) => self.bytes_shared += bytes,
            (_, Copied::Unknown) => self.bytes_unknown += bytes,
            (_, Copied::No) if report.direction == Direction::FileToPipe => {
                self.bytes_by_reference += bytes;
            }
            _ => self.bytes_copied += bytes,
        }
        self.add_via(ViaUsage { via, extents: 1, bytes });
    }

    fn add_cache_policy(&mut self, new: CachePolicy) {
        if !self.cache_policies.contains(&new) {
            self.cache_policies.push(new);
        }
    }

    fn add_cache_fallback(&mut self, new: CacheFallback) {
        match &mut self.cache_fallback {
            Some(old) => old.times += new.times,
            None => self.cache_fallback = Some(new),
        }
    }

    fn add_via(&mut self, new: ViaUsage) {
        match self.vias.iter_mut().find(|usage| usage.via == new.via) {
            Some(usage) => {
                usage.extents += new.extents;
                usage.bytes += new.bytes;
            }
            None => self.vias.push(new),
        }
    }

    fn add_fallback(&mut self, new: FallbackCount) {
        let same = |old: &&mut FallbackCount| old.via == new.via && old.reason == new.reason;
        match self.fallbacks.iter_mut().find(same) {
            Some(old) => old.times += new.times,
            None => self.fallbacks.push(new),
        }
    }

    pub(crate) fn add_attribute_failure(&mut self, new: AttributeFailure) {
        match self.attribute_failures.iter_mut().find(|old| old.attribute == new.attribute) {
            Some(old) => {
                old.times += new.times;
                old.fails |= new.fails;
            }
            None => self.attribute_failures.push(new),
        }
    }

    /// Adds the summary of another thread.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.hard_links += other.hard_links;
        self.special_files += other.special_files;
        self.synced += other.synced;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.hole_bytes += other.hole_bytes;
        self.bytes_copied += other.bytes_copied;
        self.bytes_shared += other.bytes_shared;
        self.bytes_by_reference += other.bytes_by_reference;
        self.bytes_unknown += other.bytes_unknown;
        self.calls.add(&other.calls);
        other.vias.into_iter().for_each(|usage| self.add_via(usage));
        other.fallbacks.into_iter().for_each(|fallback| self.add_fallback(fallback));
        other.cache_policies.into_iter().for_each(|policy| self.add_cache_policy(policy));
        other.cache_fallback.into_iter().for_each(|fallback| self.add_cache_fallback(fallback));
        other
            .attribute_failures
            .into_iter()
            .for_each(|failure| self.add_attribute_failure(failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_transfer::Fallback;

    fn report(effective: Via, bytes: u64, fallbacks: Vec<Fallback>) -> Report {
        let mut report = Report::new(Direction::FileToFile, Via::Auto);
        (report.effective, report.bytes, report.fallbacks) = (effective, bytes, fallbacks);
        report.calls.sendfile = 2;
        report.cache = CachePolicy::Drop;
        report.cache_refused = Some(Errno::OPNOTSUPP);
        report
    }

    #[test]
    fn each_byte_is_counted_for_the_via_that_moved_it() {
        let fallback = |from, errno: Errno, after| Fallback::new(from, errno, after);
        let fallbacks = vec![
            fallback(Via::Reflink, Errno::OPNOTSUPP, 0),
            fallback(Via::CopyRange, Errno::XDEV, 30),
            fallback(Via::Sendfile, Errno::INVAL, 70),
        ];
        let mut summary = Summary::default();
        summary.add_report(&report(Via::Copy, 100, fallbacks));
        summary.add_report(&report(Via::Reflink, 5, Vec::new()));
        let usage = |via, extents, bytes| ViaUsage { via, extents, bytes };
        assert_eq!(
            summary.vias,
            [
                usage(Via::CopyRange, 1, 30),
                usage(Via::Sendfile, 1, 40),
                usage(Via::Copy, 1, 30),
                usage(Via::Reflink, 1, 5),
            ]
        );
        assert_eq!((summary.bytes, summary.bytes_copied), (105, 70));
        assert_eq!((summary.bytes_shared, summary.bytes_unknown), (5, 30));
        assert_eq!(summary.fallbacks.len(), 3);

        let mut both = summary.clone();
        let failure = |attribute: &str, fails| {
            let attribute = attribute.to_owned();
            AttributeFailure { attribute, errno: Errno::PERM, times: 1, fails }
        };
        both.add_attribute_failure(failure("owner", false));
        assert!(both.is_complete());
        both.add_attribute_failure(failure("mode", true));
        both.absorb(both.clone());
        assert!(!both.is_complete());
        assert_eq!(both.vias[0], usage(Via::CopyRange, 2, 60));
        assert_eq!((both.fallbacks[2].times, both.fallbacks[2].after), (2, 70));
        assert_eq!((both.attribute_failures[0].times, both.calls.sendfile), (2, 8));
        assert_eq!((both.bytes, both.cache_policies.len()), (210, 1));
        assert_eq!(both.cache_fallback, Some(CacheFallback { errno: Errno::OPNOTSUPP, times: 4 }));
    }
}
