//! The command line: messages, exit codes and formats.

use karez_reactor::{Model, Topology};
use karez_transfer::{CachePolicy, Direction};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::environment;
use crate::layouts;
use crate::server::{KAREZ, Server};

fn run(args: &[&str]) -> Output {
    environment::normalize();
    Command::new(KAREZ).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Expects this exit code and one line on standard error that contains all of these words.
pub fn expect_error(args: &[&str], code: i32, words: &[&str]) {
    let output = run(args);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {printed}");
    assert!(printed.starts_with("error: "), "{args:?}: {printed}");
    assert!(code == 2 || printed.lines().count() == 1, "{args:?}: {printed}");
    for word in words {
        assert!(printed.contains(word), "{args:?}: {word} is not in {printed}");
    }
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn help_man_page_and_completions_list_every_flag() {
    let serve = [
        "--config",
        "--listen",
        "--model",
        "--via",
        "--topology",
        "--threads",
        "--index",
        "--no-listing",
        "--tar",
        "--listing-header",
        "--listing-footer",
        "--listing-memory",
        "--hidden",
        "--compress",
        "--log",
        "--log-format",
        "--log-level",
        "--access-log",
        "--error-log",
        "--health",
        "--drain",
        "--quiet",
        "--header-timeout",
        "--idle-timeout",
        "--send-timeout",
        "--grace",
        "--max-connections",
        "--tls-cert",
        "--tls-key",
        "--tls-self-signed",
        "--tls-client-ca",
        "--redirect-https",
        "--acme",
        "--acme-contact",
        "--acme-directory",
        "--acme-ca",
        "--acme-challenge",
        "--state",
    ];
    let copy = [
        "--recursive",
        "--archive",
        "--no-clobber",
        "--sync",
        "--via",
        "--cache",
        "--jobs",
        "--json",
        "--quiet",
    ];
    for (command, known) in [("serve", &serve[..]), ("copy", &copy)] {
        let help = run(&[command, "--help"]);
        assert!(help.status.success());
        let words = text(&help.stdout).split_whitespace();
        // Without a comma, or a value that is optional.
        let name = |word| -> &str { str::split(word, [',', '[']).next().unwrap() };
        let flags: Vec<_> = words.filter(|word| word.starts_with("--")).map(name).collect();
        for flag in known {
            assert!(flags.contains(flag), "{flag}");
        }
        expect_documented(command, &flags);
    }
}

/// Expects these flags in the man page and in the completions, too.
fn expect_documented(command: &str, flags: &[&str]) {
    let man = run(&["man", command]);
    let page = text(&man.stdout).replace('\\', "");
    for flag in flags {
        assert!(page.contains(flag), "{flag} is not in the man page");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success());
        let script = text(&script.stdout);
        for flag in flags {
            assert!(script.contains(flag.trim_start_matches('-')), "{flag}, {shell}");
        }
    }
}

#[test]
fn help_and_version_exit_with_0() {
    assert!(text(&run(&["--help"]).stdout).contains("serve"));
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout).trim(), format!("karez {}", env!("CARGO_PKG_VERSION")));
    assert!(text(&run(&["man"]).stdout).contains("karez"));
    assert_eq!(run(&[]).status.code(), Some(2), "nothing asked for");
}

#[test]
fn invalid_names_list_the_possible_values() {
    let all = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<Vec<_>>();
    let known = [
        ("--model", all(&mut Model::ALL.iter().map(|one| one.name()))),
        ("--via", all(&mut Direction::FileToSocket.vias().iter().map(|one| one.name()))),
        ("--topology", all(&mut Topology::ALL.iter().map(|one| one.name()))),
        ("--log", vec!["common", "combined", "json", "off"]),
    ];
    for (flag, names) in known {
        let words = [&["nonesuch", flag][..], &names].concat();
        expect_error(&["serve", flag, "nonesuch"], 2, &words);
    }
    let known = [
        ("--via", all(&mut crate::copy::vias().map(|one| one.name()))),
        ("--cache", all(&mut CachePolicy::ALL.iter().map(|one| one.name()))),
    ];
    for (flag, names) in known {
        let words = [&["nonesuch", flag][..], &names].concat();
        expect_error(&["copy", "a", "b", flag, "nonesuch"], 2, &words);
    }
}

#[test]
fn invalid_serve_arguments_are_rejected() {
    for (args, words) in [
        (&["--model", "blocking", "--topology", "reuseport"][..], &["blocking", "reuseport"][..]),
        (&["--topology", "single", "--threads", "4"], &["single", "reuseport"]),
        (&["--model", "blocking", "--threads", "2"], &["thread per connection"]),
        (&["--topology", "workers", "--threads", "2"], &["workers", "one reactor"]),
        (&["--topology", "single", "--workers", "2"], &["single", "no workers"]),
        (&["--model", "blocking", "--pin"], &["blocking", "pinned"]),
        (&["--model", "poll", "--yield"], &["nonblocking", "yield"]),
        (&["--threads", "0"], &["--threads"]),
        (&["--max-connections", "0"], &["--max-connections"]),
        (&["--idle-timeout", "soon"], &["--idle-timeout", "soon"]),
        (&["--listen", "example.org:80"], &["127.0.0.1:8080", "unix:PATH"]),
        (&["--listen", "8080"], &["IP:PORT"]),
        (&["--index", "a/b"], &["--index"]),
        (&["--nonesuch"], &["--nonesuch"]),
    ] {
        expect_error(&[&["serve"], args].concat(), 2, words);
    }
}

#[test]
fn invalid_copy_arguments_are_rejected() {
    for (args, words) in [
        (&[][..], &["SRC", "DST"][..]),
        (&["a"], &["DST"]),
        (&["a", "b", "--jobs", "0"], &["--jobs"]),
        (&["a", "b", "--jobs", "257"], &["--jobs", "more than 256"]),
        (&["a", "b", "--via", "cow"], &["--via", "cow"]),
        (&["a", "b", "/nonexistent/c"], &["/nonexistent/c", "directory"]),
        (&["a", "b", "--nonesuch"], &["--nonesuch"]),
    ] {
        expect_error(&[&["copy"], args].concat(), 2, words);
    }
}

#[test]
fn errors_name_the_path_or_address() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let file = root.path().join("file");
    File::create(&file).unwrap();
    for (path, errno) in [(&missing, "os error 2"), (&file, "os error 20")] {
        let path = path.to_str().unwrap();
        expect_error(&["serve", path, "--listen", "127.0.0.1:0"], 1, &[path, errno]);
    }
    let directory = root.path().to_str().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for layout in layouts::sample() {
        let args = [&["serve", directory, "--listen", &taken], &layout.flags()[..]].concat();
        expect_error(&args, 1, &["bind", &taken, "os error 98"]);
        let other = Server::start(layout, root.path());
        let address = other.address.to_string();
        let args = [&["serve", directory, "--listen", &address], &layout.flags()[..]].concat();
        expect_error(&args, 1, &["bind", &address, "os error 98"]);
    }
    expect_error(&["serve", directory, "--listen", "unix:/nonexistent/a"], 1, &["/nonexistent/a"]);
}

#[test]
fn first_line_names_the_configuration_and_the_url() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::all_with_vias() {
        let mut command = Command::new(KAREZ);
        command
            .arg("serve")
            .arg(root.path())
            .args(layout.flags())
            .args(["--listen", "127.0.0.1:0"]);
        let line = first_line_and(command, |_| {});
        let words =
            [layout.model.name(), layout.topology.name(), layout.via.name(), "http://127.0.0.1:"];
        for word in words {
            assert!(line.contains(word), "{layout}: {word} is not in {line}");
        }
        assert!(!line.contains(":0/") && !line.contains('\x1b'), "{layout}: {line}");
    }
}

#[test]
fn colour_needs_a_terminal_and_respects_no_color() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: script(1) is missing, so there is no terminal");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let serve = format!(
        "{KAREZ} serve {} --listen 127.0.0.1:0 & read line; kill $!",
        root.path().display()
    );
    let seen = |no_colour: &str| {
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &serve, "/dev/null"]).env("NO_COLOR", no_colour);
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        while !printed.ends_with(b"threads") && !printed.ends_with(b"1 thread\r\n") {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&printed));
            printed.push(byte[0]);
        }
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
        String::from_utf8(printed).unwrap()
    };
    assert!(seen("").contains("\x1b["), "colour on a terminal");
    assert!(!seen("1").contains('\x1b'), "NO_COLOR");
}

#[test]
fn each_flag_works_alone() {
    let root = tempfile::tempdir().unwrap();
    let all = [
        &["--model", "blocking"][..],
        &["--model", "epoll-edge"],
        &["--via", "copy"],
        &["--topology", "single"],
        &["--topology", "reuseport"],
        &["--threads", "1"],
        &["--threads", "3"],
        &["--index", "a"],
        &["--no-listing"],
        &["--tar"],
        &["--listing-header", "README.md"],
        &["--listing-footer", "README.md"],
        &["--listing-memory", "1M"],
        &["--hidden"],
        &["--compress"],
        &["--log", "json"],
        &["--header-timeout", "1m"],
        &["--idle-timeout", "1m"],
        &["--send-timeout", "1m"],
        &["--grace", "1s"],
        &["--max-connections", "10"],
    ];
    for flags in all {
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root.path()).args(["--listen", "127.0.0.1:0"]).args(flags);
        let server = Server::spawn(command);
        assert!(matches!(server.get("/").status, 200 | 403), "{flags:?}");
        server.signal(Signal::TERM);
        assert!(server.wait().0.success(), "{flags:?}");
    }
}

/// Sends `GET /` over a UNIX socket and returns the whole response.
fn get_over_unix(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn several_listeners_serve_and_the_unix_socket_is_removed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "the index").unwrap();
    let socket = root.path().join("socket");
    for layout in layouts::sample() {
        let mut command = Command::new(KAREZ);
        let unix = format!("unix:{}", socket.display());
        command.arg("serve").arg(root.path()).args(layout.flags());
        command.args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", &unix]);
        if TcpListener::bind("[::1]:0").is_ok() {
            command.args(["--listen", "[::1]:0"]);
        } else {
            println!("skipped: no IPv6 here");
        }
        let line = first_line_and(command, |line| {
            let urls = line.split_whitespace().filter_map(|word| word.strip_prefix("http://"));
            for url in urls {
                let address = url.trim_end_matches('/').parse().unwrap();
                let response = crate::client::Client::connect(address).get("/");
                assert_eq!(response.body, b"the index", "{layout}: {url}");
            }
            assert!(get_over_unix(&socket).unwrap().ends_with("the index"), "{layout}");
        });
        assert!(line.contains(&unix), "{layout}: {line}");
        assert!(!socket.exists(), "{layout}: the socket's name is removed");
    }
}

/// Starts a server, calls `then` with its first line, stops it by SIGTERM and returns the line.
fn first_line_and(mut command: Command, then: impl FnOnce(&str)) -> String {
    environment::normalize();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    then(&line);
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    line
}

#[test]
fn quiet_prints_nothing() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("socket");
    for layout in layouts::sample() {
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root.path()).args(layout.flags()).arg("--quiet");
        command.arg(format!("--listen=unix:{}", socket.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        while get_over_unix(&socket).is_err() {
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{layout}: {output:?}");
    }
}

#[test]
fn stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("socket");
    let unix = format!("--listen=unix:{}", socket.display());
    let directory = root.path().to_str().unwrap();
    let live = UnixListener::bind(&socket).unwrap();
    expect_error(&["serve", directory, &unix], 1, &[socket.to_str().unwrap(), "os error 98"]);
    drop(live); // its name stays
    let mut command = Command::new(KAREZ);
    command.args(["serve", directory, &unix]);
    first_line_and(command, |_| assert!(!get_over_unix(&socket).unwrap().is_empty()));
}
