//! What a layout is made of: threads with names and cores, and the model that is taken when
//! nobody says which.

use karez_reactor::{Model, Topology};
use std::fs;
use std::process::Command;
use std::thread;

use crate::server::{KAREZ, Server};
use crate::strace;
use crate::ways;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    root
}

/// Name and allowed cores of each thread of ours that runs.
fn threads(server: &Server) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let read = |task: std::io::Result<fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
        let status = fs::read_to_string(path.join("status")).ok()?;
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some((name, cores.trim().to_owned()))
    };
    let mut threads: Vec<_> = tasks.filter_map(read).collect();
    threads.sort();
    threads
}

#[test]
fn threads_are_named_after_what_they_do() {
    let root = root();
    for way in ways::layouts() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        assert_eq!(client.get("/small").body, b"small", "{way}");
        let mut wanted: Vec<_> = match (way.model, way.topology) {
            (Model::Blocking, Topology::Single) => vec!["karez-accept", "karez-conn"],
            (Model::Blocking, _) => vec!["karez-accept", "karez-work"],
            (_, Topology::Single) => vec!["karez-0"],
            (_, Topology::Multi) => vec!["karez-main", "karez-0", "karez-work-0"],
            _ => vec!["karez-0", "karez-work-0"],
        };
        if way.topology.has_reactors() && thread::available_parallelism().unwrap().get() > 1 {
            wanted.push("karez-1");
        }
        server.until(&format!("{way}: threads of the names {wanted:?}"), || {
            let names: Vec<_> = threads(&server).into_iter().map(|(name, _)| name).collect();
            wanted.iter().all(|name| names.iter().any(|is| is == name))
        });
    }
}

#[test]
fn pinned_reactors_have_a_core_each_and_nobody_else_has() {
    let root = root();
    let all = fs::read_to_string("/proc/thread-self/status").unwrap();
    let all = all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    for way in ways::layouts().filter(|way| way.model != Model::Blocking) {
        let server = Server::start_with(way, root.path(), &["--log", "off", "--pin"]);
        assert_eq!(server.get("/small").body, b"small", "{way}");
        // "karez-0" and so on hold connections; "karez-main" and "karez-work-0" do not.
        let is_pinned = |name: &str| {
            name.strip_prefix("karez-").is_some_and(|rest| rest.parse::<u32>().is_ok())
        };
        server.until(&format!("{way}: each is where it belongs"), || {
            threads(&server).iter().all(|(name, cores)| {
                if is_pinned(name) { cores.parse::<u32>().is_ok() } else { cores == all }
            })
        });
    }
}

#[test]
fn what_the_kernel_refuses_auto_does_without_and_says_so() {
    if !strace::may_trace() {
        return;
    }
    let root = root();
    let trace = root.path().join("trace");
    let waits = ["epoll_create1", "ppoll", "pselect6"];
    for (refused, taken) in ["epoll-edge", "poll", "select", "blocking"].into_iter().enumerate() {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(&trace);
        for call in &waits[..refused] {
            command.args(["-e", &format!("inject={call}:error=ENOSYS")]);
        }
        command.args([KAREZ, "serve"]).arg(root.path()).args(["--listen", "127.0.0.1:0"]);
        println!("to be taken: {taken}");
        let server = Server::spawn(command);
        assert_eq!(server.get("/small").body, b"small", "{taken}");
        assert!(server.said.contains(&format!("model {taken} (auto")), "{}", server.said);
        for call in &waits[..refused] {
            assert!(server.said.contains(&format!("{call}: ")), "{call}: {}", server.said);
        }
        assert_eq!(server.said.contains("os error 38"), refused > 0, "{}", server.said);
    }
}

#[test]
fn nonblocking_burns_its_core_unless_it_is_to_yield() {
    if !strace::may_trace() {
        return;
    }
    let root = root();
    let trace = root.path().join("trace");
    for flags in [&[] as &[&str], &["--yield"]] {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=sched_yield", "-o"]).arg(&trace);
        command.args([KAREZ, "serve"]).arg(root.path()).args(["--model", "nonblocking"]);
        command.args(["--topology", "single", "--listen", "127.0.0.1:0"]).args(flags);
        let server = Server::spawn(command);
        assert_eq!(server.get("/small").body, b"small", "{flags:?}");
        // Asked by one who has nothing to do, too, so that there is something to be seen.
        let yields = || fs::read_to_string(&trace).unwrap().contains("sched_yield");
        if flags.is_empty() {
            assert!(!yields());
        } else {
            server.until("it yields", yields);
        }
    }
}
