//! `--explain`: the reported costs match a trace; without the flag nothing is reported or measured.

use karez_reactor::{Model, Topology};
use karez_transfer::{Direction, Via};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::client::Response;
use crate::cold_files::write_cold;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::{KAREZ, Server};
use crate::server_timing::{self, Metric};
use crate::strace::{Call, Traced, after, name};
use crate::timeouts::TimedReader;

const MIB: usize = 1 << 20;

const JSON: [&str; 3] = ["--explain", "--log", "json"];

/// A root with files old enough to be kept open, all in the page cache.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for (name, size) in [("small", 1024), ("middle", 100_000), ("large", MIB), ("empty", 0)] {
        let path = root.path().join(name);
        fs::write(&path, pattern(size)).unwrap();
        File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    root
}

/// The lines of the access log.
struct Log(BufReader<TimedReader<std::process::ChildStdout>>);

impl Log {
    fn of(server: &mut Server) -> Self {
        Self(BufReader::new(TimedReader(server.stdout.take().unwrap())))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn entry(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

/// Parses the `Server-Timing` field.
fn parse_metrics(response: &Response) -> Vec<Metric> {
    server_timing::parse(response.field("server-timing").expect("every answer tells"))
}

fn metric<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    metrics.iter().find(|metric| metric.name == name)
}

/// Parses `recvfrom 1, statx 1` into an object.
fn calls_in_head(metrics: &[Metric]) -> Value {
    let text = metric(metrics, "head-calls").unwrap().description.as_deref().unwrap();
    let calls = text.split(", ").filter(|call| *call != "-").map(|call| {
        let (name, count) = call.split_once(' ').unwrap();
        (name.to_owned(), json!(count.parse::<u64>().unwrap()))
    });
    Value::Object(calls.collect::<Map<_, _>>())
}

/// Returns the names of the CPU time in `Server-Timing` and in the log. On completion models other
/// threads move the bytes, so the names say that it is the reactor's own time.
fn cpu(layout: Layout) -> (&'static str, &'static str) {
    if layout.model.is_completion() {
        ("head-own-cpu", "own_cpu_us")
    } else {
        ("head-cpu", "cpu_us")
    }
}

/// Returns the via that sends a large file.
fn expected(layout: Layout) -> Via {
    match layout.model.supported_via(layout.via) {
        Via::Auto => Via::Sendfile,
        via => via,
    }
}

#[test]
fn every_layout_reports_via_cache_and_calls() {
    let root = root();
    for layout in layouts::all_with_vias() {
        let mut server = Server::start_with(layout, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        for (target, size) in [("/large", MIB), ("/small", 1024)] {
            let response = client.get(target);
            assert!(response.body == pattern(size), "{layout}");
            let via = if target == "/small" { Via::Copy } else { expected(layout) };
            let (metrics, entry) = (parse_metrics(&response), log.entry());
            assert_eq!(metric(&metrics, "via").unwrap().description.as_deref(), Some(via.name()));
            let cached = if via == Via::Direct { 0 } else { size };
            let cache = metric(&metrics, "cache").unwrap().description.clone();
            assert_eq!(cache, Some(format!("{cached} of {size}")), "{layout}");
            let (in_head, in_log) = cpu(layout);
            let until_head = metric(&metrics, in_head).unwrap().duration.unwrap();
            let whole = entry[in_log].as_u64().unwrap() as f64 / 1e3;
            assert!(
                0.0 < until_head && until_head < whole + 0.001,
                "{layout}: {until_head}, {entry}"
            );

            assert_eq!((&entry["via"], &entry["ran"]), (&json!(via.name()), &json!(via.name())));
            assert_eq!(entry["fallbacks"], json!([]), "{layout}");
            assert_eq!(entry["cache"], json!({ "bytes": cached, "of": size }), "{layout}");
            assert_eq!((&entry["bytes"], &entry["status"]), (&json!(size), &json!(200)));
            let copied = match via {
                Via::Sendfile | Via::Splice => "no",
                // Loopback copies zero-copy data at the receiver, which is reported.
                _ => "yes",
            };
            assert_eq!(entry["copied"], copied, "{layout}: {entry}");
            assert_eq!(entry.get("operations").is_some(), layout.model.is_completion(), "{layout}");
            // Every call that was made before the head is in the totals, too.
            for (name, count) in calls_in_head(&metrics).as_object().unwrap() {
                assert!(
                    entry["calls"][name].as_u64() >= count.as_u64(),
                    "{layout}: {name}, {entry}"
                );
            }
            let calls = calls_in_head(&metrics);
            assert_eq!(calls["statx"], expected_statx(&calls), "{layout}: {metrics:?}");
            let received = u64::from(!layout.model.is_completion());
            assert_eq!(entry["calls"]["recvfrom"].as_u64().unwrap_or(0), received, "{layout}");
        }
    }
}

/// Returns the number of statx(2) that belong to these calls: a cached file is checked once by its
/// name; before another file is opened the root is checked, and then the file.
fn expected_statx(calls: &Value) -> u64 {
    1 + calls["openat2"].as_u64().unwrap_or(0)
}

#[test]
fn responses_without_a_file_body_report_the_head_only() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        let tag = client.wait_for_etag("/large");
        while log.entry()["request"] != "HEAD /large HTTP/1.1" {}
        let matching = format!("If-None-Match: {tag}\r\n");
        let requests = [
            ("GET", "/large?304", &matching[..], 304),
            ("HEAD", "/large?head", "", 200),
            ("GET", "/missing", "", 404),
            ("GET", "/large?416", "Range: bytes=9999999-\r\n", 416),
            ("OPTIONS", "/large?options", "", 204),
            ("POST", "/large?post", "Content-Length: 0\r\n", 405),
            ("GET", "/empty", "", 200),
            ("GET", "/", "", 200),
        ];
        for (method, target, fields, status) in requests {
            let response = client.request(method, target, fields);
            assert_eq!(response.status, status, "{layout}: {target}");
            let metrics = parse_metrics(&response);
            let names: Vec<_> = metrics.iter().map(|metric| &metric.name[..]).collect();
            assert_eq!(names, ["head-calls", cpu(layout).0], "{layout}: {target}");
            let mut entry = log.entry();
            while entry["request"] != format!("{method} {target} HTTP/1.1") {
                entry = log.entry(); // what was asked before
            }
            assert_eq!((&entry["via"], &entry["ran"]), (&Value::Null, &Value::Null), "{layout}");
            assert_eq!(entry["cache"], json!({ "bytes": 0, "of": 0 }), "{layout}: {entry}");
            assert_eq!(entry["copied"], Value::Null, "{layout}: {entry}");
            if target == "/" {
                // One getdents64 for the entries and one for the end; a statx for each entry, for
                // the directory and for its index.
                assert_eq!(entry["calls"]["getdents64"], 2, "{layout}: {entry}");
                assert!(entry["calls"]["statx"].as_u64() >= Some(5), "{layout}: {entry}");
            }
        }
        client.send("nonsense\r\n\r\n");
        let refused = client.response(false);
        assert_eq!((refused.status, parse_metrics(&refused).len()), (400, 2), "{layout}");
    }
}

#[test]
fn multipart_and_pipelined_responses_are_counted_separately() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        // One part sent by the via, and one inlined behind its head.
        let fields = "Range: bytes=100-600099,1000000-1000009\r\n";
        let response = client.request("GET", "/large", fields);
        assert_eq!(response.status, 206, "{layout}");
        let (metrics, entry) = (parse_metrics(&response), log.entry());
        let via = expected(layout).name();
        assert_eq!(metric(&metrics, "via").unwrap().description.as_deref(), Some(via), "{layout}");
        let cache = metric(&metrics, "cache").unwrap().description.clone();
        assert_eq!(cache.as_deref(), Some("600010 of 600010"), "{layout}");
        let both = if via == "copy" { "copy" } else { &format!("{via}+copy")[..] };
        assert_eq!(entry["ran"], both, "{layout}: {entry}");
        assert_eq!(entry["cache"], json!({ "bytes": 600_010, "of": 600_010 }), "{layout}");
        assert!(entry["bytes"].as_u64() > Some(600_010), "{layout}: the heads of the parts count");

        // A receive that reads several requests counts for the first.
        let one = "GET /small HTTP/1.1\r\nHost: test\r\n\r\n";
        client.send(one.repeat(3));
        let metrics: Vec<_> = (0..3).map(|_| parse_metrics(&client.response(false))).collect();
        let entries: Vec<_> = (0..3).map(|_| log.entry()).collect();
        for (at, (metrics, entry)) in metrics.iter().zip(&entries).enumerate() {
            let received = u64::from(at == 0 && !layout.model.is_completion());
            let in_head = calls_in_head(metrics)["recvfrom"].as_u64().unwrap_or(0);
            let in_all = entry["calls"]["recvfrom"].as_u64().unwrap_or(0);
            assert_eq!((in_head, in_all), (received, received), "{layout}, {at}: {entry}");
            // The third is watched, and its content in memory.
            let calls = |name: &str| entry["calls"][name].as_u64().unwrap_or(0);
            // A body that is read is verified, and so is a content that is read into memory.
            let reads = calls("pread64") + calls("preadv2");
            let read = u64::from(calls("ppoll") == 0);
            let kept = u64::from(reads > u64::from(!layout.model.is_completion()));
            let looks = 1 + calls("openat2") + read + kept;
            assert_eq!(calls("statx") + calls("ppoll"), looks, "{layout}, {at}: {entry}");
            let operations = match layout.model.is_completion() {
                true => json!(if calls("ppoll") > 0 { 1 } else { 2 }),
                false => Value::Null,
            };
            assert_eq!(entry["operations"], operations, "{layout}: a read and a send");
        }
    }
}

/// A trace does not contain CPU times, so these are not compared.
#[test]
fn reported_calls_match_a_trace() {
    let root = root();
    fs::hard_link(root.path().join("small"), root.path().join("small-too")).unwrap();
    fs::hard_link(root.path().join("large"), root.path().join("large-too")).unwrap();
    // Each name once, so that none is watched; then the same again, when all of them are.
    let once = [
        ("GET", "/large", ""),
        ("GET", "/middle", ""),
        ("GET", "/small", ""),
        ("HEAD", "/small-too", ""),
        ("GET", "/missing", ""),
        ("GET", "/large-too", "Range: bytes=5-9,700000-700009\r\n"),
        ("GET", "/", ""),
    ];
    let requests = [once, once].concat();
    // A change of the mount table, as other tests make, drops all watches.
    let (mut watched, mut watchable) = (0, 0);
    for layout in layouts::traced().filter(|layout| layout.topology == Topology::Single) {
        let started = Traced::start_serving(&[], layout, root.path(), &JSON);
        let Some(mut traced) = started else { return };
        let (mut log, mut client) = (Log::of(&mut traced.server), traced.server.connect());
        let mut entries = Vec::new();
        for (number, (method, target, fields)) in requests.iter().enumerate() {
            if number == once.len() {
                for (method, target, fields) in once {
                    client.request(method, &format!("{target}?watch"), fields);
                    log.entry();
                }
            }
            client.request(method, &format!("{target}?{number}"), fields);
            entries.push(log.entry());
        }
        client.get("/small?end");
        let calls = traced.end().1;
        // The thread of a connection submits listings to a worker, like everything that may block
        // on a disk.
        let elsewhere =
            |number: usize| layout.model == Model::Blocking && requests[number].1 == "/";
        for (number, entry) in entries.iter().enumerate().filter(|(number, _)| !elsewhere(*number))
        {
            let begin = after(&calls, &format!("?{number} "));
            let next = match number + 1 {
                next if next == once.len() => "?watch ".to_owned(),
                next if next == requests.len() => "?end ".to_owned(),
                next => format!("?{next} "),
            };
            let end = after(begin, &next).len();
            let seen = counted(&begin[..begin.len() - end]);
            assert_eq!(json!(seen), entry["calls"], "{layout}: {entry}");
            let file = requests[number].1 != "/";
            let may_be = layout.model != Model::Blocking && number >= once.len() && file;
            assert!(may_be || !seen.contains_key("ppoll"), "{layout}, {number}: {entry}");
            watched += usize::from(seen.contains_key("ppoll"));
            watchable += usize::from(may_be);
        }
    }
    assert!(2 * watched >= watchable, "{watched} of {watchable} responses came from watched files");
}

/// Returns the calls of the thread that made the first of these, under the names that the server
/// uses, without the kinds that are documented as not counted.
fn counted(calls: &[Call]) -> BTreeMap<&str, u64> {
    let mut seen = BTreeMap::new();
    for call in calls.iter().filter(|call| call.thread == calls[0].thread && counts(call)) {
        let name = if name(call) == "openat" { "open" } else { name(call) };
        *seen.entry(name).or_insert(0) += 1;
    }
    seen
}

fn counts(call: &Call) -> bool {
    match name(call) {
        // A busy-polling loop finds nothing, neither on sockets nor on a waker.
        "recvfrom" => !call.contains("EAGAIN"),
        // A waker: a start is complete when each event loop has been woken once.
        "read" => !call.contains("EAGAIN") && !call.contains(", 512)"),
        "setsockopt" => !call.contains("TIMEO"),
        "mmap" => !call.contains("MAP_ANONYMOUS"),
        "madvise" => !call.contains("MADV_DONTNEED"),
        // A debug build checks each descriptor before it closes it.
        "fcntl" => !call.contains("F_GETFD"),
        // The descriptors of the open-file cache are polled, and nothing waits for them.
        "ppoll" if call.contains("POLLIN}") && call.contains("POLLPRI") => true,
        // Once a second the mount table is looked at.
        "readlinkat" => false,
        // In topology single, cachestat is only called to explain.
        name => !WAITING.contains(&name) && !OF_THE_PROGRAM.contains(&name) && !explains(call),
    }
}

/// Calls that wait, prepare waiting or wake other threads, and accept.
const WAITING: [&str; 12] = [
    "epoll_pwait",
    "epoll_ctl",
    "poll",
    "ppoll",
    "pselect6",
    "rt_sigtimedwait",
    "io_getevents",
    "io_submit",
    "sched_yield",
    "futex",
    "accept4",
    "ioctl",
];

/// Closing, and calls of the allocator and the standard library.
const OF_THE_PROGRAM: [&str; 6] = ["close", "munmap", "brk", "mprotect", "mremap", "getrandom"];

/// Returns whether the call is only made to explain. strace before 6.6 does not know cachestat(2).
fn explains(call: &Call) -> bool {
    matches!(name(call), "clock_gettime" | "cachestat" | "syscall_0x1c3")
}

#[test]
fn without_explain_nothing_is_reported_or_measured() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "json"]);
        let mut log = Log::of(&mut server);
        assert_eq!(server.get("/large").field("server-timing"), None, "{layout}");
        let entry = log.entry();
        let names: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        let head = ["bytes", "head_seconds", "host", "peer", "protocol", "referer", "request"];
        let tail = ["seconds", "status", "time", "user_agent", "via"];
        assert_eq!(names, [&head[..], &tail].concat(), "{layout}");
    }
    for layout in layouts::traced().filter(|layout| layout.topology == Topology::Single) {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        let mut client = traced.server.connect();
        client.get("/large?first");
        client.get("/small");
        let calls = traced.end().1;
        let asked: Vec<_> = after(&calls, "?first").iter().filter(|call| explains(call)).collect();
        assert!(asked.is_empty(), "{layout}: {asked:?}");
    }
}

#[test]
fn cold_bytes_are_reported() {
    // In the source tree: tmpfs has no cold files.
    let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let size = 3 << 20;
    let path = root.path().join("cold");
    let vias = Direction::FileToSocket.vias().iter().filter(|&&via| via != Via::Direct);
    for (topology, &via) in
        vias.flat_map(|via| [Topology::Single, Topology::Workers].map(|topology| (topology, via)))
    {
        let layout = Layout { model: Model::EpollEdge, topology, via };
        let mut server = Server::start_with(layout, root.path(), &JSON);
        let mut log = Log::of(&mut server);
        write_cold(&path, size);
        if karez_sys::cached_pages(File::open(&path).unwrap().as_fd(), 0..1).is_err() {
            println!("skipped: this kernel does not tell what is in memory");
            return;
        }
        for cached in [0, size] {
            let response = server.get("/cold");
            assert!(response.body == pattern(size), "{layout}");
            let metrics = parse_metrics(&response);
            let cache = metric(&metrics, "cache").unwrap().description.clone();
            assert_eq!(cache, Some(format!("{cached} of {size}")), "{layout}");
            let entry = log.entry();
            assert_eq!(entry["cache"], json!({ "bytes": cached, "of": size }), "{layout}: {entry}");
            // A worker thread has read the pages, which is counted, too. `copy` reads without a
            // worker.
            let read = entry["calls"]["pread64"].as_u64().unwrap_or(0);
            if topology == Topology::Workers {
                assert_eq!(read > 0, cached == 0, "{layout}: {entry}");
            }
        }
    }
}

#[test]
fn requested_and_effective_via_are_reported() {
    let root = root();
    let layout = Layout { model: Model::EpollEdge, topology: Topology::Single, via: Via::Splice };
    let flags = ["-e", "inject=splice:error=EINVAL"];
    let Some(mut traced) = Traced::start_serving(&flags, layout, root.path(), &JSON) else {
        return;
    };
    let mut log = Log::of(&mut traced.server);
    let response = traced.server.get("/large");
    assert!(response.body == pattern(MIB));
    let metrics = parse_metrics(&response);
    assert_eq!(metric(&metrics, "via").unwrap().description.as_deref(), Some("splice"));
    let entry = log.entry();
    let next = Via::Splice.fallback().unwrap().name();
    assert_eq!((&entry["via"], &entry["ran"]), (&json!("splice"), &json!(next)));
    assert_eq!(entry["fallbacks"], json!([{ "from": "splice", "errno": 22, "after": 0 }]));
    traced.end();
}

#[test]
fn aborted_response_reports_the_bytes_sent() {
    let root = root();
    let size = 64 << 20;
    fs::write(root.path().join("long"), pattern(size)).unwrap();
    for layout in layouts::all_with_vias().filter(|layout| layout.via != Via::Direct) {
        let mut server = Server::start_with(layout, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        client.start_get("/long");
        client.read_body(MIB);
        drop(client);
        let entry = log.entry();
        let of = entry["cache"]["of"].as_u64().unwrap();
        assert!((MIB as u64..size as u64).contains(&of), "{layout}: {entry}");
        assert_eq!(entry["cache"]["bytes"], of, "{layout}: {entry}");
        assert_eq!((&entry["bytes"], entry["ran"].is_string()), (&json!(of), true), "{layout}");
    }
}

#[test]
fn text_log_lines_end_with_the_same_fields() {
    let root = root();
    for layout in layouts::sample() {
        for form in ["common", "combined"] {
            let mut server = Server::start_with(layout, root.path(), &["--explain", "--log", form]);
            let (mut log, mut client) = (Log::of(&mut server), server.connect());
            client.get("/large");
            let line = log.line();
            let agent = if form == "combined" { r#" "-" "-""# } else { "" };
            let begin = format!("\"GET /large HTTP/1.1\" 200 {MIB}{agent} via=");
            let at = line.find(&begin).unwrap_or_else(|| panic!("{layout}: {line}"));
            let words = line[at + begin.len() - 4..].trim_end().split(' ');
            let words: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            let mut wanted = vec!["via", "ran", "copied", "cache", "calls", "by-name"];
            wanted.extend(if layout.model.is_completion() {
                &["operations", "own-cpu-us"][..]
            } else {
                &["cpu-us"]
            });
            assert_eq!(names, wanted, "{layout}: {line}");
            let by_name = words[5].1.split(',').map(|call| call.split_once(':').unwrap().1);
            let total: u64 = by_name.map(|count| count.parse::<u64>().unwrap()).sum();
            assert_eq!(words[4].1, total.to_string(), "{layout}: {line}");
            assert_eq!(words[3].1, format!("{MIB}/{MIB}"), "{layout}: {line}");
        }
    }
}

#[test]
fn explain_works_without_a_log() {
    let root = root();
    for layout in layouts::sample().filter(|layout| !layout.model.is_completion()) {
        let server = Server::start_with(layout, root.path(), &["--explain", "--log", "off"]);
        let mut client = server.connect();
        for _ in 0..3 {
            let metrics = parse_metrics(&client.get("/small"));
            assert_eq!(calls_in_head(&metrics)["recvfrom"], 1, "{layout}: costs are per request");
        }
    }
}

#[test]
fn help_man_page_and_completions_list_explain() {
    for words in [&["serve", "--help"][..], &["man", "serve"], &["completions", "bash"]] {
        let output = Command::new(KAREZ).args(words).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        // roff escapes hyphens.
        assert!(printed.contains("explain"), "{words:?}: {printed}");
    }
}

/// A slow and a fast connection share a thread: the work for one is not counted for the other.
#[test]
fn costs_are_per_connection_on_a_shared_thread() {
    const QUICK: usize = 50;
    let root = root();
    fs::write(root.path().join("long"), pattern(64 << 20)).unwrap();
    let layout = Layout { model: Model::EpollEdge, topology: Topology::Single, via: Via::Sendfile };
    let mut server = Server::start_with(layout, root.path(), &JSON);
    let (mut log, mut slow, mut quick) = (Log::of(&mut server), server.connect(), server.connect());
    for _ in 0..2 {
        quick.get("/small"); // from now on it is watched
        log.entry();
    }
    slow.start_get("/long");
    for _ in 0..QUICK {
        slow.read_body(MIB);
        quick.get("/small");
        let mut made = log.entry()["calls"].as_object().unwrap().clone();
        // Once a second the file is verified, and other processes may change a watched directory.
        made.retain(|name, _| !["statx", "preadv2", "pread64", "read"].contains(&&**name));
        let calls = json!({ "recvfrom": 1, "ppoll": 1, "sendto": 1 });
        assert_eq!(Value::Object(made), calls);
    }
    slow.read_body((64 << 20) - QUICK * MIB);
    let entry = log.entry();
    assert_eq!(entry["bytes"], 64 << 20);
    assert_eq!(entry["calls"]["recvfrom"], 1);
    assert!(entry["calls"]["sendfile"].as_u64() >= Some(64), "{entry}");
    assert_eq!(entry["calls"].get("pread64"), None, "{entry}");
}
