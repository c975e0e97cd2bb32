//! Logs in files: rotation, reload, levels, and files that cannot be opened or written.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::Client;
use crate::command::expect_error;
use crate::disk_image::Image;
use crate::https::text;
use crate::layouts;
use crate::reloads::{KEPT, LOADED, reload};
use crate::server::{KAREZ, Server};
use crate::timeouts::TimedReader;

const REOPENED: &str = "karez: log files opened again\n";

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    root
}

fn stderr_line(server: &mut Server) -> String {
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    line
}

fn reopen(server: &mut Server) -> String {
    server.signal(Signal::USR1);
    stderr_line(server)
}

/// Returns the lines of a file, which may not exist.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn rotation_under_load_loses_no_line() {
    const ROTATIONS: usize = 10;
    const CLIENTS: usize = 3;
    for layout in layouts::sample() {
        let (root, logs) = (root(), tempfile::tempdir().unwrap());
        let path = logs.path().join("access.log");
        let flags = ["--access-log", text(&path), "--log-format", "$request_uri"];
        let mut server = Server::start_with(layout, root.path(), &flags);
        let (stop, address) = (AtomicBool::new(false), server.address);
        let sent: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let stop = &stop;
                    scope.spawn(move || {
                        let mut connection = Client::connect(address);
                        let mut sent = 0;
                        while !stop.load(Ordering::Relaxed) {
                            let target = format!("/small?{client}-{sent}");
                            assert_eq!(connection.get(&target).status, 200, "{layout}");
                            sent += 1;
                        }
                        sent
                    })
                })
                .collect();
            for number in 0..ROTATIONS {
                fs::rename(&path, logs.path().join(number.to_string())).unwrap();
                assert_eq!(reopen(&mut server), REOPENED, "{layout}");
                assert!(path.exists(), "{layout}");
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        let all = || -> Vec<String> {
            let rotated = (0..ROTATIONS).map(|number| logs.path().join(number.to_string()));
            rotated.chain([path.clone()]).flat_map(|path| lines(&path)).collect()
        };
        server.wait_until("all lines are written", || all().len() >= sent);
        let mut counts: HashMap<String, usize> = HashMap::new();
        all().into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
        assert_eq!(counts.len(), sent, "{layout}");
        assert!(counts.values().all(|&count| count == 1), "{layout}: a line is there twice");
    }
}

#[test]
fn a_reload_replaces_files_formats_and_levels() {
    let (root, logs) = (root(), tempfile::tempdir().unwrap());
    let file = logs.path().join("karez.toml");
    let write = |keys: &str| {
        let common = format!("listen = \"127.0.0.1:0\"\nroot = \"{}\"\n", text(root.path()));
        fs::write(&file, format!("{common}{keys}")).unwrap();
    };
    write("access-log = \"a.log\"\nlog-format = \"one $request_uri\"\n");
    let layout = layouts::sample().next().unwrap();
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", text(&file)]).args(layout.flags());
    let mut server = Server::spawn(command);
    let mut client = server.connect();
    let mut expect = |server: &Server, name: &str, expected: &str| {
        assert_eq!(client.get("/small").status, 200);
        let path = logs.path().join(name);
        server.wait_until(&format!("{name} has {expected}"), || {
            lines(&path).last().is_some_and(|line| line == expected)
        });
    };
    expect(&server, "a.log", "one /small");
    write("access-log = \"b.log\"\nlog-format = \"two $status\"\n");
    assert_eq!(reload(&mut server), LOADED);
    expect(&server, "b.log", "two 200");
    for (keys, expected) in [
        ("access-log = \"none/c.log\"\n", "open "),
        ("error-log = \"none/c.log\"\n", "open "),
        ("log-format = \"$x\"\n", "unknown variable $x"),
    ] {
        write(keys);
        let line = reload(&mut server);
        assert!(line.starts_with(KEPT) && line.contains(expected), "{keys}: {line}");
        expect(&server, "b.log", "two 200");
    }
    // Messages go to a file from now on.
    write("error-log = \"errors.log\"\naccess-log = \"c.log\"\nlog-format = \"three $status\"\n");
    server.signal(Signal::HUP);
    let errors = logs.path().join("errors.log");
    server.wait_until("the reload is reported", || !lines(&errors).is_empty());
    expect_message(&lines(&errors)[0], "info: configuration loaded");
    expect(&server, "c.log", "three 200");
    assert_eq!(lines(&logs.path().join("a.log")).len(), 1);
}

/// Expects a line with a time, and this text behind it.
fn expect_message(line: &str, expected: &str) {
    let (time, text) = line.split_once(' ').unwrap();
    assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{line}");
    assert_eq!(text, expected);
}

#[test]
fn messages_have_levels() {
    let root = root();
    let layout = layouts::sample().next().unwrap();
    for (level, rejected, reopened) in
        [("debug", true, true), ("info", false, true), ("warn", false, false)]
    {
        let logs = tempfile::tempdir().unwrap();
        let path = logs.path().join("errors.log");
        let flags = ["--log", "off", "--error-log", text(&path), "--log-level", level];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        client.send("nonsense\r\n\r\n");
        assert_eq!(client.response(false).status, 400);
        let old = logs.path().join("old");
        fs::rename(&path, &old).unwrap();
        server.signal(Signal::USR1);
        server.wait_until("the file is there again", || path.exists());
        let reported =
            || lines(&path).iter().any(|line| line.ends_with(": log files opened again"));
        server.wait_until("that is reported", || !reopened || reported());
        server.signal(Signal::TERM);
        assert!(server.wait().0.success());
        let all = [lines(&old), lines(&path)].concat();
        let has = |text: &str| all.iter().any(|line| line.contains(text));
        assert_eq!(has(" debug: 127.0.0.1:"), rejected, "{level}: {all:?}");
        assert_eq!(has("request rejected: 400 "), rejected, "{level}: {all:?}");
        assert_eq!(has(" info: log files opened again"), reopened, "{level}: {all:?}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    let missing = "/nonexistent/karez.log";
    for flag in ["--access-log", "--error-log"] {
        let words = ["open /nonexistent/karez.log: ", "(os error 2)"];
        expect_error(&["serve", "--listen", "127.0.0.1:0", flag, missing], 1, &words);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = text(directory.path());
    let args = ["serve", "--listen", "127.0.0.1:0", "--access-log", path];
    expect_error(&args, 1, &["open ", path, "(os error 21)"]);
    let file = directory.path().join("karez.toml");
    fs::write(&file, "root = \".\"\nerror-log = \"none/errors.log\"\n").unwrap();
    expect_error(&["check", text(&file)], 1, &[":2: ", "none/errors.log", "(os error 2)"]);
    fs::write(&file, "root = \".\"\nerror-log = \"errors.log\"\n").unwrap();
    assert!(Command::new(KAREZ).args(["check", text(&file)]).output().unwrap().status.success());
    assert!(!directory.path().join("errors.log").exists(), "a check makes no file");
}

#[test]
fn a_file_that_cannot_be_opened_again_leaves_the_old_one() {
    let (root, logs) = (root(), tempfile::tempdir().unwrap());
    let (directory, moved) = (logs.path().join("logs"), logs.path().join("moved"));
    fs::create_dir(&directory).unwrap();
    let layout = layouts::sample().next().unwrap();
    let path = directory.join("access.log");
    let flags = ["--access-log", text(&path), "--log-format", "$status"];
    let mut server = Server::start_with(layout, root.path(), &flags);
    fs::rename(&directory, &moved).unwrap();
    let line = reopen(&mut server);
    let expected = format!("karez: the access log stays in its old file: open {}: ", text(&path));
    assert!(line.starts_with(&expected) && line.ends_with("(os error 2)\n"), "{line}");
    assert_eq!(stderr_line(&mut server), REOPENED);
    assert_eq!(server.get("/small").status, 200);
    server
        .wait_until("the line is in the old file", || !lines(&moved.join("access.log")).is_empty());
}

#[test]
fn without_files_the_signal_has_no_effect() {
    let root = root();
    let server = Server::start(layouts::sample().next().unwrap(), root.path());
    server.signal(Signal::USR1);
    assert_eq!(server.get("/small").status, 200);
    server.signal(Signal::TERM);
    let (status, printed) = server.wait();
    assert_eq!((status.code(), &*printed), (Some(0), ""));
}

/// Makes requests until the lines do not fit, and then frees space. Every line is written or counted.
fn fill_and_free(mut server: Server, path: &Path, free: impl FnOnce(&Server)) {
    let mut client = server.connect();
    let target = format!("/small?{}", "x".repeat(2000));
    let mut sent = 0;
    let stderr = {
        let mut request = || {
            assert_eq!(client.get(&target).status, 200);
            sent += 1;
        };
        // More than the file system has room for.
        (0..100).for_each(|_| request());
        let line = stderr_line(&mut server);
        (0..100).for_each(|_| request());
        free(&server);
        request();
        line
    };
    assert!(stderr.starts_with("karez: access log: write: "), "{stderr}");
    assert!(stderr.ends_with("; lines are dropped\n"), "{stderr}");
    let counted = || {
        let dropped = |line: &String| {
            let rest = line.strip_prefix("karez: ")?;
            rest.split_once(" lines were dropped, ")?.0.parse::<usize>().ok()
        };
        let whole = |line: &&String| line.ends_with("!");
        let all = lines(path);
        (all.iter().filter(whole).count(), all.iter().filter_map(dropped).sum::<usize>())
    };
    server.wait_until("all lines are written or counted", || {
        let (whole, dropped) = counted();
        if whole + dropped < sent {
            // A line has to be written for the count to be.
            assert_eq!(client.get(&target).status, 200);
            sent += 1;
        }
        whole + dropped == sent
    });
    assert!(counted().1 > 0);
}

#[test]
fn a_full_disk_loses_lines_but_no_responses() {
    let Some(image) = Image::mount_in_memory("tmpfs", "size=256k") else { return };
    let (root, path, filler) = (root(), image.join("access.log"), image.join("filler"));
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let layout = layouts::sample().next().unwrap();
    // A confined process cannot pass through the root of another one, where it is mounted.
    let flags = ["--access-log", text(&path), "--log-format", "$request !", "--sandbox", "off"];
    let server = Server::start_with(layout, root.path(), &flags);
    fill_and_free(server, &path, |_| fs::remove_file(&filler).unwrap());
}

#[test]
fn a_limit_on_the_size_of_files_is_no_end() {
    let (root, logs) = (root(), tempfile::tempdir().unwrap());
    let (path, rotated) = (logs.path().join("access.log"), logs.path().join("rotated"));
    let layout = layouts::sample().next().unwrap();
    let flags = ["--access-log", text(&path), "--log-format", "$request_uri"];
    let prefix = ["sh", "-c", "ulimit -f 8 && exec \"$@\"", "sh"];
    let mut server = Server::start_under(&prefix, layout, root.path(), &flags);
    let mut client = server.connect();
    let target = format!("/small?{}", "x".repeat(2000));
    (0..20).for_each(|_| assert_eq!(client.get(&target).status, 200));
    let line = stderr_line(&mut server);
    assert!(line.contains("access log: write: ") && line.contains("(os error 27)"), "{line}");
    fs::rename(&path, &rotated).unwrap();
    assert_eq!(reopen(&mut server), REOPENED);
    assert_eq!(client.get("/small").status, 200);
    server.wait_until("the new file has the line", || lines(&path).contains(&"/small".to_owned()));
}

/// More lines than the pipe and the buffer hold.
const REQUESTS: usize = 1200;

#[test]
fn a_pipe_without_a_reader_delays_no_response() {
    let (root, logs) = (root(), tempfile::tempdir().unwrap());
    let path: PathBuf = logs.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let target = format!("/small?{}", "x".repeat(4000));
    let layout = layouts::sample().next().unwrap();
    let flags = ["--access-log", text(&path)];
    let server = Server::start_with(layout, root.path(), &flags);
    let mut client = server.connect();
    for _ in 0..REQUESTS {
        assert_eq!(client.get(&target).status, 200);
    }
    let (mut logged, mut dropped) = (0, 0);
    for line in BufReader::new(TimedReader(File::open(&path).unwrap())).lines() {
        match line.unwrap().strip_prefix("karez: ") {
            Some(lost) => dropped += lost.split(' ').next().unwrap().parse::<usize>().unwrap(),
            None => logged += 1,
        }
        if logged + dropped == REQUESTS {
            break;
        }
    }
    assert!(logged > 0 && dropped > 0, "{logged} logged, {dropped} dropped");
}
