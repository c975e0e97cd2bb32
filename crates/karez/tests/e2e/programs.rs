//! Programs that tests run: whether they are installed, and their output.

use std::io::{Seek as _, Write as _};
use std::process::{Command, Output, Stdio};

/// Returns whether a program is installed; prints the skip if not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    // openssl has a command in place of the flag, and fails.
    let found = found.is_ok();
    if !found {
        println!("skipped: no {program}");
    }
    found
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command, context: &str) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{context}: {command:?}: {}\n{printed}", output.status);
    output
}

/// Returns whether curl is installed and speaks HTTP/2.
pub fn has_curl() -> bool {
    if !has("curl") {
        return false;
    }
    let version = Command::new("curl").arg("--version").output().unwrap();
    let speaks = String::from_utf8_lossy(&version.stdout).contains("HTTP2");
    if !speaks {
        println!("skipped: this curl does not speak HTTP/2");
    }
    speaks
}

/// Returns what the program of a content coding decodes; `None` if it is not installed.
pub fn decoded(coding: &str, packed: &[u8]) -> Option<Vec<u8>> {
    let program = if coding == "br" { "brotli" } else { coding };
    if !has(program) {
        return None;
    }
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(packed).unwrap();
    input.rewind().unwrap();
    let output = Command::new(program).arg("-dc").stdin(input).output().unwrap();
    assert!(output.status.success(), "{coding}: {output:?}");
    Some(output.stdout)
}
