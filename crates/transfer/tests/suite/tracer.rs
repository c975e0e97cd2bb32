//! A child of this test under strace(1): to see its calls, or to make them fail.
//!
//! The child runs each transfer in its own thread, because strace counts `when=` by thread, and
//! marks its beginning and its end by an otherwise unused call.

use karez_transfer::{CachePolicy, Direction, Edit, Progress, Reason, Report, Via};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, io, thread};

use crate::case::{Case, Transport};
use crate::random::{Random, pattern};
use crate::stage::{DISK, Plan, Stage};

/// The bytes of each transfer of the child, in chunks of [`CHUNK`].
pub const LEN: usize = 300_000;
pub const CHUNK: u32 = 64 << 10;

/// Reads that the thread makes before it begins, so that a `when=` beyond them spares the loader,
/// which reads libraries.
pub const SPARED: usize = 30;

/// The result of one transfer of the child.
#[derive(Debug)]
pub struct Traced {
    pub case: Case,
    /// How it ended; whether every byte arrived.
    pub ended: String,
    pub exact: bool,
    pub effective: Via,
    pub bytes: u64,
    /// The errors, each with the bytes moved before; the transfer was stepped again.
    pub errors: Vec<(Errno, u64)>,
    pub fallbacks: Vec<(Via, Errno, u64)>,
    pub calls: HashMap<String, u64>,
    /// Its calls in the trace.
    pub trace: Vec<String>,
}

impl Traced {
    /// Where the first call that was made to fail stands.
    pub fn injected(&self) -> Option<usize> {
        self.trace.iter().position(|call| call.contains("(INJECTED)"))
    }

    /// How many bytes the calls of the trace before `end` moved to the sink.
    pub fn arrived(&self, end: usize) -> u64 {
        let pipe = self.trace.iter().find(|call| name_of(call) == "pipe2");
        let pipe = pipe.map_or("none", |call| call[7..].split(',').next().unwrap());
        let out_of_pipe = format!("splice({pipe},");
        let moved = |call: &&String| match name_of(call) {
            "sendto" | "sendfile" | "pwrite64" | "copy_file_range" | "ioctl" => true,
            "splice" => call.starts_with(&out_of_pipe),
            _ => false,
        };
        self.trace[..end].iter().filter(moved).map(|call| returned(call)).sum()
    }
}

pub fn name_of(call: &str) -> &str {
    call.split('(').next().unwrap()
}

fn returned(call: &str) -> u64 {
    let result = call.rsplit(" = ").next().unwrap().split_whitespace().next().unwrap();
    result.parse().unwrap_or(0)
}

/// Runs `cases` under strace with these flags; `None`, and why, where it is missing or may not.
pub fn trace(cases: &[Case], cache: CachePolicy, flags: &[&str]) -> Option<Vec<Traced>> {
    trace_of(None, cases, cache, flags)
}

/// The same, where the source is a file that has a name, which `-P` wants.
pub fn trace_of(
    source: Option<&Path>,
    cases: &[Case],
    cache: CachePolicy,
    flags: &[&str],
) -> Option<Vec<Traced>> {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!("skipped: strace is missing or may not trace");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("trace");
    let wanted: Vec<_> = cases.iter().map(written).collect();
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-qq", "-s", "8", "-o"]).arg(&output).args(flags);
    strace.arg(env::current_exe().unwrap());
    strace.args(["--exact", "tracer::child", "--ignored", "--nocapture", "--test-threads=1"]);
    strace.env("KAREZ_CASES", wanted.join(";")).env("KAREZ_CACHE", cache.name());
    strace.envs(source.map(|path| ("KAREZ_SOURCE", path)));
    let out = strace.output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let text = fs::read_to_string(&output).unwrap_or_default();
    let mut calls = by_thread(&text);
    let told: Vec<_> = said.lines().filter_map(|line| line.split_once("traced ")).collect();
    let wrong = String::from_utf8_lossy(&out.stderr);
    assert_eq!(told.len(), cases.len(), "{flags:?}: {said}{wrong}");
    Some(told.iter().zip(cases).map(|(line, &case)| read(line.1, case, &mut calls)).collect())
}

fn written(case: &Case) -> String {
    let Case { direction, via, transport, .. } = case;
    format!("{direction} {via} {transport:?}")
}

/// The calls of each thread between the marks; one that another interrupted stands on two lines.
fn by_thread(trace: &str) -> HashMap<String, Vec<String>> {
    let mut open: HashMap<&str, String> = HashMap::new();
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let call = if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.insert(thread, begun.to_owned());
            continue;
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            open.remove(thread).unwrap_or_default() + rest
        } else {
            call.to_owned()
        };
        let calls = all.entry(thread.to_owned()).or_default();
        if call.contains("\"/karez/") {
            calls.push("mark".to_owned());
        } else {
            calls.push(call);
        }
    }
    for calls in all.values_mut() {
        let marks: Vec<_> = (0..calls.len()).filter(|&at| calls[at] == "mark").collect();
        if let [begin, .., end] = marks[..] {
            *calls = calls[begin + 1..end].to_vec();
        }
    }
    all
}

fn read(line: &str, case: Case, calls: &mut HashMap<String, Vec<String>>) -> Traced {
    let mut fields = line.split(' ');
    let mut next = || fields.next().unwrap();
    let thread = next();
    let errno = |number: &str| Errno::from_raw_os_error(number.parse().unwrap());
    let list = |text: &str| -> Vec<Vec<String>> {
        let items = text.split(',').filter(|item| !item.is_empty());
        items.map(|item| item.split(':').map(str::to_owned).collect()).collect()
    };
    Traced {
        case,
        trace: calls.remove(thread).unwrap_or_default(),
        ended: next().to_owned(),
        exact: next() == "true",
        effective: next().parse().unwrap(),
        bytes: next().parse().unwrap(),
        errors: list(&next()[1..])
            .iter()
            .map(|error| (errno(&error[0]), error[1].parse().unwrap()))
            .collect(),
        fallbacks: list(&next()[1..])
            .iter()
            .map(|fall| (fall[0].parse().unwrap(), errno(&fall[1]), fall[2].parse().unwrap()))
            .collect(),
        calls: list(&next()[1..])
            .iter()
            .map(|call| (call[0].clone(), call[1].parse().unwrap()))
            .collect(),
    }
}

/// The child: runs the transfers that the environment names.
#[test]
#[ignore = "the other tests run it under strace"]
fn child() {
    let Ok(cases) = env::var("KAREZ_CASES") else {
        println!("skipped: it is for the other tests");
        return;
    };
    for case in cases.split(';') {
        let words: Vec<_> = case.split(' ').collect();
        let direction = Direction::ALL.iter().find(|direction| direction.name() == words[0]);
        let transport = Transport::ALL.into_iter().find(|way| format!("{way:?}") == words[2]);
        let via = words[1].parse().unwrap();
        let case = Case::new(*direction.unwrap(), via, transport.unwrap(), true);
        thread::spawn(move || run(case)).join().unwrap();
    }
}

fn run(case: Case) {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let content = pattern(LEN, 77);
    let mut plan = Plan::new(case, content.clone());
    plan.settings.chunk = Some(CHUNK);
    plan.settings.cache = env::var("KAREZ_CACHE").unwrap().parse().unwrap();
    let mut expected = content.clone();
    if case.via == Via::Cow {
        let edits = [(10, 5), (70_000, 9000), (290_000, 1)];
        for (offset, length) in edits {
            expected[offset..offset + length].fill(b'#');
        }
        let edit =
            |(offset, length)| Edit { offset: offset as u64, bytes: vec![b'#'; length].into() };
        plan.edits = Some(edits.map(edit).into());
    }
    let (sink, source) = (tempfile::tempfile_in(DISK).unwrap(), source(&content));
    spare(&source);
    let mut errors = String::new();
    let outcome = plan.between(Arc::new(source), Arc::new(sink)).run_with(
        &mut Random::of(1),
        |stage, chance| {
            let _mark = access("/karez/begins", Access::EXISTS);
            let end = stubborn(stage, chance, &mut errors);
            let _mark = access("/karez/ends", Access::EXISTS);
            end
        },
    );
    let ended = match &outcome.end {
        Ok(end) => format!("{end:?}").replace(' ', ""),
        Err(error) => format!("{:?}", error.kind()),
    };
    let Report { effective, bytes, fallbacks, calls, .. } = &outcome.report;
    let exact = outcome.received == expected;
    let fall = |f: &karez_transfer::Fallback| {
        // A reason without an errno is encoded as one that no other reason has here.
        let other = if f.reason == Reason::EarlyEnd { Errno::NODATA } else { Errno::OPNOTSUPP };
        let errno = f.errno().unwrap_or(other);
        format!("{}:{}:{}", f.from, errno.raw_os_error(), f.after)
    };
    let fallbacks: Vec<_> = fallbacks.iter().map(fall).collect();
    let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name}:{count}")).collect();
    let (fallbacks, calls) = (fallbacks.join(","), calls.join(","));
    println!(
        "\ntraced {thread} {ended} {exact} {effective} {bytes} ={errors} ={fallbacks} ={calls}"
    );
}

fn source(content: &[u8]) -> File {
    let named = env::var("KAREZ_SOURCE").ok();
    let file = named.map_or_else(
        || tempfile::tempfile_in(DISK),
        |path| File::options().read(true).write(true).open(path),
    );
    let mut file = file.unwrap();
    // By write(2), which is never made to fail.
    file.write_all(content).unwrap();
    file
}

/// Makes the reads of [`SPARED`].
pub fn spare(file: &File) {
    for _ in 0..SPARED {
        let _may_fail = rustix::io::pread(file, &mut [0; 1], 0);
    }
}

/// Records an error and steps again: an injected failure does not recur.
fn stubborn(stage: &mut Stage, chance: &mut Random, errors: &mut String) -> io::Result<Progress> {
    for _ in 0..5 {
        match nudged(stage, chance) {
            Err(error) => {
                let errno = error.raw_os_error().unwrap();
                let comma = if errors.is_empty() { "" } else { "," };
                *errors += &format!("{comma}{errno}:{}", stage.moving.report().bytes);
            }
            end => return end,
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}

/// EAGAIN of a blocking socket is injected.
fn nudged(stage: &mut Stage, chance: &mut Random) -> io::Result<Progress> {
    loop {
        match stage.step()? {
            Progress::Moved(_) | Progress::NeedsReadable | Progress::NeedsWritable => {}
            Progress::NeedsZerocopyCompletion => return stage.drive(chance),
            end => return Ok(end),
        }
    }
}
