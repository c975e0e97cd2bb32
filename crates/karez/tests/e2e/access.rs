//! Access to paths by user and password, and by the address of the client, over HTTP/1.1 and HTTP/2; and
//! `karez passwd`.

use rustix::process::Signal;
use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::client::Client;
use crate::command::expect_error;
use crate::http2_client::Http2Client;
use crate::https::{Authority, python, text};
use crate::layouts;
use crate::programs::{has, run};
use crate::reloads::{KEPT, LOADED, reload};
use crate::rules::{Case, check, get};
use crate::server::{KAREZ, Server};

/// The user anna with the password `U*U`: a test vector of crypt_blowfish.
pub const ANNA: &str = "anna:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

type Fields = &'static [(&'static str, &'static str)];

const RIGHT: Fields = &[("Authorization", "Basic YW5uYTpVKlU=")];
/// `anna:u*u`, `bert:U*U`, `anna:`, another scheme, no base64.
const WRONG: [Fields; 5] = [
    &[("Authorization", "Basic YW5uYTp1KnU=")],
    &[("Authorization", "Basic YmVydDpVKlU=")],
    &[("Authorization", "Basic YW5uYTo=")],
    &[("Authorization", "Bearer YW5uYTpVKlU=")],
    &[("Authorization", "Basic !")],
];

const CHALLENGE: &[&str] =
    &["WWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"", "ETag: !"];
const OPEN: &[&str] = &["WWW-Authenticate: !"];

/// Writes a file of users.
fn users(content: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    fs::write(&file, content).unwrap();
    (directory, file)
}

#[test]
fn passwords_by_path() {
    let (_directory, file) = users(ANNA);
    let rule = |glob: &str| format!("--auth={glob}{}", file.display());
    let rules = [rule("/docs/**="), rule("*.md="), "--auth=/docs/free*=".to_owned()];
    let mut flags: Vec<_> = rules.iter().map(String::as_str).collect();
    flags.extend(["--clean-urls", "--rewrite", "/v1/** /docs/$1", "--cors"]);
    let mut cases = vec![
        get("/docs/", 401, CHALLENGE, "401 Unauthorized\n"),
        get("/docs/page", 401, CHALLENGE, ""),
        get("/docs/none", 401, CHALLENGE, ""),
        get("/docs/page.html", 308, OPEN, ""),
        get("/v1/page", 401, CHALLENGE, ""),
        get("/list/file.md", 401, CHALLENGE, ""),
        get("/%64ocs/%70age", 401, CHALLENGE, ""),
        get("//docs//page", 401, CHALLENGE, ""),
        get("/assets/../docs/page", 401, CHALLENGE, ""),
        Case { method: "HEAD", ..get("/docs/page", 401, CHALLENGE, "") },
        Case { fields: &[("Range", "bytes=0-1")], ..get("/docs/page", 401, CHALLENGE, "") },
        Case { fields: &[("If-None-Match", "*")], ..get("/docs/page", 401, CHALLENGE, "") },
        // A preflight request has no credentials.
        Case { method: "OPTIONS", ..get("/docs/page", 204, OPEN, "") },
        Case { method: "POST", ..get("/docs/page", 405, OPEN, "") },
        get("/docs/free", 404, OPEN, ""),
        get("/about", 200, OPEN, "about"),
        get("/docs", 308, OPEN, ""),
        Case { fields: RIGHT, ..get("/docs/", 200, OPEN, "docs") },
        Case { fields: RIGHT, ..get("/docs/page", 200, OPEN, "a page") },
        Case { fields: RIGHT, ..get("/v1/page", 200, OPEN, "a page") },
        Case { fields: RIGHT, ..get("/list/file.md", 200, OPEN, "text") },
        Case { fields: RIGHT, ..get("/docs/none", 404, OPEN, "") },
        Case { method: "HEAD", fields: RIGHT, ..get("/docs/page", 200, OPEN, "") },
        Case {
            fields: &[("Authorization", "basic YW5uYTpVKlU"), ("Range", "bytes=2-3")],
            ..get("/docs/page", 206, &["Content-Range: bytes 2-3/6"], "pa")
        },
    ];
    let wrong = WRONG.map(|fields| Case { fields, ..get("/docs/page", 401, CHALLENGE, "") });
    cases.extend(wrong);
    check(&flags, &cases);
}

#[test]
fn addresses_by_path() {
    let (_directory, file) = users(ANNA);
    let auth = format!("--auth=/docs/**={}", file.display());
    const PAGE: &[&str] = &["Content-Length: 14", "WWW-Authenticate: !"];
    check(
        &[
            &auth,
            "--deny=/docs/page*=127.0.0.0/8",
            "--deny=/assets/**=all",
            "--allow=/assets/**=127.0.0.0/8",
            "--allow=/list/**=192.0.2.0/24",
            "--error-page=401=404.html",
            "--error-page=403=errors/403.html",
        ],
        &[
            get("/", 200, OPEN, "the index"),
            get("/docs/page.html", 403, PAGE, "forbidden page"),
            Case { fields: RIGHT, ..get("/docs/page.html", 403, PAGE, "forbidden page") },
            Case { method: "HEAD", ..get("/docs/page.html", 403, PAGE, "") },
            get("/assets/app.js", 200, OPEN, "script"),
            get("/list/file.md", 403, PAGE, "forbidden page"),
            get("/list/", 403, PAGE, "forbidden page"),
            // The page of an error is sent to clients without a password.
            get("/docs/", 401, CHALLENGE, "the error page"),
            Case { method: "HEAD", ..get("/docs/", 401, CHALLENGE, "") },
            Case { fields: RIGHT, ..get("/docs/", 200, OPEN, "docs") },
        ],
    );
}

#[test]
fn a_reload_reads_the_users_again() {
    let (directory, file) = users(ANNA);
    let config = directory.path().join("karez.toml");
    let content = "root = \".\"\nlisten = \"127.0.0.1:0\"\nlog = \"off\"\nauth = \"**=users\"\n";
    fs::write(&config, content).unwrap();
    fs::write(directory.path().join("f"), "file").unwrap();
    for layout in layouts::sample() {
        fs::write(&file, ANNA).unwrap();
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&config)]).args(layout.flags());
        let mut server = Server::spawn(command);
        let mut line = String::new();
        server.stderr.read_line(&mut line).unwrap();
        let warning = "warning: --auth: passwords are sent in clear text to http://127.0.0.1:";
        assert!(line.starts_with(warning), "{layout}: {line}");
        let mut client = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        let mut streams = (1..).step_by(2);
        let mut statuses = || {
            let stream = streams.next().unwrap();
            let multiplexed = multiplexed.request(stream, "GET", "/f", RIGHT).status;
            let (name, value) = RIGHT[0];
            [client.request("GET", "/f", &format!("{name}: {value}\r\n")).status, multiplexed]
        };
        assert_eq!(statuses(), [200; 2], "{layout}");
        assert_eq!(statuses(), [200; 2], "{layout}");
        // A fault leaves the users as they were.
        fs::write(&file, format!("{ANNA}bert:secret\n")).unwrap();
        let kept = reload(&mut server);
        assert!(kept.starts_with(KEPT) && kept.contains("users:2: the hash is neither"), "{kept}");
        assert_eq!(statuses(), [200; 2], "{layout}");
        fs::write(&file, ANNA.replace("anna", "bert")).unwrap();
        assert_eq!(reload(&mut server), LOADED, "{layout}");
        assert_eq!(statuses(), [401; 2], "{layout}");
    }
}

#[test]
fn users_that_cannot_be_read_are_faults() {
    let (directory, file) = users("anna:$apr1$7PP2IdTd$Qv9tlHhzjnbMqZcpvAT6T1\n");
    let root = text(directory.path());
    let auth = format!("--auth=/x/**={}", file.display());
    expect_error(&["serve", root, &auth], 1, &["users:1: the hash is MD5", "karez passwd"]);
    expect_error(
        &["serve", root, "--auth", "/nonexistent/users"],
        1,
        &["/nonexistent/users: No such"],
    );
    expect_error(&["serve", root, "--deny", "10.0.0.1/8"], 2, &["10.0.0.0/8"]);
    let config = directory.path().join("karez.toml");
    fs::write(&config, "root = \".\"\n\nauth = \"/x/**=users\"\ndeny = \"a\"\n").unwrap();
    let Output { status, stderr, .. } =
        Command::new(KAREZ).args(["check", text(&config)]).output().unwrap();
    let printed = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains(":3: ") && printed.contains("users:1: the hash is MD5"), "{printed}");
    assert!(printed.contains(":4: deny: ") && printed.contains("is no network"), "{printed}");
    // The path is that of the file beside the configuration, behind its glob.
    let config =
        run(Command::new(KAREZ).args(["config", "--auth", "*.md=users", "--auth=/x=", "."]), "");
    let expected = format!(
        "auth = [\"*.md={}\", \"/x=\"] # flag --auth",
        std::env::current_dir().unwrap().join("users").display()
    );
    let printed = String::from_utf8(config.stdout).unwrap();
    assert!(printed.lines().any(|line| line == expected), "{expected} is not in {printed}");
}

#[test]
fn passwords_over_https_come_without_a_warning() {
    let authority = Authority::new();
    let (_directory, file) = users(ANNA);
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    let auth = format!("--auth={}", file.display());
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &[&auth]);
        for protocol in ["http/1.1", "h2"] {
            let socket = authority.connect(&server, &[protocol]);
            let statuses = match protocol {
                "h2" => {
                    let mut client = Http2Client::over(socket, &[]);
                    [(1, &[][..]), (3, RIGHT), (5, WRONG[0])]
                        .map(|(stream, fields)| client.request(stream, "GET", "/f", fields).status)
                }
                _ => {
                    let mut client = Client::over(socket);
                    [&[][..], RIGHT, WRONG[0]].map(|fields| {
                        let lines =
                            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                        client.request("GET", "/f", &lines.collect::<String>()).status
                    })
                }
            };
            assert_eq!(statuses, [401, 200, 401], "{layout}, {protocol}");
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().1, "", "{layout}");
    }
}

/// Runs `karez passwd` with this standard input.
fn passwd(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(KAREZ);
    command.arg("passwd").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end without reading.
    let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn passwd_makes_the_lines_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let name = text(&file);
    let line = passwd(&["anna"], "secret\n");
    let printed = String::from_utf8(line.stdout).unwrap();
    assert!(printed.starts_with("anna:$argon2id$v=19$m=19456,t=2,p=1$"), "{printed}");
    assert_eq!(printed.lines().count(), 1);
    for (arguments, input) in [
        (&[name, "anna"][..], "first"),
        (&[name, "bert", "--bcrypt"], "secret\r\n"),
        (&[name, "anna"], "secret\nsecond line"),
        (&[name, "carl"], "x"),
        (&[name, "carl", "--delete"], ""),
    ] {
        let output = passwd(arguments, input);
        assert!(output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    }
    let content = fs::read_to_string(&file).unwrap();
    let starts: Vec<_> = content.lines().map(|line| &line[..8]).collect();
    assert_eq!(starts, ["anna:$ar", "bert:$2y"], "{content}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The mode and a symbolic link stay.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("users", &link).unwrap();
    assert!(passwd(&[text(&link), "dora"], "secret").status.success());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no temporary file is left");
    for (arguments, input, word) in [
        (&[name, "erik", "--delete"][..], "", "there is no user erik"),
        (&[name, "erik"], "\n", "the password is empty"),
        (&[name, "erik"], "", "the password is empty"),
        (&["/nonexistent/users", "erik"], "x", "/nonexistent/users"),
        (&[name, "a:b"], "x", "colon"),
        (&["erik", "--bcrypt"], &"x".repeat(73), "72 bytes"),
        (&["erik"], &"x".repeat(2000), "1024 bytes"),
        (&["erik", "--delete"], "", "FILE"),
    ] {
        let output = passwd(arguments, input);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && printed.contains(word), "{arguments:?}: {printed}");
    }
    // Anna has the argon2id hash of her second password, bert a bcrypt hash.
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    let layout = layouts::sample().next().unwrap();
    let server = Server::start_with(layout, root.path(), &["--log", "off", "--auth", name]);
    let mut client = server.connect();
    // `anna:secret`, `bert:secret`, `anna:first`, `carl:x`.
    for (token, status) in [
        ("YW5uYTpzZWNyZXQ=", 200),
        ("YmVydDpzZWNyZXQ=", 200),
        ("YW5uYTpmaXJzdA==", 401),
        ("Y2FybDp4", 401),
        ("YW5uYTpzZWNyZXQ=", 200),
    ] {
        let fields = format!("Authorization: Basic {token}\r\n");
        assert_eq!(client.request("GET", "/f", &fields).status, status, "{token}");
    }
}

/// Types a password twice in a terminal, prints what it shows and the exit status; interrupts another.
const TERMINAL: &str = r#"
import os, pty, sys
os.environ["NO_COLOR"] = "1"
def run(typed):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], [sys.argv[1], "passwd", sys.argv[2], "anna"])
    shown = b""
    for prompt, line in typed:
        while not shown.endswith(prompt):
            shown += os.read(terminal, 1000)
        os.write(terminal, line)
    try:
        while part := os.read(terminal, 1000):
            shown += part
    except OSError:
        pass
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
first, again = b"password of anna: ", b"the same again: "
print(*run([(first, b"secret\n"), (again, b"secret\n")]))
print(*run([(first, b"secret\n"), (again, b"other\n")]))
print(*run([(first, b"sec\x03")]))
"#;

#[test]
fn passwd_reads_the_terminal_without_echo() {
    if !has("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let shown = python(TERMINAL, &[KAREZ.as_ref(), file.as_os_str()], "");
    let lines: Vec<_> = shown.lines().collect();
    let prompts = r"b'password of anna: \r\nthe same again: \r\n";
    assert_eq!(lines[0], format!("{prompts}' 0"));
    assert_eq!(lines[1], format!(r"{prompts}error: the passwords differ\r\n' 1"));
    assert_eq!(lines[2], r"b'password of anna: \r\n' 130");
    assert!(fs::read_to_string(&file).unwrap().starts_with("anna:$argon2id$"));
}

#[test]
fn files_are_those_of_htpasswd() {
    if !has("htpasswd") {
        return;
    }
    let (directory, file) = users("");
    let htpasswd = |arguments: &[&str]| {
        let mut command = Command::new("htpasswd");
        command.args(arguments).current_dir(directory.path()).stdin(Stdio::null());
        command.output().unwrap().status.success()
    };
    // Theirs here.
    assert!(htpasswd(&["-bB", "-C", "5", "users", "anna", "U*U"]));
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    let layout = layouts::sample().next().unwrap();
    let server = Server::start_with(layout, root.path(), &["--log", "off", "--auth", text(&file)]);
    for (fields, status) in [(RIGHT, 200), (WRONG[0], 401)] {
        let (name, value) = fields[0];
        let lines = format!("{name}: {value}\r\n");
        assert_eq!(server.connect().request("GET", "/f", &lines).status, status);
    }
    // Ours there.
    assert!(passwd(&[text(&file), "bert", "--bcrypt"], "secret").status.success());
    assert!(htpasswd(&["-vb", "users", "bert", "secret"]));
    assert!(!htpasswd(&["-vb", "users", "bert", "other"]));
    // Its default is a hash that is too weak.
    assert!(htpasswd(&["-bm", "users", "carl", "secret"]));
    let root = text(root.path());
    expect_error(&["serve", root, "--auth", text(&file)], 1, &["users:3: the hash is MD5"]);
}
