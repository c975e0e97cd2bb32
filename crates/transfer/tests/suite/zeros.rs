//! A 0 that is not the end: of a system call in the middle of a file, of
//! files that are made as they are read, and in front of urgent data. No incomplete transfer ends as complete.

use karez_transfer::{CachePolicy, Direction, Progress, SocketToFile, Via};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::case::{Case, Transport, calls_of};
use crate::tracer::{LEN, SPARED, Traced, trace};

const FILTER: &str = "trace=?access,?faccessat,pipe2,sendto,recvfrom,sendfile,splice,pread64,\
                      pwrite64,copy_file_range,read";

/// Runs the cases that move bytes by `call`, which returns 0 at this place.
fn answered_0(call: &str, place: usize) -> Option<Vec<Traced>> {
    let by_it = |case: &Case| {
        let (movers, _) = calls_of(case.direction, case.via);
        let once = case.direction == Direction::FileToFile || case.transport == Transport::Unix;
        case.blocking && once && case.via != Via::Copy && movers.contains(&call)
    };
    let cases: Vec<_> = Case::all().into_iter().filter(by_it).collect();
    let place = place + if call == "pread64" { SPARED } else { 0 };
    let inject = format!("inject={call}:retval=0:when={place}");
    let all = trace(&cases, CachePolicy::Keep, &["-e", FILTER, "-e", &inject])?;
    Some(all.into_iter().filter(|traced| traced.injected().is_some()).collect())
}

#[test]
fn a_0_in_the_middle_is_not_the_end() {
    for call in ["sendfile", "splice", "copy_file_range", "pread64"] {
        let mut forced = 0;
        for place in 1..=5 {
            let Some(all) = answered_0(call, place) else { return };
            for traced in &all {
                assert_eq!(traced.ended, "Done", "{traced:#?}");
                assert!(traced.exact && traced.bytes == LEN as u64, "{traced:#?}");
                let (case, after) = (traced.case, traced.arrived(traced.injected().unwrap()));
                let refused = (case.via, Errno::NODATA, after);
                // If bytes had moved in the same step, the next one repeats the call.
                assert!(after > 0 || traced.fallbacks == [refused], "{traced:#?}");
            }
            forced += all.len();
        }
        assert!(forced >= 4, "{call} was made to return 0 {forced} times");
    }
}

/// In front of an urgent byte `splice` stops, with 0 if nothing stands there.
#[test]
fn urgent_data_is_not_the_end() {
    for via in [Via::Splice, Via::Auto, Via::Copy] {
        let (near, far) = Transport::Tcp.pair();
        let sink = Arc::new(tempfile::tempfile().unwrap());
        let mut transfer = SocketToFile::new(sink.clone(), 0, None, via);
        let (mut sent, mut stored) = (Vec::new(), 0);
        for (word, urgent) in [("under", true), (" the ", false), ("desert", true), (".", false)] {
            sent.extend_from_slice(word.as_bytes());
            send(&far, word.as_bytes(), SendFlags::empty()).unwrap();
            if urgent {
                send(&far, b"!", SendFlags::OOB).unwrap();
            }
            while stored < sent.len() as u64 {
                match transfer.step(near.as_fd()).unwrap() {
                    Progress::Moved(bytes) => stored += bytes,
                    end => panic!("{via} after {stored} bytes: {end:?}"),
                }
            }
        }
        drop(far);
        while transfer.step(near.as_fd()).unwrap() != Progress::Done {}
        let mut received = vec![0; sent.len()];
        sink.read_exact_at(&mut received, 0).unwrap();
        assert_eq!(received, sent, "{via}: {:?}", transfer.report());
        assert_eq!(transfer.report().bytes, sent.len() as u64, "{via}");
    }
}
