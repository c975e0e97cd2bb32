//! `karez copy` from and to streams without a length: pipes, standard input and output, FIFOs,
//! devices.

use rustix::fs::{Mode, OFlags, open};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::copy::{Outcome, command, copy, names};
use crate::files::pattern;
use crate::server::KAREZ;
use crate::strace;
use crate::timeouts::TimedReader;

/// Larger than any pipe.
const SIZE: usize = (3 << 20) + 7;

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs the command with these bytes in a pipe on standard input.
fn fed(command: &mut Command, bytes: Vec<u8>) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // The program may exit before it has read everything.
    let feeder = thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Returns the report of a copy to standard output, which is on standard error.
fn report(output: &Output) -> Outcome {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let is_json = |line: &&str| line.starts_with('{');
    let json = text
        .lines()
        .find(is_json)
        .map_or(serde_json::Value::Null, |line| serde_json::from_str(line).unwrap());
    let stderr = text.lines().filter(|line| !is_json(line)).collect::<Vec<_>>().join("\n");
    Outcome { status: output.status, json, stderr }
}

#[test]
fn stdin_is_spliced_to_a_file() {
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("to");
    for (via, ran) in [("auto", "splice"), ("splice", "splice"), ("copy", "copy")] {
        for size in [0, 1, SIZE] {
            let mut command = command(&[&"--via", &via, &"-", &to]);
            let copied = Outcome::of(&fed(&mut command, pattern(size))).expect_success();
            assert!(fs::read(&to).unwrap() == pattern(size), "{via}, {size}");
            assert_eq!((copied.count("files"), copied.count("bytes")), (1, size as u64));
            assert!(size == 0 || copied.vias() == [ran], "{copied:?}");
            assert_eq!(copied.count("bytes_copied"), size as u64);
            assert_eq!(names(root.path()), ["to"]);
        }
    }
    // An existing file is replaced and keeps its mode; a new one has the mode that a shell would
    // give it.
    fs::set_permissions(&to, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&to, root.path().join("other name")).unwrap();
    Outcome::of(&fed(&mut command(&[&"-", &to]), b"new".to_vec())).expect_success();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read(root.path().join("other name")).unwrap().len(), SIZE);
    let new = root.path().join("new");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 027; exec \"$0\" copy --json - \"$1\"", KAREZ]).arg(&new);
    Outcome::of(&fed(&mut shell, b"new".to_vec())).expect_success();
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn file_is_spliced_to_stdout() {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    fs::write(&from, pattern(SIZE)).unwrap();
    for (via, ran) in
        [("auto", "splice"), ("splice", "splice"), ("sendfile", "sendfile"), ("copy", "copy")]
    {
        for target in ["-", "/dev/stdout"] {
            let output = command(&[&"--via", &via, &from, &target]).output().unwrap();
            assert!(output.stdout == pattern(SIZE), "{via}, {target}");
            let copied = report(&output).expect_success();
            assert_eq!((copied.count("bytes"), copied.vias()), (SIZE as u64, vec![ran]));
            let passed = if ran == "splice" { SIZE as u64 } else { 0 };
            assert_eq!(copied.count("bytes_by_reference"), passed, "{copied:?}");
        }
    }
    let output = command(&[&"/proc/filesystems", &"-"]).output().unwrap();
    assert_eq!(output.stdout, fs::read("/proc/filesystems").unwrap());
    // The text report is not written to standard output either.
    let output = Command::new(KAREZ).arg("copy").arg(&from).arg("-").output().unwrap();
    assert!(output.stdout == pattern(SIZE) && output.stderr.starts_with(b"1 file, "));
}

#[test]
fn stdin_is_copied_to_stdout() {
    for via in ["auto", "splice", "copy"] {
        let output = fed(&mut command(&[&"--via", &via, &"-", &"-"]), pattern(SIZE));
        assert!(output.stdout == pattern(SIZE), "{via}");
        report(&output).expect_success();
    }
}

#[test]
fn redirected_files_are_used_at_their_offsets() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("from"), pattern(200_000)).unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, KAREZ]).current_dir(root.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    };
    run("{ head -c 1 >/dev/null; \"$0\" copy -q - to; } < from");
    // head(1) may have read more than requested, but not more than a block.
    let copied = fs::read(at("to")).unwrap();
    assert!(
        pattern(200_000).ends_with(&copied) && copied.len() > 100_000 && copied.len() < 200_000
    );
    run("{ echo head; \"$0\" copy -q from -; echo tail; } > to");
    let written = fs::read(at("to")).unwrap();
    assert!(written.starts_with(b"head\n") && written.ends_with(b"tail\n"));
    assert!(written[5..200_005] == pattern(200_000));
    run("echo line > to; \"$0\" copy -q from - >> to; echo more | \"$0\" copy -q - - >> to");
    let written = fs::read(at("to")).unwrap();
    assert!(written.starts_with(b"line\n") && written.ends_with(b"more\n"));
    assert_eq!(written.len(), 200_010);
}

#[test]
fn shell_pipes_are_copied() {
    let root = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("bash");
        let output = shell.args(["-c", script, KAREZ]).current_dir(root.path()).output();
        match output {
            Ok(output) => output,
            Err(error) => panic!("bash: {error}"),
        }
    };
    if Command::new("bash").args(["-c", "true"]).output().is_err() {
        println!("skipped: no bash");
        return;
    }
    let output = run("umask 022; \"$0\" copy --json <(echo water) to");
    Outcome::of(&output).expect_success();
    assert_eq!(fs::read(root.path().join("to")).unwrap(), b"water\n");
    assert_eq!(fs::metadata(root.path().join("to")).unwrap().permissions().mode() & 0o777, 0o644);
    fs::create_dir(root.path().join("into")).unwrap();
    Outcome::of(&run("\"$0\" copy --json <(echo one) <(echo two) into")).expect_success();
    let into = root.path().join("into");
    let copied: Vec<_> =
        names(&into).iter().map(|name| fs::read(into.join(name)).unwrap()).collect();
    assert!(copied.contains(&b"one\n".to_vec()) && copied.contains(&b"two\n".to_vec()));
    let output = run("{ \"$0\" copy -q to >(cat >&3); } 3>&1 | cat");
    assert_eq!(output.stdout, b"water\n", "{output:?}");
}

#[test]
fn fifos_are_read_and_written_without_r() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), pattern(SIZE)).unwrap();
    make_fifo(&at("fifo"));
    // Neither side has opened the FIFO when the other starts.
    let fifo = at("fifo");
    let reader = thread::spawn(move || fs::read(fifo).unwrap());
    copy(&[&at("file"), &at("fifo")]).expect_success();
    assert!(reader.join().unwrap() == pattern(SIZE));

    let child = piped(&[&at("fifo"), &at("to")]);
    File::options().write(true).open(at("fifo")).unwrap().write_all(&pattern(SIZE)).unwrap();
    Outcome::of(&child.wait_with_output().unwrap()).expect_success();
    assert!(fs::read(at("to")).unwrap() == pattern(SIZE));

    assert_eq!(copy(&[&"-n", &at("file"), &at("fifo")]).expect_success().count("skipped"), 1);
    assert_eq!(copy(&[&"-n", &at("fifo"), &at("to")]).expect_success().count("skipped"), 1);
    copy(&[&at("fifo"), &at("fifo")]).expect_error(&["are the same file"]);
    // With -r a new FIFO is created; an existing one is not replaced.
    copy(&[&"-r", &at("fifo"), &at("anew")]).expect_success();
    assert!(fs::symlink_metadata(at("anew")).unwrap().file_type().is_fifo());
    copy(&[&"-r", &at("file"), &at("fifo")]).expect_error(&["is not a regular file"]);
}

/// Starts a copy with pipes on standard input and output.
fn piped(args: &[&dyn AsRef<OsStr>]) -> Child {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn devices_are_read_and_written_without_r() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), pattern(10_000)).unwrap();
    assert_eq!(copy(&[&at("file"), &"/dev/null"]).expect_success().count("bytes"), 10_000);
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    copy(&[&"/dev/null", &at("empty")]).expect_success();
    assert_eq!(fs::read(at("empty")).unwrap(), b"");
    copy(&[&at("file"), &"/dev/full"]).expect_error(&["/dev/full", "(os error 28)"]);
}

#[test]
fn invalid_streams_are_rejected() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("into")).unwrap();
    let fed = |command: &mut Command| Outcome::of(&fed(command, b"x".to_vec()));
    fed(&mut command(&[&"-", &at("into")])).expect_error(&["has no name for a copy"]);
    assert!(names(&at("into")).is_empty());
    let output = command(&[&"-r", &at("into"), &"-"]).output().unwrap();
    assert!(output.stdout.is_empty());
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("is a directory, and the target is a stream"), "{printed}");
    // A file named `-` is given as `./-`.
    fs::write(at("-"), "a file").unwrap();
    let mut command = command(&[&"./-", &"to"]);
    Outcome::of(&command.current_dir(root.path()).output().unwrap()).expect_success();
    assert_eq!(fs::read(at("to")).unwrap(), b"a file");
}

#[test]
fn closed_reader_is_reported_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    fs::write(&from, pattern(SIZE)).unwrap();
    for via in ["auto", "sendfile", "copy"] {
        let mut child = piped(&[&"--via", &via, &from, &"-"]);
        let mut part = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut part).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let outcome = report(&output);
        assert!(outcome.stderr.contains("\"standard output\" at byte "), "{outcome:?}");
        assert!(outcome.stderr.contains("(os error 32)"), "{outcome:?}");
        assert_eq!((outcome.stderr.lines().count(), outcome.count("failed")), (1, 1));
    }
}

/// Waits until the program blocks in poll(2), according to the trace of its calls.
fn polls(args: &[&dyn AsRef<OsStr>], root: &Path) -> Option<(Child, u32)> {
    if !strace::may_trace() {
        return None;
    }
    let pipe = root.join("trace");
    make_fifo(&pipe);
    let wanted = command(args);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=poll,ppoll", "-e", "signal=none", "-o"]).arg(&pipe);
    strace.arg(wanted.get_program()).args(wanted.get_args());
    strace.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = strace.spawn().unwrap();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let trace = File::from(open(&pipe, flags, Mode::empty()).unwrap());
    let mut lines = BufReader::new(TimedReader(trace));
    let mut line = String::new();
    // Waits for the second poll, since the first may have returned. (The program polls its standard
    // descriptors at start.)
    let mut timeouts = 0;
    while timeouts < 2 {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it waited");
        timeouts += usize::from(line.contains("(Timeout)"));
    }
    let process = line.split_whitespace().next().unwrap().parse().unwrap();
    thread::spawn(move || lines.read_to_string(&mut String::new()));
    Some((child, process))
}

#[test]
fn signal_ends_a_copy_blocked_on_a_pipe() {
    for existing in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("to");
        if existing {
            fs::write(&to, "old").unwrap();
        }
        let Some((mut child, process)) = polls(&[&"-", &to], root.path()) else { return };
        child.stdin.as_mut().unwrap().write_all(b"some bytes").unwrap();
        let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        // Standard input stays open until the exit.
        let input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(output.status.signal(), Some(2), "{output:?}");
        assert_eq!(Outcome::of(&output).count("files"), 0);
        assert_eq!(fs::read(&to).ok(), existing.then(|| b"old".to_vec()));
        let left = if existing { vec!["to", "trace"] } else { vec!["trace"] };
        assert_eq!(names(root.path()), left);
    }
}

#[test]
fn signal_ends_a_copy_blocked_on_a_reader() {
    let root = tempfile::tempdir().unwrap();
    let (from, fifo) = (root.path().join("from"), root.path().join("fifo"));
    fs::write(&from, pattern(SIZE)).unwrap();
    make_fifo(&fifo);
    // The reader opens it without reading.
    let reader = open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let Some((child, process)) = polls(&[&from, &fifo], root.path()) else { return };
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15), "{output:?}");
    drop(reader);
}
