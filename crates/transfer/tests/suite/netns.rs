//! Two network namespaces and a veth(4) pair between them: a link with segments of its own size,
//! which loopback is not. Two processes of this test live in them, and when they are gone, so is
//! all the rest.

use karez_transfer::{Direction, Progress};
use rustix::io::ioctl_fionbio;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio, exit};
use std::sync::Arc;
use std::{env, thread};

use crate::case::{Case, Transport, assert_report};
use crate::exact::SIZES;
use crate::random::{Random, pattern};
use crate::stage::{DISK, Plan};

/// The purpose of a connection.
const DRAIN: u8 = b'd';
const FEED: u8 = b'f';

#[test]
fn between_two_network_namespaces() {
    let links = || fs::read_dir("/sys/class/net").map(Iterator::count).unwrap_or(0);
    let before = links();
    // In a user namespace root has no rights to files of other users.
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let make = ["ip", "link", "add", "karez0", "type", "veth", "peer", "name", "karez1"];
    let permitted = |way: &&&[&str]| {
        let mut probe = Command::new("unshare");
        probe.args(**way).args(make).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let Some(way) = ways.iter().find(permitted) else {
        println!("skipped: unshare or ip is missing, or may not make a network namespace and veth");
        return;
    };
    let out =
        this_test("near", way).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(links(), before, "a link is left");
}

/// This test once more, in namespaces of its own.
fn this_test(name: &str, way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("netns::{name}"), "--ignored", "--nocapture"]);
    command.env("KAREZ_NETNS", name);
    command
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}

/// Reads the output of the other process up to this line.
fn said(lines: &mut impl BufRead, wanted: &str) -> String {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some((_, rest)) = line.split_once(wanted) {
            return rest.trim().to_owned();
        }
        line.clear();
    }
    panic!("the other side never said {wanted}");
}

#[test]
#[ignore = "another test runs it in a namespace"]
fn near() {
    if env::var("KAREZ_NETNS").as_deref() != Ok("near") {
        println!("skipped: it is for another test");
        return;
    }
    let mut far = this_test("far", &["--net"]);
    let mut far = far.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(far.stdout.take().unwrap());
    said(&mut lines, "far is there");
    ip(&format!("link add karez0 type veth peer name karez1 netns {}", far.id()));
    ip("addr add 10.77.0.1/24 dev karez0");
    ip("link set karez0 up");
    far.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
    let address = said(&mut lines, "far listens at ");
    for case in Case::all() {
        if case.transport == Transport::Tcp && case.direction != Direction::FileToFile {
            for size in SIZES {
                across(case, size, 0, &address);
            }
            across(case, 100_000, (4 << 30) - 50_000, &address);
        }
    }
    end(far);
}

/// The other process ends with its standard input.
fn end(mut far: Child) {
    drop(far.stdin.take());
    far.wait().unwrap();
}

fn connect(address: &str, purpose: u8, size: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = vec![purpose];
    head.extend_from_slice(&(size as u64).to_ne_bytes());
    stream.write_all(&head).unwrap();
    stream
}

fn across(case: Case, size: usize, at: u64, address: &str) {
    let content = pattern(size, size as u64);
    let source = tempfile::tempfile_in(DISK).unwrap();
    source.write_all_at(&content, at).unwrap();
    let sink = tempfile::tempfile_in(DISK).unwrap();
    let plan = Plan { source_at: at, sink_at: at, ..Plan::new(case, content.clone()) };
    let mut stage = plan.alone(Arc::new(source), Arc::new(sink));
    if !case.of_file() {
        let from = connect(address, FEED, size);
        ioctl_fionbio(&from, !case.blocking).unwrap();
        stage.from = Some(from.into());
    }
    if !case.to_file() {
        let to = connect(address, DRAIN, size);
        ioctl_fionbio(&to, !case.blocking).unwrap();
        stage.to = Some(to.into());
    }
    let what = format!("{case}, {size} bytes from {at} over veth");
    assert_eq!(stage.drive(&mut Random::of(1)).unwrap(), Progress::Done, "{what}");
    assert_report(case, stage.moving.report(), size as u64, &what);
    if let Some(to) = stage.to.take() {
        let mut to = TcpStream::from(to);
        to.set_nonblocking(false).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
        let mut verdict = String::new();
        to.read_to_string(&mut verdict).unwrap();
        assert_eq!(verdict, "exact", "{what}");
    } else {
        let mut stored = vec![0; size];
        stage.sink.read_exact_at(&mut stored, at).unwrap();
        assert!(stored == content, "{what}");
    }
}

#[test]
#[ignore = "another test runs it in a namespace"]
fn far() {
    if env::var("KAREZ_NETNS").as_deref() != Ok("far") {
        println!("skipped: it is for another test");
        return;
    }
    println!("\nfar is there");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    // The parent has ended when the input ends.
    thread::spawn(|| {
        std::io::stdin().lines().for_each(drop);
        exit(0);
    });
    ip("addr add 10.77.0.2/24 dev karez1");
    ip("link set karez1 up");
    let listener = TcpListener::bind("10.77.0.2:0").unwrap();
    println!("\nfar listens at {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        thread::spawn(move || serve(stream.unwrap()));
    }
}

/// Sends the requested bytes, or receives and verifies them.
fn serve(mut stream: TcpStream) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let size = u64::from_ne_bytes(head[1..].try_into().unwrap());
    let content = pattern(size as usize, size);
    if head[0] == FEED {
        stream.write_all(&content).unwrap();
        return;
    }
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let verdict: &[u8] = if received == content { b"exact" } else { b"wrong" };
    stream.write_all(verdict).unwrap();
}
