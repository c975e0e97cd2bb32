//! `--explain`: what the server says of an answer is what a trace shows; without it nothing is
//! said, and nothing done.

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
use crate::cold::write_cold;
use crate::files::pattern;
use crate::patience::Patient;
use crate::server::{KAREZ, Server};
use crate::server_timing::{self, Metric};
use crate::strace::{Call, Traced, after, name};
use crate::ways::{self, Way};

const MIB: usize = 1 << 20;

const JSON: [&str; 3] = ["--explain", "--log", "json"];

/// A root with files old enough to be kept open, all of them in memory.
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

/// The lines of its access log.
struct Log(BufReader<Patient<std::process::ChildStdout>>);

impl Log {
    fn of(server: &mut Server) -> Self {
        Self(BufReader::new(Patient(server.stdout.take().unwrap())))
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

/// What `Server-Timing` says.
fn told(response: &Response) -> Vec<Metric> {
    server_timing::parse(response.field("server-timing").expect("every answer tells"))
}

fn metric<'a>(told: &'a [Metric], name: &str) -> Option<&'a Metric> {
    told.iter().find(|metric| metric.name == name)
}

/// `recvfrom 1, statx 1` as an object.
fn calls_of(told: &[Metric]) -> Value {
    let text = metric(told, "head-calls").unwrap().description.as_deref().unwrap();
    let calls = text.split(", ").filter(|call| *call != "-").map(|call| {
        let (name, count) = call.split_once(' ').unwrap();
        (name.to_owned(), json!(count.parse::<u64>().unwrap()))
    });
    Value::Object(calls.collect::<Map<_, _>>())
}

/// How the CPU time is called where it is all there is, and where others move the bytes.
fn cpu(way: Way) -> (&'static str, &'static str) {
    if way.model.completes() { ("head-own-cpu", "own_cpu_us") } else { ("head-cpu", "cpu_us") }
}

/// The via that moves a large file.
fn expected(way: Way) -> Via {
    match way.model.grants(way.via) {
        Via::Auto => Via::Sendfile,
        via => via,
    }
}

#[test]
fn every_way_tells_how_a_body_leaves_and_what_it_came_to() {
    let root = root();
    for way in ways::all() {
        let mut server = Server::start_with(way, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        for (target, size) in [("/large", MIB), ("/small", 1024)] {
            let response = client.get(target);
            assert!(response.body == pattern(size), "{way}");
            let via = if target == "/small" { Via::Copy } else { expected(way) };
            let (told, entry) = (told(&response), log.entry());
            assert_eq!(metric(&told, "via").unwrap().description.as_deref(), Some(via.name()));
            let cached = if via == Via::Direct { 0 } else { size };
            let cache = metric(&told, "cache").unwrap().description.clone();
            assert_eq!(cache, Some(format!("{cached} of {size}")), "{way}");
            let (in_head, in_log) = cpu(way);
            let until_head = metric(&told, in_head).unwrap().duration.unwrap();
            let whole = entry[in_log].as_u64().unwrap() as f64 / 1e3;
            assert!(0.0 < until_head && until_head < whole + 0.001, "{way}: {until_head}, {entry}");

            assert_eq!((&entry["via"], &entry["ran"]), (&json!(via.name()), &json!(via.name())));
            assert_eq!(entry["fallbacks"], json!([]), "{way}");
            assert_eq!(entry["cache"], json!({ "bytes": cached, "of": size }), "{way}");
            assert_eq!((&entry["bytes"], &entry["status"]), (&json!(size), &json!(200)));
            let copied = match via {
                Via::Sendfile | Via::Splice => "no",
                // Loopback copies in the end, and says so.
                _ => "yes",
            };
            assert_eq!(entry["copied"], copied, "{way}: {entry}");
            assert_eq!(entry.get("operations").is_some(), way.model.completes(), "{way}");
            // What was made up to the head was made.
            for (name, count) in calls_of(&told).as_object().unwrap() {
                assert!(entry["calls"][name].as_u64() >= count.as_u64(), "{way}: {name}, {entry}");
            }
            let calls = calls_of(&told);
            assert_eq!(calls["statx"], looks(&calls), "{way}: {told:?}");
            let received = u64::from(!way.model.completes());
            assert_eq!(entry["calls"]["recvfrom"].as_u64().unwrap_or(0), received, "{way}");
        }
    }
}

/// How many statx(2) go with these: a file that is held open is looked at once by its name; before
/// another is opened the root is looked at, and then the file.
fn looks(calls: &Value) -> u64 {
    1 + calls["openat2"].as_u64().unwrap_or(0)
}

#[test]
fn what_has_no_body_of_a_file_tells_of_its_head_alone() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        let tag = client.settled_tag("/large");
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
            assert_eq!(response.status, status, "{way}: {target}");
            let told = told(&response);
            let names: Vec<_> = told.iter().map(|metric| &metric.name[..]).collect();
            assert_eq!(names, ["head-calls", cpu(way).0], "{way}: {target}");
            let mut entry = log.entry();
            while entry["request"] != format!("{method} {target} HTTP/1.1") {
                entry = log.entry(); // what was asked before
            }
            assert_eq!((&entry["via"], &entry["ran"]), (&Value::Null, &Value::Null), "{way}");
            assert_eq!(entry["cache"], json!({ "bytes": 0, "of": 0 }), "{way}: {entry}");
            assert_eq!(entry["copied"], Value::Null, "{way}: {entry}");
            if target == "/" {
                // Its entries and an end; a look at each, at the directory and for an index.
                assert_eq!(entry["calls"]["getdents64"], 2, "{way}: {entry}");
                assert!(entry["calls"]["statx"].as_u64() >= Some(5), "{way}: {entry}");
            }
        }
        client.send("nonsense\r\n\r\n");
        let refused = client.response(false);
        assert_eq!((refused.status, told(&refused).len()), (400, 2), "{way}");
    }
}

#[test]
fn parts_and_pipelines_are_told_apart() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        // A part that is passed on, and one that rides along with its head.
        let fields = "Range: bytes=100-600099,1000000-1000009\r\n";
        let response = client.request("GET", "/large", fields);
        assert_eq!(response.status, 206, "{way}");
        let (said, entry) = (told(&response), log.entry());
        let via = expected(way).name();
        assert_eq!(metric(&said, "via").unwrap().description.as_deref(), Some(via), "{way}");
        let cache = metric(&said, "cache").unwrap().description.clone();
        assert_eq!(cache.as_deref(), Some("600010 of 600010"), "{way}");
        let both = if via == "copy" { "copy" } else { &format!("{via}+copy")[..] };
        assert_eq!(entry["ran"], both, "{way}: {entry}");
        assert_eq!(entry["cache"], json!({ "bytes": 600_010, "of": 600_010 }), "{way}");
        assert!(entry["bytes"].as_u64() > Some(600_010), "{way}: the heads of the parts count");

        // What one receive brought is the first one's.
        let one = "GET /small HTTP/1.1\r\nHost: test\r\n\r\n";
        client.send(one.repeat(3));
        let said: Vec<_> = (0..3).map(|_| told(&client.response(false))).collect();
        let entries: Vec<_> = (0..3).map(|_| log.entry()).collect();
        for (at, (said, entry)) in said.iter().zip(&entries).enumerate() {
            let received = u64::from(at == 0 && !way.model.completes());
            let in_head = calls_of(said)["recvfrom"].as_u64().unwrap_or(0);
            let in_all = entry["calls"]["recvfrom"].as_u64().unwrap_or(0);
            assert_eq!((in_head, in_all), (received, received), "{way}, {at}: {entry}");
            assert_eq!(entry["calls"]["statx"], looks(&entry["calls"]), "{way}, {at}: {entry}");
            let operations = if way.model.completes() { json!(2) } else { Value::Null };
            assert_eq!(entry["operations"], operations, "{way}: a read and a send");
        }
    }
}

/// A trace says nothing of how long a thread was busy, so that is all that is not compared.
#[test]
fn the_calls_are_those_of_a_trace() {
    let root = root();
    let requests = [
        ("GET", "/large", ""),
        ("GET", "/middle", ""),
        ("GET", "/small", ""),
        ("HEAD", "/small", ""),
        ("GET", "/missing", ""),
        ("GET", "/large", "Range: bytes=5-9,700000-700009\r\n"),
        ("GET", "/", ""),
    ];
    for way in ways::traced().filter(|way| way.topology == Topology::Single) {
        let started = Traced::start_serving(&[], way, root.path(), &JSON);
        let Some(mut traced) = started else { return };
        let (mut log, mut client) = (Log::of(&mut traced.server), traced.server.connect());
        let mut said = Vec::new();
        for (number, (method, target, fields)) in requests.iter().enumerate() {
            client.request(method, &format!("{target}?{number}"), fields);
            said.push(log.entry());
        }
        client.get("/small?end");
        let calls = traced.end().1;
        // The thread of a connection has another make a listing, as of all that may wait for a disk.
        let elsewhere = usize::from(way.model == Model::Blocking);
        for (number, said) in said.iter().enumerate().take(requests.len() - elsewhere) {
            let begin = after(&calls, &format!("?{number} "));
            let next = if number + 1 < requests.len() {
                format!("?{} ", number + 1)
            } else {
                "?end ".to_owned()
            };
            let end = after(begin, &next).len();
            let seen = counted(&begin[..begin.len() - end]);
            assert_eq!(json!(seen), said["calls"], "{way}: {said}");
        }
    }
}

/// The calls of the thread that made the first of these, by the names of the server, without those
/// that it says it does not count.
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
        // A lap of one who does not wait finds nothing, here and where a waker would be.
        "recvfrom" | "read" => !call.contains("EAGAIN"),
        "setsockopt" => !call.contains("TIMEO"),
        "mmap" => !call.contains("MAP_ANONYMOUS"),
        "madvise" => !call.contains("MADV_DONTNEED"),
        // In a debug build each descriptor is looked at before it is closed.
        "fcntl" => !call.contains("F_GETFD"),
        // In topology single nobody else asks what is in memory.
        name => !WAITING.contains(&name) && !OF_THE_PROGRAM.contains(&name) && !explains(call),
    }
}

/// Waiting, what prepares it, what wakes others, and looking who is at the door.
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

/// Letting go, and what the allocator and the standard library do for themselves.
const OF_THE_PROGRAM: [&str; 6] = ["close", "munmap", "brk", "mprotect", "mremap", "getrandom"];

/// Whether the call is one that is made to explain. strace before 6.6 knows no cachestat(2).
fn explains(call: &Call) -> bool {
    matches!(name(call), "clock_gettime" | "cachestat" | "syscall_0x1c3")
}

#[test]
fn without_it_nothing_is_said_and_nothing_done() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "json"]);
        let mut log = Log::of(&mut server);
        assert_eq!(server.get("/large").field("server-timing"), None, "{way}");
        let entry = log.entry();
        let names: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        let usual = ["bytes", "peer", "referer", "request", "seconds", "status", "time"];
        assert_eq!(names[..7], usual, "{way}");
        assert_eq!(names[7..], ["user_agent"], "{way}");
    }
    for way in ways::traced().filter(|way| way.topology == Topology::Single) {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        let mut client = traced.server.connect();
        client.get("/large?first");
        client.get("/small");
        let calls = traced.end().1;
        let asked: Vec<_> = after(&calls, "?first").iter().filter(|call| explains(call)).collect();
        assert!(asked.is_empty(), "{way}: {asked:?}");
    }
}

#[test]
fn what_is_on_a_disk_only_is_told() {
    // Not a temporary directory: tmpfs has no cold files.
    let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let size = 3 << 20;
    let path = root.path().join("cold");
    let vias = Direction::FileToSocket.vias().iter().filter(|&&via| via != Via::Direct);
    for (topology, &via) in
        vias.flat_map(|via| [Topology::Single, Topology::Workers].map(|topology| (topology, via)))
    {
        let way = Way { model: Model::EpollEdge, topology, via };
        let mut server = Server::start_with(way, root.path(), &JSON);
        let mut log = Log::of(&mut server);
        write_cold(&path, size);
        if karez_sys::cached_pages(File::open(&path).unwrap().as_fd(), 0..1).is_err() {
            println!("skipped: this kernel does not tell what is in memory");
            return;
        }
        for cached in [0, size] {
            let response = server.get("/cold");
            assert!(response.body == pattern(size), "{way}");
            let told = told(&response);
            let cache = metric(&told, "cache").unwrap().description.clone();
            assert_eq!(cache, Some(format!("{cached} of {size}")), "{way}");
            let entry = log.entry();
            assert_eq!(entry["cache"], json!({ "bytes": cached, "of": size }), "{way}: {entry}");
            // A worker has read it, and that is on the account, too. `copy` without one does so.
            let read = entry["calls"]["pread64"].as_u64().unwrap_or(0);
            if topology == Topology::Workers {
                assert_eq!(read > 0, cached == 0, "{way}: {entry}");
            }
        }
    }
}

#[test]
fn a_via_that_is_refused_is_told_with_the_one_that_ran() {
    let root = root();
    let way = Way { model: Model::EpollEdge, topology: Topology::Single, via: Via::Splice };
    let flags = ["-e", "inject=splice:error=EINVAL"];
    let Some(mut traced) = Traced::start_serving(&flags, way, root.path(), &JSON) else { return };
    let mut log = Log::of(&mut traced.server);
    let response = traced.server.get("/large");
    assert!(response.body == pattern(MIB));
    let told = told(&response);
    assert_eq!(metric(&told, "via").unwrap().description.as_deref(), Some("splice"));
    let entry = log.entry();
    let next = Via::Splice.fallback().unwrap().name();
    assert_eq!((&entry["via"], &entry["ran"]), (&json!("splice"), &json!(next)));
    assert_eq!(entry["fallbacks"], json!([{ "from": "splice", "errno": 22, "after": 0 }]));
    traced.end();
}

#[test]
fn an_answer_that_ended_early_tells_as_far_as_it_came() {
    let root = root();
    let size = 64 << 20;
    fs::write(root.path().join("long"), pattern(size)).unwrap();
    for way in ways::all().filter(|way| way.via != Via::Direct) {
        let mut server = Server::start_with(way, root.path(), &JSON);
        let (mut log, mut client) = (Log::of(&mut server), server.connect());
        client.begin("/long");
        client.take(MIB);
        drop(client);
        let entry = log.entry();
        let of = entry["cache"]["of"].as_u64().unwrap();
        assert!((MIB as u64..size as u64).contains(&of), "{way}: {entry}");
        assert_eq!(entry["cache"]["bytes"], of, "{way}: {entry}");
        assert_eq!((&entry["bytes"], entry["ran"].is_string()), (&json!(of), true), "{way}");
    }
}

#[test]
fn lines_of_text_have_the_same_at_their_end() {
    let root = root();
    for way in ways::some() {
        for form in ["common", "combined"] {
            let mut server = Server::start_with(way, root.path(), &["--explain", "--log", form]);
            let (mut log, mut client) = (Log::of(&mut server), server.connect());
            client.get("/large");
            let line = log.line();
            let agent = if form == "combined" { r#" "-" "-""# } else { "" };
            let begin = format!("\"GET /large HTTP/1.1\" 200 {MIB}{agent} via=");
            let at = line.find(&begin).unwrap_or_else(|| panic!("{way}: {line}"));
            let words = line[at + begin.len() - 4..].trim_end().split(' ');
            let words: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            let mut wanted = vec!["via", "ran", "copied", "cache", "calls", "by-name"];
            wanted.extend(if way.model.completes() {
                &["operations", "own-cpu-us"][..]
            } else {
                &["cpu-us"]
            });
            assert_eq!(names, wanted, "{way}: {line}");
            let by_name = words[5].1.split(',').map(|call| call.split_once(':').unwrap().1);
            let total: u64 = by_name.map(|count| count.parse::<u64>().unwrap()).sum();
            assert_eq!(words[4].1, total.to_string(), "{way}: {line}");
            assert_eq!(words[3].1, format!("{MIB}/{MIB}"), "{way}: {line}");
        }
    }
}

#[test]
fn it_needs_no_log() {
    let root = root();
    for way in ways::some().filter(|way| !way.model.completes()) {
        let server = Server::start_with(way, root.path(), &["--explain", "--log", "off"]);
        let mut client = server.connect();
        for _ in 0..3 {
            let told = told(&client.get("/small"));
            assert_eq!(calls_of(&told)["recvfrom"], 1, "{way}: each has an account of its own");
        }
    }
}

#[test]
fn help_man_page_and_completions_know_it() {
    for words in [&["serve", "--help"][..], &["man", "serve"], &["completions", "bash"]] {
        let output = Command::new(KAREZ).args(words).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // roff has its own hyphen.
        assert!(said.contains("explain"), "{words:?}: {said}");
    }
}

/// One who reads slowly shares a thread with one who is quick: what is done for the one is not on
/// the account of the other.
#[test]
fn accounts_of_connections_that_share_a_thread_are_kept_apart() {
    const QUICK: usize = 50;
    let root = root();
    fs::write(root.path().join("long"), pattern(64 << 20)).unwrap();
    let way = Way { model: Model::EpollEdge, topology: Topology::Single, via: Via::Sendfile };
    let mut server = Server::start_with(way, root.path(), &JSON);
    let (mut log, mut slow, mut quick) = (Log::of(&mut server), server.connect(), server.connect());
    quick.get("/small"); // from now on it is held open
    log.entry();
    slow.begin("/long");
    for _ in 0..QUICK {
        slow.take(MIB);
        quick.get("/small");
        let calls = json!({ "recvfrom": 1, "statx": 1, "pread64": 1, "sendto": 1 });
        assert_eq!(log.entry()["calls"], calls);
    }
    slow.take((64 << 20) - QUICK * MIB);
    let entry = log.entry();
    assert_eq!(entry["bytes"], 64 << 20);
    assert_eq!(entry["calls"]["recvfrom"], 1);
    assert!(entry["calls"]["sendfile"].as_u64() >= Some(64), "{entry}");
    assert_eq!(entry["calls"].get("pread64"), None, "{entry}");
}
