//! Files open for appending (`O_APPEND`): with any offset, the bytes are appended, and existing ones
//! stay.

use karez_transfer::{CachePolicy, Fallback, Progress, Reason, Settings, Via};
use rustix::io::Errno;
use std::fs::{self, File};
use std::sync::Arc;

use crate::case::Case;
use crate::random::{Random, pattern};
use crate::stage::{DISK, Plan};

/// Whole blocks, which `O_DIRECT` would overwrite.
const LEN: usize = 256 << 10;

#[test]
fn every_via_and_cache_policy_appends() {
    let (before, content) = (pattern(8192, 41), pattern(LEN, 42));
    for files in [DISK, "/dev/shm"] {
        if tempfile::tempfile_in(files).is_err() {
            println!("skipped: there is no {files}");
            continue;
        }
        for case in Case::all().into_iter().filter(|case| case.to_file() && case.blocking) {
            for &cache in CachePolicy::ALL {
                let named = tempfile::NamedTempFile::new_in(files).unwrap();
                fs::write(named.path(), &before).unwrap();
                let sink = File::options().read(true).append(true).open(named.path()).unwrap();
                let source = Arc::new(tempfile::tempfile_in(files).unwrap());
                std::os::unix::fs::FileExt::write_all_at(&*source, &content, 0).unwrap();
                let settings = Settings::from(case.via).cache(cache);
                let plan = Plan { settings, files, ..Plan::new(case, content.clone()) };
                let outcome = plan.between(source, Arc::new(sink)).run(&mut Random::of(1));
                let what = format!("{case}, {cache}, {files}: {:?}", outcome.report);
                assert!(matches!(outcome.end, Ok(Progress::Done)), "{what}");
                let stored = fs::read(named.path()).unwrap();
                assert!(stored == [&before[..], &content].concat(), "{what}");
                assert_reported(case, &outcome.report, &what);
            }
        }
    }
}

/// Asserts that the fallback is reported.
fn assert_reported(case: Case, report: &karez_transfer::Report, what: &str) {
    assert_ne!(report.cache, CachePolicy::Direct, "{what}");
    if case.via == Via::Direct {
        let reasons = [Reason::Appending, Reason::NoDirectIo, Errno::INVAL.into()];
        let refused = reasons.map(|reason| Fallback::new(Via::Direct, reason, 0));
        assert!(refused.map(|refused| vec![refused]).contains(&report.fallbacks), "{what}");
        assert_eq!(report.effective, Via::Copy, "{what}");
    }
}
