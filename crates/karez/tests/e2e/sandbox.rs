//! The confinement of a running server: its user, capabilities and Landlock rules.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use rustix::process::geteuid;
use std::fs;
use std::io::BufRead as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::command::expect_error;
use crate::layouts::{self, Layout};
use crate::reloads::{KEPT, LOADED, reload};
use crate::server::{KAREZ, Server};

const QUIET: [&str; 2] = ["--log", "off"];

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_IPC_LOCK, which a superuser may keep.
const KEPT_BY_ROOT: u64 = 0b110 | 1 << 14;

fn layout() -> Layout {
    Layout { model: Model::EpollEdge, topology: Topology::Workers, via: Via::Auto }
}

/// Returns whether Landlock holds in this server; prints the skip if not.
fn has_landlock(server: &Server) -> bool {
    let has = server.first_line.contains("sandbox: Landlock ");
    if !has {
        println!("skipped: {}", server.first_line);
    }
    has
}

/// Returns a field of proc_pid_status(5) for each thread, with the thread's name.
fn of_threads(server: &Server, field: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    // A thread may have ended since.
    let status =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let value = |status: &str, field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    status.map(|status| (value(&status, "Name"), value(&status, field))).collect()
}

#[test]
fn no_thread_has_capabilities_or_can_gain_some() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        assert_eq!(server.get("/f").body, b"content", "{layout}");
        for (thread, value) in of_threads(&server, "NoNewPrivs") {
            assert_eq!(value, "1", "{layout}, {thread}");
        }
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            for (thread, value) in of_threads(&server, set) {
                let kept = u64::from_str_radix(&value, 16).unwrap();
                let may = if geteuid().is_root() { KEPT_BY_ROOT } else { 0 };
                assert_eq!(kept & !may, 0, "{layout}, {thread}, {set}");
            }
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let mut numbers = core.split_whitespace().skip(4);
        assert_eq!((numbers.next(), numbers.next()), (Some("0"), Some("0")), "{core}");
    }
}

#[test]
fn off_leaves_the_process_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let server = Server::start_with(layout(), root.path(), &["--sandbox", "off"]);
    assert!(server.first_line.contains(", no sandbox"), "{}", server.first_line);
    for field in ["NoNewPrivs", "CapEff"] {
        for (thread, value) in of_threads(&server, field) {
            assert!(own.contains(&format!("{field}:\t{value}\n")), "{thread}, {field}: {value}");
        }
    }
}

/// Returns whether every user can reach this directory.
fn is_public(directory: &Path) -> bool {
    let open = |part: &Path| fs::metadata(part).unwrap().permissions().mode() & 0o1 != 0;
    directory.canonicalize().unwrap().ancestors().all(open)
}

#[test]
fn the_user_is_changed_in_every_thread() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    fs::write(root.path().join("secret"), "").unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("f", 0o644);
    mode("secret", 0o600);
    if !geteuid().is_root() || !is_public(root.path()) {
        println!("skipped: only the superuser can change the user, to one that reaches the files");
        return;
    }
    for layout in layouts::sample() {
        for sandbox in ["off", "best-effort"] {
            let user = ["--user", "65534:65534", "--sandbox", sandbox];
            let server = Server::start_with(layout, root.path(), &[&QUIET[..], &user].concat());
            assert_eq!(server.get("/f").body, b"content", "{layout}");
            assert_eq!(server.get("/secret").status, 403, "{layout}");
            for (field, expected) in [
                ("Uid", "65534\t65534\t65534\t65534"),
                ("Gid", "65534\t65534\t65534\t65534"),
                ("Groups", "65534"),
                ("CapEff", "0000000000000000"),
                ("CapPrm", "0000000000000000"),
                ("CapBnd", "0000000000000000"),
            ] {
                for (thread, value) in of_threads(&server, field) {
                    assert_eq!(value, expected, "{layout}, {thread}, {field}");
                }
            }
        }
    }
}

#[test]
fn users_that_cannot_be_become_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let serve = ["serve", root.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--user"];
    let with = |user| [&serve[..], &[user]].concat();
    expect_error(&with("no-such-user"), 1, &["--user: no user \"no-such-user\""]);
    expect_error(&with("0:no-such-group"), 1, &["--user: no group \"no-such-group\""]);
    if !geteuid().is_root() {
        expect_error(&with("0:0"), 1, &["setgroups: ", "os error 1"]);
    }
}

/// Two directories with a release each, and a link to the first.
fn two_stores() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for store in ["a", "b"] {
        for release in ["1", "2"] {
            fs::create_dir_all(path(store).join(release)).unwrap();
            fs::write(path(store).join(release).join("f"), format!("{store}/{release}")).unwrap();
        }
    }
    fs::create_dir(path("links")).unwrap();
    switch(directory.path(), "a/1");
    directory
}

/// Replaces the link.
fn switch(directory: &Path, target: &str) {
    symlink(Path::new("..").join(target), directory.join("new")).unwrap();
    fs::rename(directory.join("new"), directory.join("links/current")).unwrap();
}

const OUTSIDE: &str = "is outside the sandbox of this process; a restart is needed";

#[test]
fn a_root_may_be_switched_to_a_neighbour_and_elsewhere_if_permitted() {
    for layout in layouts::sample() {
        let directory = two_stores();
        let other = directory.path().join("b");
        let root = directory.path().join("links/current");
        for permitted in [false, true] {
            switch(directory.path(), "a/1");
            let more = ["--sandbox-read", other.to_str().unwrap()];
            let more = if permitted { &more[..] } else { &[] };
            let mut server = Server::start_with(layout, &root, &[&QUIET, more].concat());
            if !has_landlock(&server) {
                return;
            }
            let mut client = server.connect();
            assert_eq!(client.get("/f").body, b"a/1", "{layout}");
            switch(directory.path(), "a/2");
            assert_eq!(client.get("/f").body, b"a/2", "{layout}");
            switch(directory.path(), "b/1");
            let response = client.get("/f");
            if permitted {
                assert_eq!(response.body, b"b/1", "{layout}");
                continue;
            }
            assert_eq!(response.status, 403, "{layout}");
            let mut line = String::new();
            server.stderr.read_line(&mut line).unwrap();
            assert!(line.contains(OUTSIDE), "{layout}: {line}");
            switch(directory.path(), "a/1");
            assert_eq!(client.get("/f").body, b"a/1", "{layout}");
        }
    }
}

#[test]
fn a_reload_that_names_a_root_outside_changes_nothing() {
    let directory = two_stores();
    fs::create_dir(directory.path().join("etc")).unwrap();
    let file = directory.path().join("etc/karez.toml");
    let write = |root: &str| {
        let text = format!("listen = \"127.0.0.1:0\"\nlog = \"off\"\nroot = \"../{root}\"\n");
        fs::write(&file, text).unwrap();
    };
    write("a/1");
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", file.to_str().unwrap()]).args(layout().flags());
    let mut server = Server::spawn(command);
    if !has_landlock(&server) {
        return;
    }
    write("b/1");
    let line = reload(&mut server);
    assert!(line.starts_with(KEPT) && line.contains("outside the sandbox"), "{line}");
    assert_eq!(server.get("/f").body, b"a/1");
    write("a/2");
    assert_eq!(reload(&mut server), LOADED);
    assert_eq!(server.get("/f").body, b"a/2");
    write("a/2\"\nsandbox = \"off");
    let successor = crate::upgrades::reload_by_process(&mut server, "sandbox");
    assert_eq!(server.get("/f").body, b"a/2");
    drop(successor);
}

#[test]
fn strict_permits_the_root_alone_or_does_not_start() {
    let directory = two_stores();
    let root = directory.path().join("links/current");
    let root_text = root.to_str().unwrap();
    let serve = ["serve", root_text, "--listen", "127.0.0.1:0", "--sandbox", "strict"];
    let user = ["--user", "65534:65534"];
    if geteuid().is_root() {
        expect_error(&serve, 2, &["--sandbox strict needs --user"]);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if !is_public(directory.path()) {
            println!("skipped: no other user reaches the files");
            return;
        }
        let open = Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()).status();
        assert!(open.unwrap().success());
    }
    if cfg!(feature = "acme") {
        let acme = ["--acme", "a.example", "--state", root_text];
        expect_error(&[&serve[..], &acme].concat(), 2, &["--sandbox strict", "--acme"]);
    }
    let user = if geteuid().is_root() { &user[..] } else { &[] };
    let probe = Server::start(layout(), &root);
    let version = probe.first_line.split("Landlock ").nth(1).unwrap_or_default();
    let version: u32 = version.split(' ').next().unwrap().parse().unwrap_or(0);
    if version < 6 {
        expect_error(&[&serve[..], user].concat(), 1, &["--sandbox strict: Landlock: "]);
        return;
    }
    let strict = [&QUIET[..], &["--sandbox", "strict"], user].concat();
    let server = Server::start_with(layout(), &root, &strict);
    let mut client = server.connect();
    assert_eq!(client.get("/f").body, b"a/1");
    switch(directory.path(), "a/2");
    assert_eq!(client.get("/f").status, 403);
}
