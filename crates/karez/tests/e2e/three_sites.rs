//! The three sites of `examples/three-sites.toml`, as curl receives them: documentation, a single-page application, and
//! a mirror of packages.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::access::ANNA;
use crate::files::write_dated;
use crate::https::{Authority, text};
use crate::layouts;
use crate::programs::{has, has_curl, run};
use crate::server::{KAREZ, Server};

const LONG_AGO: u64 = 1_500_000_000;

/// Makes the directory of the example.
fn example() -> Authority {
    let authority = Authority::new();
    let directory = authority.directory.path();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/three-sites.toml");
    fs::copy(file, directory.join("three-sites.toml")).unwrap();
    let page = "<!DOCTYPE html><p>guide</p>".repeat(200);
    for (name, content) in [
        ("docs/index.html", "the documentation"),
        ("docs/guide.html", &page),
        ("docs/404.html", "no such page"),
        ("docs/assets/app.0123.css", "p {}"),
        ("app/index.html", "the application"),
        ("app/assets/app.4567.js", &"let x = 1;\n".repeat(500)),
        ("mirror/README.md", "Packages < 1.0"),
        ("mirror/karez_1.deb", "package"),
        ("mirror/image.iso", "image"),
        ("mirror/staging/karez_2.deb", "staged"),
    ] {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_dated(&path, content, LONG_AGO);
    }
    fs::write(directory.join("users"), ANNA).unwrap();
    authority.issue("docs", &["docs.example.org"]);
    authority.issue("app", &["app.example.org"]);
    authority.issue("mirror", &["mirror.example.org", "*.mirror.example.org"]);
    authority
}

/// The running example.
struct Example {
    authority: Authority,
    _server: Server,
    address: SocketAddr,
}

impl Example {
    fn start(authority: Authority) -> Self {
        let directory = authority.directory.path();
        run(Command::new(KAREZ).arg("precompress").arg(directory.join("docs")), "precompress");
        let file = directory.join("three-sites.toml");
        run(Command::new(KAREZ).arg("check").arg(&file), "check");
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&file)]);
        command.args(layouts::sample().next().unwrap().flags());
        command.args([
            "--log",
            "off",
            "--listen",
            "https:127.0.0.1:0",
            "--listen",
            "http:127.0.0.1:0",
        ]);
        let server = Server::spawn(command);
        assert!(server.first_line.contains("3 sites"), "{}", server.first_line);
        let address = server.address;
        Self { authority, _server: server, address }
    }

    /// Returns the head and the body of a response, fields in lower case.
    fn get(&self, host: &str, target: &str, flags: &[&str]) -> (String, String) {
        let port = self.address.port();
        let connect = format!("{host}:{port}:{}", self.address);
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60", "--http1.1"]);
        command.args(["--cacert", text(&self.authority.ca()), "--connect-to", &connect]);
        command.args(flags).arg(format!("https://{host}:{port}{target}"));
        let response = String::from_utf8(run(&mut command, target).stdout).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

#[test]
fn documentation_application_and_mirror() {
    if !has_curl() || !has("gzip") {
        return;
    }
    let example = Example::start(example());
    documentation(&example);
    application(&example);
    mirror(&example);
}

fn documentation(example: &Example) {
    let docs = |target, flags: &[&str]| example.get("docs.example.org", target, flags);
    assert_eq!(docs("/", &[]).1, "the documentation");
    let (head, body) = docs("/guide", &["--compressed"]);
    assert!(
        head.contains("content-encoding: ") && head.contains("cache-control: no-cache"),
        "{head}"
    );
    assert!(head.contains("x-frame-options: deny") && body.contains("<p>guide</p>"), "{head}");
    let (head, body) = docs("/nonesuch", &[]);
    assert!(head.starts_with("http/1.1 404") && body == "no such page", "{head}");
    let (head, _) = docs("/assets/app.0123.css", &[]);
    assert!(head.contains("immutable"), "{head}");
    let (head, _) = docs("/manual/start", &[]);
    assert!(head.starts_with("http/1.1 301") && head.contains("location: /guide/start"), "{head}");
    assert!(docs("/assets/", &[]).0.starts_with("http/1.1 403"));
}

fn application(example: &Example) {
    let app = |target, flags: &[&str]| example.get("app.example.org", target, flags);
    let (head, body) = app("/users/7", &["--header", "Accept: text/html"]);
    assert!(head.starts_with("http/1.1 200") && body == "the application", "{head}");
    assert!(app("/assets/missing.js", &[]).0.starts_with("http/1.1 404"));
    let origin = ["--header", "Origin: https://docs.example.org"];
    let (head, _) = app("/assets/app.4567.js", &origin);
    assert!(head.contains("access-control-allow-origin: https://docs.example.org"), "{head}");
    assert!(head.contains("immutable"), "{head}");
}

fn mirror(example: &Example) {
    let mirror = |target, flags: &[&str]| example.get("eu.mirror.example.org", target, flags);
    let (_, body) = mirror("/", &[]);
    assert!(body.contains("Packages &lt; 1.0</pre>") && body.contains("./karez_1.deb"), "{body}");
    assert_eq!(mirror("/image.iso", &["--range", "1-2"]).1, "ma");
    let (head, _) = mirror("/staging/karez_2.deb", &[]);
    assert!(head.starts_with("http/1.1 401"), "{head}");
    let (head, body) = mirror("/staging/karez_2.deb", &["--user", "anna:U*U"]);
    assert!(head.starts_with("http/1.1 200") && body == "staged", "{head}");
    let (head, _) = mirror("/karez_1.deb", &["--user-agent", "BadBot/1.0"]);
    assert!(head.starts_with("http/1.1 4"), "{head}");
}
