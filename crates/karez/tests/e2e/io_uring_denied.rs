//! io_uring denied by a seccomp filter, as in a container: io_uring_setup(2) fails with `EPERM`,
//! and the filter cannot be removed.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use crate::server::{KAREZ, Server};

/// Runs the rest of its command line under a seccomp(2) filter of four instructions: load the
/// system call number; if it is 425, io_uring_setup(2) on every architecture, return EPERM;
/// otherwise allow. Verifies the filter first.
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
    // Avoids the interpreter's warning about a missing locale.
    command.args(["-c", DENY]).args(words).env("LC_ALL", "C");
    command
}

/// Returns a command under the filter. Prints the reason and returns `None` where seccomp is not
/// available.
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
fn uring_reports_denied_io_uring_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().to_str().unwrap();
    let words = [KAREZ, "serve", directory, "--model", "uring", "--listen", "127.0.0.1:0"];
    let Some(mut command) = denied(&words) else { return };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    for word in ["uring", "io_uring_setup", "Operation not permitted (os error 1)"] {
        assert!(printed.contains(word), "no {word}: {printed}");
    }
}

#[test]
fn auto_and_other_models_serve_without_io_uring() {
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
fn doctor_reports_denied_io_uring() {
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
