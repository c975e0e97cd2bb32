//! A signal while a system call of `karez copy` is interrupted (`EINTR`) repeatedly: the copy stops
//! and leaves no file. A few interruptions change nothing.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use crate::copy::{Outcome, command, names};
use crate::files::pattern;
use crate::strace::{self, name};
use crate::timeouts::{TEST_TIMEOUT, TimedReader};

const SIZE: usize = (3 << 20) + 7;

/// For each via the call that moves bytes, and the read before it.
const CALLS: [(&str, &str); 8] = [
    ("reflink", "ioctl"),
    ("copy-range", "copy_file_range"),
    ("sendfile", "sendfile"),
    ("splice", "splice"),
    ("mmap", "pwrite64"),
    ("direct", "pwrite64"),
    ("copy", "pwrite64"),
    ("copy", "pread64"),
];

/// A directory with a source file, and the paths of source and target.
fn root() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(SIZE)).unwrap();
    (root, from, to)
}

/// Returns the ordinal of the first call of this name by the copy itself: the dynamic loader makes
/// some, too.
fn first(command: &Command, call: &str, to: &Path) -> Option<usize> {
    let (_, calls) = strace::run(&[], command)?;
    let begin = calls.iter().position(|call| call.contains("O_TMPFILE")).unwrap();
    fs::remove_file(to).unwrap();
    Some(1 + calls[..begin].iter().filter(|made| name(made) == call).count())
}

#[test]
fn signals_are_handled_while_every_call_is_interrupted() {
    let (root, from, to) = root();
    for (via, call) in CALLS {
        let command = command(&[&"--via", &via, &from, &to]);
        let Some(when) = first(&command, call, &to) else { return };
        let interrupted = Interrupted::by(&command, call, when);
        let outcome = interrupted.end(Signal::TERM);
        assert_eq!(outcome.status.signal(), Some(15), "{via}, {call}: {outcome:?}");
        assert_eq!(outcome.json["signal"], 15, "{via}, {call}: {outcome:?}");
        assert_eq!(names(root.path()), ["from"], "{via}, {call}");
    }
}

#[test]
fn interrupted_calls_are_repeated() {
    let (_root, from, to) = root();
    for (via, call) in CALLS {
        let command = command(&[&"--via", &via, &from, &to]);
        let Some(when) = first(&command, call, &to) else { return };
        let inject = format!("inject={call}:error=EINTR:when={when}..{}", when + 40);
        let (output, calls) = strace::run(&["-e", &inject], &command).unwrap();
        assert_eq!(strace::injected(&calls, call), 41, "{via}, {call}");
        Outcome::of(&output).expect_success();
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{via}, {call}");
        fs::remove_file(&to).unwrap();
    }
}

#[test]
fn blocked_report_does_not_delay_signals() {
    let (_root, from, to) = root();
    // The report on standard output, and the errors on standard error.
    for target in [to.as_path(), Path::new("/nonexistent/directory/to")] {
        let command = command(&[&from, &target]);
        let interrupted = Interrupted::by(&command, "write", 1);
        let outcome = interrupted.end(Signal::TERM);
        assert_eq!(outcome.status.signal(), Some(15), "{outcome:?}");
    }
}

#[test]
fn blocked_reader_does_not_delay_signals() {
    let root = tempfile::tempdir().unwrap();
    // More error lines than fit into a pipe.
    let missing = (0..400).map(|number| root.path().join(format!("{number:0>200}")));
    let mut command = Command::new(crate::server::KAREZ);
    command.args(["copy", "--json"]).args(missing).arg(root.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut report = TimedReader(child.stdout.take().unwrap());
    report.read_exact(&mut [0]).unwrap(); // it is being written
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (sender, ended) = channel();
    let pid = Pid::from_child(&child);
    std::thread::spawn(move || sender.send(child.wait()));
    let Ok(status) = ended.recv_timeout(TEST_TIMEOUT) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("it waits for its reader");
    };
    assert_eq!(status.unwrap().signal(), Some(15));
}

/// A copy whose calls of one name are interrupted from a given ordinal on.
struct Interrupted {
    strace: Child,
    process: Pid,
    _directory: tempfile::TempDir,
}

impl Interrupted {
    /// Starts it, and waits for a hundred interruptions.
    fn by(command: &Command, call: &str, when: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("trace");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(&pipe).args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:error=EINTR:when={when}+")]);
        strace.arg(command.get_program()).args(command.get_args());
        strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let strace = strace.spawn().unwrap();
        let trace = BufReader::new(TimedReader(File::open(&pipe).unwrap()));
        let lines = trace.lines().map_while(Result::ok);
        let mut injected = lines.filter(|line| line.contains("(INJECTED)"));
        let line = injected.nth(100).expect("it ended while it was interrupted");
        let number = line.split_whitespace().next().unwrap().parse().unwrap();
        // The pipe is drained, so that strace does not block.
        std::thread::spawn(move || injected.count());
        Self { strace, process: Pid::from_raw(number).unwrap(), _directory: directory }
    }

    /// Sends the signal and returns the result of the copy.
    fn end(self, signal: Signal) -> Outcome {
        let Self { strace, process, _directory } = self;
        kill_process(process, signal).unwrap();
        let (sender, ended) = channel();
        std::thread::spawn(move || sender.send(strace.wait_with_output()));
        let Ok(output) = ended.recv_timeout(TEST_TIMEOUT) else {
            kill_process(process, Signal::KILL).unwrap();
            panic!("the signal was not obeyed");
        };
        Outcome::of(&output.unwrap())
    }
}
