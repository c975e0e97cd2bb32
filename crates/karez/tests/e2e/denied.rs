//! io_uring denied as a container denies it: by a seccomp filter, which answers `EPERM` whoever
//! looks at it and cannot be taken off again.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use crate::server::{KAREZ, Server};

/// Runs the command that follows under seccomp(2) with a filter of four instructions: load the
/// number of the call; if it is 425, io_uring_setup(2) on every architecture, return EPERM; else
/// allow it. Shows first that the filter does its work.
const DENY: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
SETUP, EPERM = 425, 1
code = b"".join(struct.pack("HBBI", *one) for one in [
    (0x20, 0, 0, 0), (0x15, 0, 1, SETUP), (0x06, 0, 0, 0x50000 | EPERM), (0x06, 0, 0, 0x7fff0000)])
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(kept)))
zero = ctypes.c_ulong(0)
for call in [(38, ctypes.c_ulong(1), zero, zero, zero),            # PR_SET_NO_NEW_PRIVS
             (22, ctypes.c_ulong(2), program, zero, zero)]:        # PR_SET_SECCOMP, a filter
    if libc.prctl(*call):
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
if libc.syscall(SETUP, 0, None) != -1 or ctypes.get_errno() != EPERM:
    sys.exit("the filter does nothing")
os.execvp(sys.argv[1], sys.argv[1:])
"#;

fn behind(words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    // An interpreter may warn of a locale that is not installed.
    command.args(["-c", DENY]).args(words).env("LC_ALL", "C");
    command
}

/// A command behind the filter; `None`, with a reason printed, where there cannot be one.
fn denied(words: &[&str]) -> Option<Command> {
    static REFUSAL: LazyLock<Option<String>> = LazyLock::new(|| match behind(&["true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("python3: {error}")),
    });
    if let Some(why) = &*REFUSAL {
        println!("skipped: no seccomp filter: {why}");
        return None;
    }
    Some(behind(words))
}

#[test]
fn without_io_uring_uring_says_so_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().to_str().unwrap();
    let words = [KAREZ, "serve", directory, "--model", "uring", "--listen", "127.0.0.1:0"];
    let Some(mut command) = denied(&words) else { return };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["uring", "io_uring_setup", "Operation not permitted (os error 1)"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
}

#[test]
fn without_io_uring_auto_and_others_serve() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    let directory = root.path().to_str().unwrap();
    for model in ["auto", "epoll-level", "linux-aio", "blocking"] {
        println!("serving by {model}");
        let words = [KAREZ, "serve", directory, "--model", model, "--log", "off"];
        let Some(mut command) = denied(&words) else { return };
        command.args(["--listen", "127.0.0.1:0"]);
        let server = Server::spawn(command);
        assert_eq!(server.get("/small").body, b"small", "{model}");
    }
}

#[test]
fn without_io_uring_doctor_says_why() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().to_str().unwrap();
    let Some(mut command) = denied(&[KAREZ, "doctor", directory]) else { return };
    let output = command.output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("uring "));
    let line = line.unwrap_or_else(|| panic!("no line for uring: {text}"));
    assert!(
        line.contains("refused") && line.contains("Operation not permitted (os error 1)"),
        "{line}"
    );
}
