//! `karez lab claims`: schema, exact counts, and verdicts that follow the evidence.

use karez_lab::claims::{Claim, Evidence, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// 4 MiB in chunks of 64 KiB, as with `--quick`.
const BYTES: u64 = 4 << 20;
const CHUNKS: u64 = 64;

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Checks that all fields of the schema exist and every verdict is valid.
fn expect_schema(report: &Value, claims: usize) {
    assert_eq!(report["schema"], "karez.lab.claims/2");
    assert!(report["machine"]["kernel"].is_string());
    assert!(report["tiers"]["best"].is_string());
    assert_eq!(report["claims"].as_array().unwrap().len(), claims);
    for claim in report["claims"].as_array().unwrap() {
        for name in ["claim", "verdict", "reason", "command"] {
            assert!(claim[name].as_str().is_some_and(|text| !text.is_empty()), "{claim:#}");
        }
        let evidence = claim["evidence"].as_object().unwrap();
        match claim["verdict"].as_str().unwrap() {
            "confirmed" | "refuted" => {
                assert!(claim["details"].is_null() && !evidence.is_empty(), "{claim:#}");
            }
            "depends on" => assert!(claim["details"].is_string() && !evidence.is_empty()),
            "not measurable here" => {
                println!("skipped: {}: {}", claim["number"], claim["details"]);
                assert!(claim["details"].is_string());
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_claim_has_a_verdict_and_exact_counts() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let markdown = place.path().join("r.md");
    let mut command = Command::new(KAREZ);
    command.args(["lab", "claims", "--quick", "--json", "-", "--dir"]).arg(place.path());
    let output = command.arg("--markdown").arg(&markdown).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = report(&output);
    expect_schema(&report, 35);
    assert_eq!(fs::read_to_string(&markdown).unwrap().lines().count(), 35 + 2);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "a file was left");
    let exact: &[(usize, &str, u64)] = &[
        (2, "copied by recv", BYTES),
        (2, "copied by recv with MSG_TRUNC", 0),
        (24, "calls that move data", 2 * CHUNKS),
        (24, "bytes copied before the receiver", 2 * BYTES),
        (26, "calls that move data", CHUNKS),
        (26, "bytes copied before the receiver", BYTES),
        (30, "sendfile: calls that move data", CHUNKS),
        (30, "sendfile: copied", 0),
        (30, "sendfile: without SG", BYTES),
        (31, "splice: without SG", BYTES),
        (32, "calls that move data", 2 * CHUNKS),
        (32, "bytes copied before the receiver", 0),
        (9, "RLIMIT_NOFILE", 256),
        (12, "reported in arrival order", 3),
        (19, "read later", 2),
        (34, "pages of the file changed", 0),
    ];
    for (number, what, count) in exact {
        let claim = &report["claims"][number - 1];
        assert_eq!(claim["number"], *number);
        if claim["verdict"] != "not measurable here" {
            assert_eq!(claim["evidence"][what], *count, "{claim:#}");
        }
    }
    for (number, what, word) in [
        (11, "mmap of an epoll", "ENODEV"),
        (18, "EPOLLET on a blocking pipe", "ok"),
        (20, "epoll on a regular file", "EPERM"),
        (28, "send of a truncated range", "EFAULT"),
        (29, "sendfile from a socket", "EINVAL"),
    ] {
        assert_eq!(report["claims"][number - 1]["evidence"][what], word);
    }
}

#[test]
fn single_claim_runs_alone_and_unknown_numbers_are_rejected() {
    let lab = |arguments: &[&str]| {
        Command::new(KAREZ).args(["lab", "claims", "--quick"]).args(arguments).output().unwrap()
    };
    let output = lab(&["--claim", "11", "--json", "-", "--dir", env!("CARGO_TARGET_TMPDIR")]);
    let report = report(&output);
    expect_schema(&report, 1);
    assert_eq!(report["claims"][0]["verdict"], "refuted");
    assert_eq!(lab(&["--claim", "36"]).status.code(), Some(2));
}

#[test]
fn counters_are_not_measurable_without_privileges() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become nobody");
        return;
    }
    // Not below the target directory, which may not be accessible.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("karez");
    fs::copy(KAREZ, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    command.args(["lab", "claims", "--quick", "--json", "-", "--dir"]).arg(place.path());
    for number in ["11", "24", "32"] {
        command.args(["--claim", number]);
    }
    let Ok(output) = command.output() else {
        println!("skipped: no setpriv");
        return;
    };
    let report = report(&output);
    expect_schema(&report, 3);
    assert_eq!(report["tiers"]["best"], "T0");
    assert_eq!(report["claims"][0]["verdict"], "refuted");
    for claim in &report["claims"].as_array().unwrap()[1..] {
        assert_eq!(claim["verdict"], "not measurable here");
        assert!(claim["details"].as_str().unwrap().contains("cap_bpf"), "{claim:#}");
    }
}

fn words(pairs: &[(&str, &str)]) -> Evidence {
    pairs.iter().fold(Evidence::default(), |evidence, &(what, word)| evidence.with(what, word))
}

fn counts(pairs: &[(&str, u64)]) -> Evidence {
    pairs.iter().fold(Evidence::default(), |evidence, &(what, count)| evidence.with(what, count))
}

fn slopes(select: [f64; 2], poll: [f64; 2], epoll: [f64; 2]) -> Evidence {
    let each = [("select", select), ("poll", poll), ("epoll", epoll)];
    each.into_iter().fold(Evidence::default(), |evidence, (of, [low, high])| {
        evidence.with(format!("{of}: at least"), low).with(format!("{of}: at most"), high)
    })
}

fn moved(calls: u64, copied: u64) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("chunks", CHUNKS),
        ("calls that move data", calls),
        ("bytes copied before the receiver", copied),
        ("disk bytes, cold", BYTES),
        ("disk bytes, warm", 0),
    ])
}

fn over_veths(sendfile: [u64; 2], splice: [u64; 2]) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("chunks", CHUNKS),
        ("sendfile: calls that move data", CHUNKS),
        ("sendfile: copied", sendfile[0]),
        ("sendfile: without SG", sendfile[1]),
        ("splice: copied", splice[0]),
        ("splice: without SG", splice[1]),
    ])
}

/// Evidence from a live kernel with its verdict, and contradicting evidence with its verdict.
fn table() -> Vec<(u8, Evidence, &'static str, Evidence, &'static str)> {
    let (walk, flat, wide) = ([90.0, 110.0], [-0.5, 0.5], [-50.0, 50.0]);
    let asleep = |cpu| {
        counts(&[
            ("reported", 1),
            ("us until wake-up", 50_000),
            ("us of CPU", cpu),
            ("voluntary switches", u64::from(cpu < 1000)),
        ])
    };
    let clock = |calls| counts(&[("clock reads", 1000), ("system calls", calls)]);
    let received = |read, without| {
        counts(&[
            ("bytes sent", BYTES),
            ("copied by recv", read),
            ("copied by recv with MSG_TRUNC", without),
        ])
    };
    let answers = |one, two| {
        counts(&[("responses with one thread", one), ("responses with two threads", two)])
    };
    let lap = |reads| counts(&[("descriptors", 1000), ("reads per round", reads)]);
    let bits =
        |left| counts(&[("bits requested", 100), ("ready", 1), ("bits set afterwards", left)]);
    let high = |count| counts(&[("descriptor", 3000), ("reported", count)]);
    let crowd =
        |word| words(&[("poll of RLIMIT_NOFILE entries", "ok"), ("poll of one entry more", word)]);
    let kept = |count| {
        counts(&[
            ("registered", 3),
            ("entries in fdinfo", 3),
            ("ready", 3),
            ("reported in arrival order", count),
        ])
        .with("registered again", "EEXIST")
    };
    let batch = |count| slopes(walk, walk, flat).with("ready", 3_u64).with("reported", count);
    let opened = |count: u64, word| {
        counts(&[("RLIMIT_NOFILE", 256), ("opened", count)]).with("open beyond the limit", word)
    };
    let edges = |again| {
        counts(&[
            ("level, first", 1),
            ("level, again", 1),
            ("edge, first", 1),
            ("edge, again", again),
        ])
    };
    let rest = |later| counts(&[("written", 3), ("read at first", 1), ("read later", later)]);
    let signals = |sent| counts(&[("signals received", 8), ("signals sent by the process", sent)]);
    let aio = |word, read| words(&[("io_setup", word)]).with("bytes read by io_uring", read);
    let new = |bytes| counts(&[("new bytes in the second read", bytes)]);
    let direct = |requests| moved(2 * CHUNKS, BYTES).with("disk requests", requests);
    let small = |pages| counts(&[("pages by read", 2), ("pages by mmap", pages)]);
    let piped = |calls, word| moved(calls, 0).with("splice without a pipe", word);
    let edited = |changed| {
        counts(&[("pages edited", 32), ("faults", 32), ("pages of the file changed", changed)])
    };
    let zerocopy = |copied| counts(&[("sends over lo", 64), ("sends copied", copied)]);
    let one = |what, word| words(&[(what, word)]);
    let after = "bytes received after the file was overwritten";
    let (yes, no, depends, unclear) = ("confirmed", "refuted", "depends on", "not measurable here");
    vec![
        (1, clock(0), depends, clock(1000), yes),
        (2, received(BYTES, 0), depends, received(BYTES, BYTES), yes),
        (2, received(BYTES, 0), depends, received(0, 0), no),
        (3, answers(0, 1), yes, answers(1, 1), no),
        (4, lap(1000), yes, lap(1), no),
        (5, bits(1), yes, bits(100), no),
        (6, slopes(walk, walk, flat), yes, slopes(flat, walk, flat), no),
        (6, slopes(walk, walk, flat), yes, slopes(walk, wide, flat), unclear),
        (7, high(1), depends, high(0), yes),
        (8, asleep(80), yes, asleep(49_000), no),
        (9, crowd("EINVAL"), no, crowd("ok"), yes),
        (10, slopes(walk, walk, flat), no, slopes(walk, flat, flat), yes),
        (11, one("mmap of an epoll", "ENODEV"), no, one("mmap of an epoll", "ok"), yes),
        (12, kept(3), depends, kept(1), no),
        (13, batch(3_u64), yes, batch(100_u64), no),
        (14, asleep(80), no, asleep(49_000), yes),
        (15, opened(250, "EMFILE"), no, opened(257, "ok"), yes),
        (16, slopes(walk, walk, flat), yes, slopes(walk, walk, walk), no),
        (16, slopes(walk, walk, flat), yes, slopes(walk, walk, wide), unclear),
        (17, edges(0), yes, edges(1), no),
        (
            18,
            one("EPOLLET on a blocking pipe", "ok"),
            no,
            one("EPOLLET on a blocking pipe", "EINVAL"),
            yes,
        ),
        (19, rest(2), no, rest(0), yes),
        (
            20,
            one("epoll on a regular file", "EPERM"),
            yes,
            one("epoll on a regular file", "ok"),
            no,
        ),
        (21, signals(0), no, signals(8), yes),
        (22, aio("ok", 4096_u64), no, aio("ENOSYS", 0_u64), yes),
        (23, new(4096), no, new(0), yes),
        (24, moved(2 * CHUNKS, 2 * BYTES), depends, moved(2 * CHUNKS, BYTES), no),
        (25, direct(64_u64), no, direct(0_u64), yes),
        (26, moved(CHUNKS, BYTES), depends, moved(CHUNKS, 2 * BYTES), no),
        (27, small(2), no, small(3), yes),
        (
            28,
            one("send of a truncated range", "EFAULT"),
            no,
            one("send of a truncated range", "ok"),
            yes,
        ),
        (
            29,
            counts(&[("bytes from file to file", 4096)]),
            no,
            counts(&[("bytes from file to file", 0)]),
            yes,
        ),
        (30, over_veths([0, BYTES], [0, 0]), depends, over_veths([BYTES; 2], [0, 0]), yes),
        (30, over_veths([0, BYTES], [0, 0]), depends, over_veths([0, 0], [0, 0]), no),
        (31, over_veths([0, BYTES], [0, BYTES]), no, over_veths([0, BYTES], [0, 0]), yes),
        (32, piped(2 * CHUNKS, "EINVAL"), no, piped(CHUNKS, "EINVAL"), yes),
        (33, one(after, "aliased"), no, one(after, "copied"), yes),
        (34, edited(0), yes, edited(32), no),
        (35, zerocopy(64), depends, zerocopy(0), yes),
    ]
}

#[test]
fn verdict_follows_the_evidence() {
    let claims = Claim::all();
    let mut tried = BTreeSet::new();
    for (number, found, verdict, other, turned) in table() {
        let claim = claims.iter().find(|claim| claim.number == number).unwrap();
        let judged = claim.judge(&found);
        assert_eq!(judged.name(), verdict, "{number}. {}: {found}", claim.statement);
        assert_eq!(claim.judge(&other).name(), turned, "{number}. {}: {other}", claim.statement);
        tried.insert(number);
    }
    assert_eq!(tried, (1..=35).collect(), "each claim has evidence that turns it");
}

#[test]
fn missing_evidence_gives_no_verdict() {
    for claim in Claim::all() {
        let judged = claim.judge(&Evidence::default());
        assert!(matches!(judged, Verdict::NotMeasurable(_)), "{}: {judged}", claim.number);
    }
}
