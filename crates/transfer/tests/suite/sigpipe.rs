//! The vias that raise SIGPIPE after the peer has closed, as their pages document. strace reports
//! the signal although this process ignores it.

use karez_transfer::{Direction, Via};
use rustix::io::Errno;
use std::process::Command;
use std::{env, fs};

use crate::case::{Case, Transport};
use crate::random::{Random, pattern};
use crate::stage::Plan;

/// Those whose system call to a socket takes no `MSG_NOSIGNAL`. That `auto` may choose one depends
/// on how much there is to move.
const RAISING: [Via; 3] = [Via::Auto, Via::Sendfile, Via::Splice];

fn to_sockets() -> impl Iterator<Item = Case> {
    let to_socket = |case: &Case| !case.to_file() && case.blocking;
    // A UNIX socket knows at once that its peer has closed.
    Case::all().into_iter().filter(move |case| to_socket(case) && case.transport == Transport::Unix)
}

#[test]
fn only_sendfile_and_splice_raise_sigpipe() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("trace");
    for case in to_sockets() {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=none", "-e", "signal=SIGPIPE", "-o"]).arg(&output);
        strace.arg(env::current_exe().unwrap());
        strace.args(["--exact", "sigpipe::child", "--ignored", "--nocapture", "--test-threads=1"]);
        strace.env("KAREZ_CASE", format!("{} {}", case.direction, case.via));
        let said = match strace.output() {
            Ok(said) => said,
            Err(error) => return println!("skipped: strace: {error}"),
        };
        let text = format!("{said:?}");
        if text.contains("PTRACE_TRACEME") || text.contains("ptrace(") {
            return println!("skipped: strace may not trace");
        }
        assert!(said.status.success() && text.contains("1 passed"), "{case}: {text}");
        let raised = fs::read_to_string(&output).unwrap().contains("--- SIGPIPE");
        // Such a socket has no zero copy, and the transfer falls back to `sendfile`.
        let raises = RAISING.contains(&case.via) || case.via == Via::Zerocopy;
        assert_eq!(raised, raises, "{case}");
    }
}

#[test]
#[ignore = "another test runs it under strace"]
fn child() {
    let Ok(wanted) = env::var("KAREZ_CASE") else {
        println!("skipped: it is for another test");
        return;
    };
    let named = |case: &Case| format!("{} {}", case.direction, case.via) == wanted;
    let case = to_sockets().find(named).unwrap();
    let mut stage = Plan::new(case, pattern(1_200_000, 51)).stage();
    stage.drainer = None;
    let mut chance = Random::of(1);
    let failed = loop {
        if case.direction == Direction::SocketToSocket {
            stage.feed(&mut chance);
        }
        match stage.step() {
            Ok(progress) => assert_eq!(progress, karez_transfer::Progress::Moved(0)),
            Err(error) => break error,
        }
    };
    assert_eq!(Errno::from_io_error(&failed), Some(Errno::PIPE), "{case}");
}
