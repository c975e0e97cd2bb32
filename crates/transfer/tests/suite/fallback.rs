//! Every fallback, forced by an injected error: before the first byte, behind it, and
//! between the two halves of a splice. An unsupported call falls back, any other failure is an error
//! with the offset reached, and no byte is lost in either case.

use karez_transfer::{CachePolicy, Direction, Via};
use rustix::io::Errno;

use crate::case::{Case, Transport, calls_of};
use crate::stage::DISK;
use crate::tracer::{LEN, SPARED, Traced, name_of, trace, trace_of};

/// Unsupported by this via.
const REFUSALS: [(&str, Errno); 6] = [
    ("EINVAL", Errno::INVAL),
    ("EXDEV", Errno::XDEV),
    ("EOPNOTSUPP", Errno::OPNOTSUPP),
    ("ENOSYS", Errno::NOSYS),
    ("EPERM", Errno::PERM),
    ("ESPIPE", Errno::SPIPE),
];

/// Errors of every via.
const ERRORS: [(&str, Errno); 5] = [
    ("ENOSPC", Errno::NOSPC),
    ("EIO", Errno::IO),
    ("EFBIG", Errno::FBIG),
    ("EDQUOT", Errno::DQUOT),
    ("ENOMEM", Errno::NOMEM),
];

/// Errors of servers, file systems and drivers without the mechanism: the transfer falls back
/// before the first byte, and later returns the error.
const AT_FIRST: [(&str, Errno); 8] = [
    ("EIO", Errno::IO),
    ("EACCES", Errno::ACCESS),
    ("ENOENT", Errno::NOENT),
    ("EBUSY", Errno::BUSY),
    ("ETIMEDOUT", Errno::TIMEDOUT),
    ("EISDIR", Errno::ISDIR),
    ("ESTALE", Errno::STALE),
    ("ENOMEM", Errno::NOMEM),
];

/// The call of a thread that fails: the first, the second, and one in the middle.
const PLACES: [usize; 3] = [1, 2, 4];

/// The traced calls; a full trace would be slow.
const FILTER: &str = "trace=?access,?faccessat,pipe2,sendto,recvfrom,sendfile,splice,pread64,\
                      pwrite64,copy_file_range,ioctl,read";

/// The cases that move bytes by this call, each over a transport that supports it.
fn cases_by(call: &str) -> Vec<Case> {
    let by_it = |case: &Case| {
        let tcp = case.transport == Transport::Tcp;
        let transport =
            case.direction == Direction::FileToFile || tcp == (case.via == Via::Zerocopy);
        case.blocking && transport && calls_of(case.direction, case.via).0.contains(&call)
    };
    Case::all().into_iter().filter(by_it).collect()
}

/// Runs those cases with an injected failure; returns those in which it occurred.
fn forced(call: &str, errno: &str, place: usize) -> Option<Vec<Traced>> {
    let place = place + if call == "pread64" { SPARED } else { 0 };
    let inject = format!("inject={call}:error={errno}:when={place}");
    let all = trace(&cases_by(call), CachePolicy::Keep, &["-e", FILTER, "-e", &inject])?;
    Some(all.into_iter().filter(|traced| traced.injected().is_some()).collect())
}

/// Returns the offset at the failure, and asserts that no byte was lost.
fn offset(traced: &Traced) -> u64 {
    assert!(traced.exact && traced.ended == "Done", "{traced:#?}");
    assert_eq!(traced.bytes, LEN as u64, "{traced:#?}");
    traced.arrived(traced.injected().unwrap())
}

/// The next via of this direction.
fn rung_below(case: Case) -> Option<Via> {
    let mut via = case.via;
    loop {
        via = via.fallback()?;
        if case.direction.has(via) {
            return Some(via);
        }
    }
}

fn assert_falls_back(call: &str) {
    let mut forced_so_often = 0;
    for (name, errno) in REFUSALS {
        for place in PLACES {
            let Some(all) = forced(call, name, place) else {
                return;
            };
            for traced in &all {
                assert_refused(traced, errno);
            }
            forced_so_often += all.len();
        }
    }
    for (errors, places) in [(&ERRORS[..], &[1, 4][..]), (&AT_FIRST, &[1])] {
        for &(name, errno) in errors {
            for &place in places {
                let Some(all) = forced(call, name, place) else {
                    return;
                };
                all.iter().for_each(|traced| assert_error(traced, errno));
                forced_so_often += all.len();
            }
        }
    }
    assert!(forced_so_often >= 20, "{call} was made to fail {forced_so_often} times");
}

/// An error that does not mean unsupported: the transfer's, unless it is that of the
/// mechanism of the via before its first byte.
fn assert_error(traced: &Traced, errno: Errno) {
    let after = offset(traced);
    if errno == Errno::ACCESS || (after == 0 && is_of_the_mechanism(traced, errno)) {
        return assert_refused(traced, errno);
    }
    assert_eq!(traced.errors, [(errno, after)], "{traced:#?}");
    assert_eq!(traced.effective, without(traced), "{traced:#?}");
}

fn is_of_the_mechanism(traced: &Traced, errno: Errno) -> bool {
    let (via, call) = (traced.case.via, name_of(&traced.trace[traced.injected().unwrap()]));
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].contains(&errno) && via != Via::Reflink;
    let of_the_peer = errno == Errno::TIMEDOUT && traced.case.direction != Direction::FileToFile;
    let plainly = match call {
        "pread64" | "pwrite64" => via != Via::Direct,
        "sendto" => via != Via::Zerocopy,
        "recvfrom" => true,
        _ => false,
    };
    !(full || of_the_peer || plainly)
}

/// The via that runs without an injected failure; it depends on the file system.
fn without(traced: &Traced) -> Via {
    traced.fallbacks.last().map_or(traced.case.via, |last| last.0.fallback().unwrap())
}

fn assert_refused(traced: &Traced, errno: Errno) {
    let (case, after) = (traced.case, offset(traced));
    let Some(below) = rung_below(case) else {
        assert_eq!(traced.errors, [(errno, after)], "{traced:#?}");
        assert_eq!((traced.effective, traced.fallbacks.len()), (case.via, 0), "{traced:#?}");
        return;
    };
    assert!(traced.errors.is_empty(), "{traced:#?}");
    let call = &traced.trace[traced.injected().unwrap()];
    let writes_past_the_cache = case.via == Via::Direct && call.starts_with("pwrite64");
    let cached_will_do = [Errno::INVAL, Errno::OPNOTSUPP].contains(&errno);
    if writes_past_the_cache && cached_will_do && traced.fallbacks.is_empty() {
        assert_eq!(traced.effective, Via::Direct);
        return;
    }
    assert_eq!(traced.fallbacks, [(case.via, errno, after)], "{traced:#?}");
    assert_eq!(traced.effective, below, "{traced:#?}");
}

#[test]
fn sendfile_refused() {
    assert_falls_back("sendfile");
}

#[test]
fn splice_refused() {
    assert_falls_back("splice");
}

#[test]
fn send_refused() {
    assert_falls_back("sendto");
}

#[test]
fn receive_refused() {
    assert_falls_back("recvfrom");
}

#[test]
fn read_refused() {
    assert_falls_back("pread64");
}

#[test]
fn write_refused() {
    assert_falls_back("pwrite64");
}

#[test]
fn copy_file_range_refused() {
    assert_falls_back("copy_file_range");
}

/// A clone is a single call, so no later one can fail.
#[test]
fn clone_refused() {
    for (name, errno) in REFUSALS.into_iter().chain([("ENOTTY", Errno::NOTTY)]) {
        for traced in forced("ioctl", name, 1).unwrap_or_default() {
            assert_refused(&traced, errno);
        }
    }
    for (name, errno) in ERRORS.into_iter().chain(AT_FIRST) {
        for traced in forced("ioctl", name, 1).unwrap_or_default() {
            assert_error(&traced, errno);
        }
    }
}

/// After an interruption, or an unexpected EAGAIN, the step is repeated.
#[test]
fn eintr_and_eagain_change_nothing() {
    for call in ["sendfile", "splice", "sendto", "recvfrom", "pread64", "pwrite64"] {
        for errno in ["EINTR", "EAGAIN"] {
            if errno == "EAGAIN" && call.ends_with("64") {
                continue; // a file never says so
            }
            for place in [1, 2] {
                let place = place + if call == "pread64" { SPARED } else { 0 };
                let inject = format!("inject={call}:error={errno}:when={place}+2");
                let flags = ["-e", FILTER, "-e", &inject];
                for traced in trace(&cases_by(call), CachePolicy::Keep, &flags).unwrap_or_default()
                {
                    offset(&traced);
                    assert!(traced.errors.is_empty() && traced.fallbacks.is_empty(), "{traced:#?}");
                    assert_eq!(traced.effective, traced.case.via, "{traced:#?}");
                }
            }
        }
    }
}

/// A file that cannot be mapped, for any reason, is read.
#[test]
fn mapping_refused() {
    let named = tempfile::NamedTempFile::new_in(DISK).unwrap();
    let path = named.path();
    let maps = [Via::Mmap, Via::Cow, Via::Zerocopy];
    let maps = |case: &Case| {
        let tcp = case.transport == Transport::Tcp;
        case.blocking && tcp && maps.contains(&case.via)
    };
    let cases: Vec<_> = Case::all().into_iter().filter(maps).collect();
    let refusals = REFUSALS.into_iter().chain([("ENODEV", Errno::NODEV)]);
    for (name, errno) in refusals.chain(AT_FIRST) {
        let inject = format!("inject=mmap:error={name}:when=1");
        let flags = ["-e", "trace=mmap", "-P", path.to_str().unwrap(), "-e", &inject];
        let all = trace_of(Some(path), &cases, CachePolicy::Keep, &flags);
        for traced in all.unwrap_or_default() {
            let case = traced.case;
            assert!(traced.exact && traced.bytes == LEN as u64, "{name}: {traced:#?}");
            assert!(traced.errors.is_empty(), "{traced:#?}");
            assert_eq!(traced.fallbacks, [(case.via, errno, 0)], "{traced:#?}");
            assert_eq!(Some(traced.effective), rung_below(case), "{traced:#?}");
        }
    }
}
