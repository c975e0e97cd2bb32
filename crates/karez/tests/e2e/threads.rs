//! Threads of each layout: their names and cores, and the model that `auto` selects.

use karez_reactor::{Model, Topology};
use std::fs;
use std::process::Command;
use std::thread;

use crate::layouts;
use crate::server::{KAREZ, Server};
use crate::strace;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    root
}

/// Returns name and allowed cores of each thread of the server.
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
fn threads_are_named_after_their_task() {
    let root = root();
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        assert_eq!(client.get("/small").body, b"small", "{layout}");
        let mut wanted: Vec<_> = match (layout.model, layout.topology) {
            (Model::Blocking, Topology::Single) => vec!["karez-accept", "karez-conn"],
            (Model::Blocking, _) => vec!["karez-accept", "karez-work"],
            (_, Topology::Single) => vec!["karez-0"],
            (_, Topology::Multi) => vec!["karez-main", "karez-0", "karez-work-0"],
            _ => vec!["karez-0", "karez-work-0"],
        };
        if layout.topology.has_reactors() && thread::available_parallelism().unwrap().get() > 1 {
            wanted.push("karez-1");
        }
        server.wait_until(&format!("{layout}: threads of the names {wanted:?}"), || {
            let names: Vec<_> = threads(&server).into_iter().map(|(name, _)| name).collect();
            wanted.iter().all(|name| names.iter().any(|is| is == name))
        });
    }
}

#[test]
fn pinned_reactors_have_one_core_each() {
    let root = root();
    let all = fs::read_to_string("/proc/thread-self/status").unwrap();
    let all = all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    for layout in layouts::all().filter(|layout| layout.model != Model::Blocking) {
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--pin"]);
        assert_eq!(server.get("/small").body, b"small", "{layout}");
        // "karez-0" and so on hold connections; "karez-main" and "karez-work-0" do not.
        let is_pinned = |name: &str| {
            name.strip_prefix("karez-").is_some_and(|rest| rest.parse::<u32>().is_ok())
        };
        server.wait_until(&format!("{layout}: each thread has its cores"), || {
            threads(&server).iter().all(|(name, cores)| {
                if is_pinned(name) { cores.parse::<u32>().is_ok() } else { cores == all }
            })
        });
    }
}

#[test]
fn auto_skips_and_reports_unsupported_models() {
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
        assert!(
            server.first_line.contains(&format!("model {taken} (auto")),
            "{}",
            server.first_line
        );
        for call in &waits[..refused] {
            assert!(
                server.first_line.contains(&format!("{call}: ")),
                "{call}: {}",
                server.first_line
            );
        }
        assert_eq!(server.first_line.contains("os error 38"), refused > 0, "{}", server.first_line);
    }
}

#[test]
fn nonblocking_yields_on_request_only() {
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
        // An idle loop yields, too, so this only has to wait.
        let yields = || fs::read_to_string(&trace).unwrap().contains("sched_yield");
        if flags.is_empty() {
            assert!(!yields());
        } else {
            server.wait_until("it yields", yields);
        }
    }
}
