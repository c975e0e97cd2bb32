//! `karez lab exercise`: right and wrong predictions, in both languages, for graders.

use karez_lab::exercise::EXERCISES;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use super::shared::all;
use super::{KAREZ, karez};

fn exercise(arguments: &[&str]) -> Command {
    let mut command = karez();
    command.args(["lab", "exercise", "--dir", env!("CARGO_TARGET_TMPDIR")]).args(arguments);
    command
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn list_has_twenty_exercises_in_both_languages() {
    for (language, word) in [("en", "question"), ("zh", "问题")] {
        let output = exercise(&["--lang", language]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 21, "{text}");
        assert!(text.contains(word) && !text.contains('⟦'), "{text}");
    }
    assert_eq!(exercise(&["21"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn right_prediction_passes_and_wrong_one_fails() {
    // Level-triggered epoll reports unread data again.
    for (predicted, status) in [("1", 0), ("0", 1)] {
        let output = exercise(&["9", "--predict", predicted, "--json", "-"]).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let report = json(&output);
        let schema = karez().args(["lab", "schema", "exercise"]).output().unwrap();
        let schema = jsonschema::validator_for(&json(&schema)).unwrap();
        let faults: Vec<_> = schema.iter_errors(&report).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        assert_eq!((&report["measured"], &report["right"]), (&1.into(), &(status == 0).into()));
    }
}

#[test]
fn prediction_is_read_from_standard_input() {
    let mut command = exercise(&["10", "--lang", "zh"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (text, question) = (output.stdout, output.stderr);
    let (text, question) = (String::from_utf8(text).unwrap(), String::from_utf8(question).unwrap());
    assert!(question.starts_with("10. ") && question.contains("边缘触发"), "{question}");
    assert!(text.contains("偏高 1") && !text.contains('⟦'), "{text}");
}

#[test]
fn number_that_cannot_be_measured_is_not_a_wrong_prediction() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can switch users");
        return;
    }
    // Not below the target directory, which may not be accessible.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("karez");
    fs::copy(KAREZ, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    command.args(["lab", "exercise", "15", "--predict", "2m", "--json", "-", "--dir"]);
    let Ok(output) = command.arg(place.path()).output() else {
        println!("skipped: no setpriv");
        return;
    };
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let report = json(&output);
    assert_eq!((&report["measured"], &report["right"]), (&Value::Null, &false.into()));
    assert!(report["unmeasurable"].as_str().unwrap().contains("cap_bpf"), "{report:#}");
}

/// The right predictions at 1 MiB.
const ANSWERS: [u64; 20] =
    [0, 0, 1, 0, 1, 1, 3, 3, 1, 0, 1, 2, 0, 4096, 2 * MIB, MIB, 32, MIB, 2, 0];
const MIB: u64 = 1 << 20;

/// Exercises whose answer grows with the file, which has 4 MiB in the shared run.
const BY_SIZE: [usize; 4] = [15, 16, 17, 18];

#[test]
fn every_exercise_has_its_answer_in_the_evidence_of_its_claim() {
    let claims = all().report("claims")["claims"].as_array().unwrap();
    for (exercise, answer) in EXERCISES.iter().zip(ANSWERS) {
        let number = exercise.number();
        let claim = claims.iter().find(|claim| claim["number"] == exercise.claim).unwrap();
        let evidence = claim["evidence"].as_object().unwrap();
        if evidence.is_empty() {
            println!("skipped: exercise {number}: {}", claim["details"]);
            continue;
        }
        let answer = if BY_SIZE.contains(&number) { 4 * answer } else { answer };
        assert_eq!(evidence[exercise.figure], answer, "{number}: {claim:#}");
    }
}
