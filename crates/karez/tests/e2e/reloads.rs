//! Reload on SIGHUP: the new configuration holds from the next request on, and a broken one changes
//! nothing.

use rustix::process::Signal;
use std::fs;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::http2_client::Http2Client;
use crate::https::{Authority, text};
use crate::layouts::{self, Layout};
use crate::programs::{has, run};
use crate::server::{KAREZ, Server};

/// A configuration with two roots, of which one is served.
struct Site {
    directory: tempfile::TempDir,
    file: PathBuf,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join("f"), name).unwrap();
            fs::write(directory.path().join(name).join("large"), vec![b'x'; 4 << 20]).unwrap();
        }
        let file = directory.path().join("karez.toml");
        let site = Self { directory, file };
        site.write("root = \"one\"\n");
        site
    }

    fn write(&self, keys: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("listen = \"127.0.0.1:0\"\nlog = \"off\"\n{keys}")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    fn serve(&self, layout: Layout) -> Server {
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&self.file)]).args(layout.flags());
        Server::spawn(command)
    }
}

/// Sends SIGHUP, and returns the line that reports the reload.
pub fn reload(server: &mut Server) -> String {
    server.signal(Signal::HUP);
    next_line(server)
}

fn next_line(server: &mut Server) -> String {
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    line
}

pub const LOADED: &str = "karez: configuration loaded\n";
pub const KEPT: &str = "karez: the configuration stays as it was: ";

#[test]
fn a_reload_holds_from_the_next_request_on() {
    let site = Site::new();
    for layout in layouts::all() {
        site.write("root = \"one\"\n");
        let mut server = site.serve(layout);
        let mut client = server.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/f").body, b"one", "{layout}");
        }
        // A response that has begun ends as it began.
        let mut slow = server.connect();
        slow.start_get("/large");
        let mut multiplexed = Http2Client::connect(&server, &[]);
        multiplexed.get(1, "/large");
        multiplexed.read_until(|client| !client.order.is_empty());
        site.write("root = \"two\"\nhidden = true\n");
        assert_eq!(reload(&mut server), LOADED, "{layout}");
        for _ in 0..3 {
            assert_eq!(client.get("/f").body, b"two", "{layout}");
        }
        assert_eq!(slow.read_body(4 << 20), vec![b'x'; 4 << 20], "{layout}");
        assert_eq!(slow.get("/f").body, b"two", "{layout}");
        multiplexed.get(3, "/f");
        multiplexed.opens_windows = true;
        multiplexed.window(0, 1 << 30);
        multiplexed.window(1, 1 << 30);
        assert_eq!(multiplexed.finish(1).body.len(), 4 << 20, "{layout}");
        assert_eq!(multiplexed.finish(3).body, b"two", "{layout}");
        assert_eq!(server.get("/f").body, b"two", "{layout}");
    }
}

#[test]
fn a_broken_file_changes_nothing() {
    let site = Site::new();
    let mut layouts = layouts::sample();
    let mut server = site.serve(layouts.next().unwrap());
    let mut client = server.connect();
    let name = site.file.display();
    for (keys, expected) in [
        ("rot = \"two\"\n", format!("{name}:3: unknown key \"rot\" (did you mean \"root\"?)")),
        ("root = \"three\"\n", "open ".to_owned()),
        (
            "root = \"two\"\ntls-cert = \"none\"\ntls-key = \"none\"\n",
            format!("{}", site.directory.path().join("none").display()),
        ),
        ("root = \"two\"\nredirect-https = true\n", "--redirect-https needs".to_owned()),
    ] {
        site.write(keys);
        let line = reload(&mut server);
        let fault = line.strip_prefix(KEPT).unwrap_or_else(|| panic!("{keys}: {line}"));
        assert!(fault.contains(&expected), "{keys}: {line}");
        assert_eq!(client.get("/f").body, b"one", "{keys}");
    }
    fs::remove_file(&site.file).unwrap();
    let line = reload(&mut server);
    assert!(line.starts_with(KEPT) && line.contains("No such file"), "{line}");
    // All faults are reported.
    site.write("a = 1\nb = 2\n");
    assert!(reload(&mut server).contains(":3: unknown key"));
    assert!(next_line(&mut server).contains(":4: unknown key"));
    site.write("root = \"two\"\n");
    assert_eq!(reload(&mut server), LOADED);
    assert_eq!(client.get("/f").body, b"two");
}

#[test]
fn certificates_and_sites_are_replaced() {
    if !has("curl") {
        return;
    }
    let (site, authority) = (Site::new(), Authority::new());
    let pair = |name: &str| {
        let (certificate, key) = authority.issue(name, &["localhost", "b.example", "127.0.0.1"]);
        format!("tls-cert = \"{}\"\ntls-key = \"{}\"\n", text(&certificate), text(&key))
    };
    for layout in layouts::sample() {
        site.write(&format!("root = \"one\"\n{}", pair("first")));
        let mut server = site.serve(layout);
        let address = server.address;
        let port = address.port();
        let fetch = |name: &str| {
            let mut curl = authority.curl();
            curl.args(["--verbose", "--connect-to", &format!("{name}:{port}:{address}")]);
            let output = run(curl.arg(format!("https://{name}:{port}/f")), &layout.to_string());
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            let subject = printed.split("subject: CN=").nth(1).unwrap().lines().next().unwrap();
            (String::from_utf8(output.stdout).unwrap(), subject.to_owned())
        };
        assert_eq!(fetch("b.example"), ("one".to_owned(), "first".to_owned()), "{layout}");
        let named = "[[site]]\nhosts = \"b.example\"\nroot = \"two\"\n";
        site.write(&format!("root = \"one\"\n{}{named}", pair("second")));
        let lines = [reload(&mut server), next_line(&mut server)];
        assert_eq!(lines, [LOADED, "karez: certificates loaded\n"], "{layout}");
        assert_eq!(fetch("b.example"), ("two".to_owned(), "second".to_owned()), "{layout}");
        assert_eq!(fetch("localhost"), ("one".to_owned(), "second".to_owned()), "{layout}");
    }
}

/// Reloads again and again under load, with broken files in between: no request fails.
/// `KAREZ_RELOADS` sets the number of reloads.
#[test]
fn reloads_under_load_fail_no_request() {
    let reloads = std::env::var("KAREZ_RELOADS").ok().and_then(|count| count.parse().ok());
    let reloads: u32 = reloads.unwrap_or(200);
    let site = Site::new();
    let layouts: Vec<_> = layouts::sample().collect();
    let share = reloads.div_ceil(u32::try_from(layouts.len()).unwrap());
    for layout in layouts {
        site.write("root = \"one\"\n");
        let mut server = site.serve(layout);
        let (stop, address) = (AtomicBool::new(false), server.address);
        thread::scope(|scope| {
            for number in 0..3 {
                let stop = &stop;
                scope.spawn(move || {
                    let mut client = crate::client::Client::connect(address);
                    while !stop.load(Ordering::Relaxed) {
                        let target = if number == 0 { "/large" } else { "/f" };
                        let response = client.get(target);
                        assert_eq!(response.status, 200, "{layout}: {target}");
                        let known = [&b"one"[..], b"two"].contains(&&response.body[..]);
                        assert!(known || response.body.len() == 4 << 20, "{layout}: {target}");
                    }
                });
            }
            for number in 0..share {
                let (keys, expected) = match number % 4 {
                    0 => ("root = \"two\"\n", LOADED),
                    1 => ("root = \n", KEPT),
                    2 => (
                        "root = \"one\"\n[[site]]\nroot = \"two\"\nhosts = \"x.example\"\n",
                        LOADED,
                    ),
                    _ => ("root = \"none\"\n", KEPT),
                };
                site.write(keys);
                let line = reload(&mut server);
                assert!(line.starts_with(expected), "{layout}: {line}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
