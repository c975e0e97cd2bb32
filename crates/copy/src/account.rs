//! What a copy did.

use karez_transfer::{CachePolicy, Calls, Copied, Direction, Reason, Report, Via};
use rustix::io::Errno;

/// What a copy did, of one file or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Regular files that were placed.
    pub files: u64,
    /// Directories that were made or merged into.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links to files copied before.
    pub hard_links: u64,
    /// FIFOs, sockets and devices.
    pub specials: u64,
    /// Files and directories that are on the disk for certain (with `sync`).
    pub synced: u64,
    /// What was there already and was to be left alone.
    pub skipped: u64,
    /// What could not be copied.
    pub failed: u64,
    /// Bytes of data that were moved, also for files that failed later; no holes.
    pub bytes: u64,
    /// Bytes that are not data: the holes of files.
    pub holes: u64,
    /// Bytes that were copied, whether by the CPU or by a disk past the page cache.
    pub copied: u64,
    /// Bytes that both files share on the disk.
    pub shared: u64,
    /// Bytes of which a pipe got the pages, so that nothing was copied.
    pub passed: u64,
    /// Bytes that the file system copied or shared: it does not say which.
    pub untold: u64,
    /// The vias that moved something.
    pub vias: Vec<Went>,
    /// The refusals that led down the ladder.
    pub fallbacks: Vec<Refused>,
    /// The treatments of the page cache that ran.
    pub caches: Vec<CachePolicy>,
    /// Where [`CachePolicy::Uncached`] was refused, and [`CachePolicy::Drop`] ran instead.
    pub cache_refused: Option<Uncached>,
    /// What of attributes could not be kept. The files are in place all the same.
    pub unkept: Vec<Unkept>,
    /// The system calls that moved the bytes and found the holes.
    pub calls: Calls,
}

/// What went by one via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Went {
    /// The via.
    pub via: Via,
    /// Extents of files of which some bytes went by it.
    pub extents: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Refusals of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The via that was refused.
    pub via: Via,
    /// Why.
    pub reason: Reason,
    /// After how many bytes of an extent the first of them came.
    pub after: u64,
    /// How often.
    pub times: u64,
}

/// Refusals to keep bytes out of the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncached {
    /// The errno of the first.
    pub errno: Errno,
    /// Of how many files.
    pub times: u64,
}

/// Attributes that the file system, or lack of privilege, did not let keep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unkept {
    /// `owner`, `group`, `mode`, `times`, `extended attributes` (their list), or the name of an
    /// extended attribute.
    pub what: String,
    /// The errno of the first refusal.
    pub errno: Errno,
    /// Of how many files.
    pub times: u64,
    /// Whether cp(1) would end with exit code 1 for it: see [`Account::is_complete`].
    pub fails: bool,
}

impl Account {
    /// Whether nothing failed, and no attribute was refused but those that cp(1) does without: the
    /// owner where privilege is missing, and extended attributes that are no ACL.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && !self.unkept.iter().any(|unkept| unkept.fails)
    }

    /// Enters one extent.
    pub(crate) fn enter(&mut self, report: &Report) {
        self.calls.add(&report.calls);
        self.enter_cache(report.cache);
        if let Some(errno) = report.cache_refused {
            self.enter_uncached(Uncached { errno, times: 1 });
        }
        let mut from = 0;
        for fallback in &report.fallbacks {
            self.enter_refusal(Refused {
                via: fallback.from,
                reason: fallback.reason,
                after: fallback.after,
                times: 1,
            });
            self.enter_bytes(report, fallback.from, fallback.after - from);
            from = fallback.after;
        }
        self.enter_bytes(report, report.ran, report.bytes - from);
    }

    fn enter_bytes(&mut self, report: &Report, via: Via, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes += bytes;
        match (via, Report { ran: via, ..report.clone() }.copied()) {
            (Via::Reflink, _) => self.shared += bytes,
            (_, Copied::Unknown) => self.untold += bytes,
            (_, Copied::No) if report.direction == Direction::FileToPipe => self.passed += bytes,
            _ => self.copied += bytes,
        }
        self.enter_went(Went { via, extents: 1, bytes });
    }

    fn enter_cache(&mut self, new: CachePolicy) {
        if !self.caches.contains(&new) {
            self.caches.push(new);
        }
    }

    fn enter_uncached(&mut self, new: Uncached) {
        match &mut self.cache_refused {
            Some(old) => old.times += new.times,
            None => self.cache_refused = Some(new),
        }
    }

    fn enter_went(&mut self, new: Went) {
        match self.vias.iter_mut().find(|went| went.via == new.via) {
            Some(went) => {
                went.extents += new.extents;
                went.bytes += new.bytes;
            }
            None => self.vias.push(new),
        }
    }

    fn enter_refusal(&mut self, new: Refused) {
        let same = |old: &&mut Refused| old.via == new.via && old.reason == new.reason;
        match self.fallbacks.iter_mut().find(same) {
            Some(old) => old.times += new.times,
            None => self.fallbacks.push(new),
        }
    }

    pub(crate) fn enter_unkept(&mut self, new: Unkept) {
        match self.unkept.iter_mut().find(|old| old.what == new.what) {
            Some(old) => {
                old.times += new.times;
                old.fails |= new.fails;
            }
            None => self.unkept.push(new),
        }
    }

    /// Adds what another thread did.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.hard_links += other.hard_links;
        self.specials += other.specials;
        self.synced += other.synced;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.holes += other.holes;
        self.copied += other.copied;
        self.shared += other.shared;
        self.passed += other.passed;
        self.untold += other.untold;
        self.calls.add(&other.calls);
        other.vias.into_iter().for_each(|went| self.enter_went(went));
        other.fallbacks.into_iter().for_each(|refused| self.enter_refusal(refused));
        other.caches.into_iter().for_each(|cache| self.enter_cache(cache));
        other.cache_refused.into_iter().for_each(|refused| self.enter_uncached(refused));
        other.unkept.into_iter().for_each(|unkept| self.enter_unkept(unkept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_transfer::{Fallback, Notifications};

    fn report(ran: Via, bytes: u64, fallbacks: Vec<Fallback>) -> Report {
        Report {
            direction: Direction::FileToFile,
            asked: Via::Auto,
            ran,
            bytes,
            calls: Calls { sendfile: 2, ..Calls::default() },
            fallbacks,
            cache: CachePolicy::Drop,
            cache_refused: Some(Errno::OPNOTSUPP),
            zerocopy: Notifications::default(),
            pages_copied: 0,
            earlier: Vec::new(),
        }
    }

    #[test]
    fn each_byte_is_entered_under_the_via_that_moved_it() {
        let fallback = |from, errno: Errno, after| Fallback { from, reason: errno.into(), after };
        let refusals = vec![
            fallback(Via::Reflink, Errno::OPNOTSUPP, 0),
            fallback(Via::CopyRange, Errno::XDEV, 30),
            fallback(Via::Sendfile, Errno::INVAL, 70),
        ];
        let mut account = Account::default();
        account.enter(&report(Via::Copy, 100, refusals));
        account.enter(&report(Via::Reflink, 5, Vec::new()));
        let went = |via, extents, bytes| Went { via, extents, bytes };
        assert_eq!(
            account.vias,
            [
                went(Via::CopyRange, 1, 30),
                went(Via::Sendfile, 1, 40),
                went(Via::Copy, 1, 30),
                went(Via::Reflink, 1, 5),
            ]
        );
        assert_eq!((account.bytes, account.copied), (105, 70));
        assert_eq!((account.shared, account.untold), (5, 30));
        assert_eq!(account.fallbacks.len(), 3);

        let mut both = account.clone();
        let unkept = |what: &str, fails| {
            let what = what.to_owned();
            Unkept { what, errno: Errno::PERM, times: 1, fails }
        };
        both.enter_unkept(unkept("owner", false));
        assert!(both.is_complete());
        both.enter_unkept(unkept("mode", true));
        both.absorb(both.clone());
        assert!(!both.is_complete());
        assert_eq!(both.vias[0], went(Via::CopyRange, 2, 60));
        assert_eq!((both.fallbacks[2].times, both.fallbacks[2].after), (2, 70));
        assert_eq!((both.unkept[0].times, both.calls.sendfile), (2, 8));
        assert_eq!((both.bytes, both.caches.len()), (210, 1));
        assert_eq!(both.cache_refused, Some(Uncached { errno: Errno::OPNOTSUPP, times: 4 }));
    }
}
