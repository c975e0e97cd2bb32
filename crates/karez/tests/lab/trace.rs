//! `karez lab trace`: exact contents of a trace, and its output formats. No times are asserted.

use karez_reactor::Model;
use karez_transfer::{Direction, Via};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use super::{KAREZ, karez};

const MIB: u64 = 1 << 20;

fn output(arguments: &[&str]) -> Output {
    let mut command = karez();
    command.args(["lab", "trace", "--dir", env!("CARGO_TARGET_TMPDIR")]).args(arguments);
    command.output().unwrap()
}

fn trace(arguments: &[&str]) -> Value {
    parse(&output(&[arguments, &["--json", "-"]].concat()))
}

fn parse(output: &Output) -> Value {
    let trace: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(output.status.success(), "{:#}", trace["totals"]);
    assert_eq!(trace["schema"], "karez.lab.trace/2");
    trace
}

/// Checks that the fields are those of the schema: of the report, the request, the totals, and each
/// event.
fn expect_fields(trace: &Value) {
    let schema: Value =
        serde_json::from_str(include_str!("../../../lab/schema/trace.json")).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let properties = &schema["properties"];
    assert_eq!(names(trace), names(properties));
    for part in ["request", "totals"] {
        assert_eq!(names(&trace[part]), names(&properties[part]["properties"]), "{part}");
    }
    let kinds = properties["events"]["items"]["oneOf"].as_array().unwrap();
    for event in trace["events"].as_array().unwrap() {
        let known = |kind: &&Value| kind["properties"]["event"]["const"] == event["event"];
        let kind = kinds.iter().find(known).unwrap_or_else(|| panic!("{event}"));
        assert_eq!(names(event), names(&kind["properties"]), "{event}");
    }
}

/// Returns whether tracepoints were available; checks that need them are skipped otherwise.
fn is_seen(trace: &Value) -> bool {
    let seen = trace["tier"] == "T1";
    if !seen {
        println!("skipped: {}", trace["without_t1"]);
    }
    seen
}

fn events<'a>(trace: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    trace["events"].as_array().unwrap().iter().filter(move |event| event["event"] == kind)
}

/// Returns the server's calls in order, with their flags.
fn calls(trace: &Value) -> Vec<String> {
    let own = events(trace, "call").filter(|event| event["lane"] == "system call");
    own.map(|call| {
        let flags = call["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap());
        [vec![call["name"].as_str().unwrap()], flags.collect()].concat().join(" ")
    })
    .collect()
}

fn sum<'a>(events: impl Iterator<Item = &'a Value>) -> u64 {
    events.map(|event| event["bytes"].as_u64().unwrap()).sum()
}

/// Checks invariants of every trace.
fn expect_complete(trace: &Value, body: u64) {
    expect_fields(trace);
    let (request, totals) = (&trace["request"], &trace["totals"]);
    assert_eq!(request["body"], body, "{request}");
    assert_eq!(totals["contradictions"], serde_json::json!([]), "{totals:#}");
    assert_eq!(trace["lost_events"], 0);
    let ids: Vec<_> = trace["threads"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    for (place, event) in trace["events"].as_array().unwrap().iter().enumerate() {
        assert!(event["duration_us"].as_f64().unwrap() >= 0.0, "{event}");
        assert!(event["thread"].is_null() || ids.contains(&&event["thread"]), "{event}");
        let Some(within) = event["within"].as_u64() else { continue };
        let call = &trace["events"][usize::try_from(within).unwrap()];
        assert_eq!(call["event"], "call", "{place}: {event}");
    }
    let answer = request["head"].as_u64().unwrap() + body;
    assert_eq!(totals["copies"]["receiver"], answer, "{totals:#}");
    if !is_seen(trace) {
        return;
    }
    assert_eq!(totals["sent"]["payload"], answer, "{totals:#}");
    let received = events(trace, "copy").filter(|copy| copy["lane"] == "receiver");
    assert_eq!(sum(received), answer);
    let asked = events(trace, "call").filter(|call| call["lane"] == "receiver");
    let taken = asked.filter(|call| call["name"] == "recvfrom");
    assert_eq!(sum(taken), answer);
}

#[test]
fn sendfile_copies_only_the_head() {
    let trace = trace(&["--model", "epoll-edge", "--via", "sendfile"]);
    expect_complete(&trace, MIB);
    let mut calls = calls(&trace);
    // A watched file is verified by a statx once a second, and other programs may change its directory.
    calls.retain(|call| !["statx", "read"].contains(&&**call));
    assert_eq!(calls[..4], ["epoll_pwait", "recvfrom", "ppoll", "sendto MSG_MORE"], "{calls:?}");
    let rest = calls[4..].iter();
    let others: Vec<_> =
        rest.filter(|name| !["sendfile", "epoll_pwait"].contains(&&***name)).collect();
    assert!(others.is_empty(), "{calls:?}");
    assert_eq!(calls.last().unwrap(), "epoll_pwait", "it waits again");
    let sent = events(&trace, "call").filter(|call| call["name"] == "sendfile");
    assert_eq!(sum(sent.filter(|call| call["bytes"].is_u64())), MIB);
    let (totals, head) = (&trace["totals"], trace["request"]["head"].as_u64().unwrap());
    assert_eq!(totals["by_name"]["sendfile"]["bytes"], MIB);
    let copies = &totals["copies"];
    assert_eq!([&copies["file_to_user"], &copies["late"]], [0, 0]);
    assert_eq!(copies["to_socket"], head);
    if is_seen(&trace) {
        assert_eq!(totals["sent"]["page_cache"], MIB);
        let woken = &totals["wake_ups"][0];
        assert!(woken["by"].as_str().unwrap().contains("NET_RX"), "{woken}");
        assert_eq!(
            totals["faults_user"]
                .as_u64()
                .map(|faults| faults * 2 + totals["system_calls"].as_u64().unwrap() * 2),
            totals["mode_switches"].as_u64()
        );
    }
}

#[test]
fn copy_copies_twice() {
    let trace = trace(&["--model", "epoll-edge", "--via", "copy"]);
    expect_complete(&trace, MIB);
    let (totals, head) = (&trace["totals"], trace["request"]["head"].as_u64().unwrap());
    assert_eq!(totals["by_name"]["pread64"]["bytes"], MIB);
    assert_eq!(totals["by_name"]["sendto"]["bytes"], MIB + head);
    assert_eq!(totals["copies"]["file_to_user"], MIB);
    assert_eq!(totals["copies"]["to_socket"], MIB + head);
    let up = events(&trace, "copy").filter(|copy| copy["from"] == "page cache");
    assert_eq!(sum(up.inspect(|copy| assert_eq!(copy["derived"], true))), MIB);
    if is_seen(&trace) {
        assert_eq!(totals["sent"]["copied"], MIB + head);
        assert_eq!(totals["sent"]["page_cache"], 0);
    }
}

#[test]
fn cold_file_is_read_from_disk_while_a_thread_sleeps() {
    let trace = trace(&["--model", "blocking", "--via", "copy", "--cold"]);
    expect_complete(&trace, MIB);
    assert_eq!(trace["request"]["pages_in_memory"], 0);
    if !is_seen(&trace) {
        return;
    }
    assert_eq!(trace["totals"]["disk"]["bytes"], MIB);
    assert_eq!(sum(events(&trace, "disk")), MIB);
    assert!(trace["totals"]["sleeps"].as_u64().unwrap() > 0, "{:#}", trace["totals"]);
}

#[test]
fn every_model_uses_its_own_wait_call() {
    let body = 300_000;
    for &model in Model::ALL {
        if let Err(why) = model.probe() {
            println!("skipped: {model}: {why}");
            continue;
        }
        let trace = trace(&["--model", model.name(), "--via", "copy", "--size", "300000"]);
        expect_complete(&trace, body);
        let calls = calls(&trace);
        let first = match model.name() {
            "blocking" | "nonblocking" => "recvfrom",
            "select" => "pselect6",
            "poll" => "ppoll",
            "signal" => "rt_sigtimedwait",
            "linux-aio" => "io_getevents",
            "uring" => "io_uring_enter",
            "posix-aio" => "read",
            _ => "epoll_pwait",
        };
        // With posix-aio a thread of glibc waits, and the order is random.
        let found = if model == Model::PosixAio {
            calls.iter().any(|call| call == first)
        } else {
            calls[0] == first
        };
        assert!(found, "{model}: {calls:?}");
        let copies = &trace["totals"]["copies"];
        assert_eq!(copies["file_to_user"], body, "{model}: {:#}", trace["totals"]);
    }
}

#[test]
fn every_via_makes_its_copies() {
    for transport in ["lo", "unix"] {
        for &via in Direction::FileToSocket.vias() {
            let trace = trace(&["--via", via.name(), "--transport", transport]);
            expect_complete(&trace, MIB);
            let copies = &trace["totals"]["copies"];
            let sum: u64 = ["file_to_user", "to_socket", "late"]
                .iter()
                .map(|name| copies[name].as_u64().unwrap())
                .sum();
            let head = trace["request"]["head"].as_u64().unwrap();
            let calls = calls(&trace).join(" ");
            // Data that did not fit in a full socket buffer is read again.
            let read = trace["totals"]["by_name"]["pread64"]["bytes"].as_u64().unwrap_or(0);
            let expected = match via {
                Via::Copy if read >= MIB => read + MIB + head,
                Via::Sendfile | Via::Splice => head,
                Via::Zerocopy if !calls.contains("ZEROCOPY") => continue,
                Via::Direct if !calls.contains("pread64") => continue,
                Via::Direct if copies["file_to_user"] != 0 => continue, // refused by the file system
                Via::Mmap | Via::Cow | Via::Zerocopy | Via::Direct => MIB + head,
                _ => continue,
            };
            assert_eq!(sum, expected, "{via} over {transport}: {copies}");
        }
    }
}

#[test]
fn disk_reads_run_on_worker_threads() {
    let trace = trace(&["--topology", "workers", "--via", "sendfile", "--cold"]);
    expect_complete(&trace, MIB);
    let servers =
        trace["threads"].as_array().unwrap().iter().filter(|one| one["receives"] == false);
    let names: Vec<_> = servers.map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("karez-work")), "{names:?}");
}

#[test]
fn given_file_is_requested_by_its_escaped_name() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = place.path().join("wasser & \"öl\" 100%.bin");
    fs::write(&path, vec![7; 12345]).unwrap();
    let path = path.to_str().unwrap();
    let trace = trace(&["--via", "sendfile", path]);
    expect_complete(&trace, 12345);
    assert_eq!(trace["request"]["pages"], 4);
    let refused = output(&[place.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(complaint.contains("not a file"), "{complaint}");
    for conflict in [["--cold"].as_slice(), &["--size", "1k"]] {
        assert_eq!(output(&[conflict, &[path]].concat()).status.code(), Some(2));
    }
}

#[test]
fn svg_is_well_formed_and_every_format_is_written() {
    let place = tempfile::tempdir().unwrap();
    let forms = ["t.svg", "t.json", "t.csv", "t.md"].map(|name| place.path().join(name));
    let [svg, json, csv, markdown] = forms.each_ref().map(|path| path.to_str().unwrap());
    let output = output(&[
        "--via",
        "copy",
        "--svg",
        svg,
        "--json",
        json,
        "--csv",
        csv,
        "--markdown",
        markdown,
    ]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["user space", "system call", "kernel", "receiver", "mode switches", "pread64 x "] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(csv), report["events"].as_array().unwrap().len() + 1, "a row an event");
    assert!(lines(markdown) > 10);
    let drawing = fs::read_to_string(svg).unwrap();
    expect_xml(&drawing);
    for word in ["viewBox", "fill=\"#d55e00\"", "prefers-color-scheme", "<title>"] {
        assert!(drawing.contains(word), "{word}");
    }
    for word in ["<script", "href", "url(", "var("] {
        assert!(!drawing.contains(word), "{word}");
    }
}

/// Checks the syntax with an XML parser, if there is one, and the nesting of the elements.
fn expect_xml(text: &str) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("it.svg");
    fs::write(&path, text).unwrap();
    let parse = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    match Command::new("python3").args(["-c", parse]).arg(&path).output() {
        Ok(parsed) => assert!(parsed.status.success(), "{parsed:?}"),
        Err(why) => println!("skipped: python3: {why}"),
    }
    let mut open = Vec::new();
    for tag in text.split('<').skip(1).map(|part| part.split_once('>').unwrap().0) {
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn trace_works_in_a_pid_namespace() {
    let unshare = ["--pid", "--fork", "--mount-proc"];
    let may = Command::new("unshare").args(unshare).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: no PID namespace may be made with unshare");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(unshare).args([KAREZ, "lab", "trace", "--via", "sendfile", "--json", "-"]);
    let trace = parse(&command.args(["--dir", env!("CARGO_TARGET_TMPDIR")]).output().unwrap());
    expect_complete(&trace, MIB);
    if is_seen(&trace) {
        let woken = &trace["totals"]["wake_ups"][0];
        let mut threads = trace["threads"].as_array().unwrap().iter();
        let thread = threads.find(|one| one["id"] == woken["thread"]).unwrap();
        assert_eq!(thread["receives"], false, "{woken}");
    }
}

#[test]
fn unprivileged_trace_reports_the_missing_tier() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can switch users");
        return;
    }
    let has_it = Command::new("setpriv").arg("--version").output();
    if !has_it.is_ok_and(|known| known.status.success()) {
        println!("skipped: no setpriv");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("karez");
    fs::copy(KAREZ, &program).unwrap();
    for (model, via) in [("epoll-edge", "sendfile"), ("blocking", "copy"), ("uring", "copy")] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command.args(["lab", "trace", "--model", model, "--via", via, "--json", "-", "--dir"]);
        let output = command.arg(place.path()).output().unwrap();
        if String::from_utf8_lossy(&output.stderr).contains("trace the server") {
            println!("skipped: tracing is not permitted");
            return;
        }
        let trace = parse(&output);
        expect_complete(&trace, MIB);
        assert_eq!(trace["tier"], "T0");
        assert!(trace["without_t1"].as_str().unwrap().contains("cap_bpf"), "{trace:#}");
        assert!(trace["totals"]["sent"].is_null() && trace["totals"]["disk"].is_null());
        assert_eq!(trace["totals"]["copies"]["inferred"], true);
        let copied = &trace["totals"]["copies"]["file_to_user"];
        assert_eq!(*copied, if via == "copy" { MIB } else { 0 });
        let notes = trace["notes"].to_string();
        assert!(notes.contains("ptrace"), "{notes}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "a file was left");
}
