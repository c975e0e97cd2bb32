//! `karez doctor` is correct: available features work, and denied ones are reported as refused.

use karez_reactor::Model;
use karez_transfer::Direction;
use serde_json::Value;
use std::process::{Command, Output};

use crate::server::KAREZ;
use crate::strace;

fn examined(output: &Output) -> Value {
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn finding<'a>(examined: &'a Value, section: &str, name: &str) -> &'a Value {
    let all = |value: &'a Value, key: &str| value[key].as_array().unwrap().iter();
    let mut findings = all(examined, "sections")
        .filter(|one| one["title"] == section)
        .flat_map(|one| all(one, "findings"));
    findings.find(|one| one["name"] == name).unwrap_or_else(|| panic!("{section}: no {name}"))
}

#[test]
fn every_model_and_via_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        Command::new(KAREZ).args(["doctor", "--json"]).arg(directory.path()).output().unwrap();
    let examined = examined(&output);
    assert_eq!(examined["schema"], 1);
    for model in Model::ALL {
        let finding = finding(&examined, "models", model.name());
        // Models and vias that this suite uses must be reported as available.
        let expected = if model.probe().is_ok() { "available" } else { "refused" };
        assert_eq!(finding["verdict"], expected, "{finding}");
    }
    for &direction in Direction::ALL {
        for via in direction.vias() {
            let finding = finding(&examined, "vias", &format!("{via}, {direction}"));
            assert_ne!(finding["verdict"], "unknown", "{finding}");
        }
        let copy = finding(&examined, "vias", &format!("copy, {direction}"));
        assert_eq!(copy["verdict"], "available");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn text_output_has_headings() {
    let output = Command::new(KAREZ).args(["doctor", "/dev/shm"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for theme in
        ["models", "vias", "file system", "limits", "io_uring", "confinement", "laboratory"]
    {
        assert!(text.lines().any(|line| line == theme), "{theme} in {text}");
    }
    assert!(text.contains("tmpfs") && !text.contains('\x1b'), "{text}");
}

#[test]
fn denied_features_are_reported_with_their_errno() {
    let directory = tempfile::tempdir().unwrap();
    for (call, errno, section, name) in [
        ("sendfile", "ENOSYS", "vias", "sendfile, file-to-socket"),
        ("splice", "EPERM", "vias", "splice, socket-to-socket"),
        ("copy_file_range", "EXDEV", "vias", "copy-range, file-to-file"),
        ("io_uring_setup", "EPERM", "io_uring", "a ring"),
        ("inotify_init1", "EMFILE", "file system", "change notification (inotify)"),
    ] {
        let inject = format!("inject={call}:error={errno}");
        let mut command = Command::new(KAREZ);
        command.args(["doctor", "--json"]).arg(directory.path());
        let Some((output, _)) = strace::run(&["-e", &inject], &command) else { return };
        let examined = examined(&output);
        let finding = finding(&examined, section, name);
        assert_eq!(finding["verdict"], "refused", "{call}: {finding}");
        assert!(finding["detail"].as_str().unwrap().starts_with(errno), "{call}: {finding}");
    }
}

#[test]
fn read_only_directory_is_not_a_failure() {
    let output = Command::new(KAREZ).args(["doctor", "--json", "/proc"]).output().unwrap();
    let examined = examined(&output);
    assert_eq!(finding(&examined, "vias", "sendfile, file-to-socket")["verdict"], "unknown");
    let output = Command::new(KAREZ).args(["doctor", "/nowhere/at/all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("\"/nowhere/at/all\": No such file or directory"), "{printed}");
}
