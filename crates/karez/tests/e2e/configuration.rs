//! The configuration file: `karez check`, `karez config`, its schema, and its precedence.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::environment;
use crate::https::{Authority, text};
use crate::layouts;
use crate::server::{KAREZ, Server};

fn run(args: &[&str]) -> Output {
    environment::normalize();
    Command::new(KAREZ).args(args).output().unwrap()
}

/// Returns standard output, or standard error if the command failed.
fn printed(output: Output) -> String {
    let printed = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(printed).unwrap()
}

/// Writes a file with this text into a new directory.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("karez.toml");
    fs::write(&file, text).unwrap();
    (directory, file)
}

/// Returns the faults of a file, without its name.
fn faults(text: &str) -> Vec<String> {
    let (_directory, file) = file(text);
    let output = run(&["check", self::text(&file)]);
    assert_eq!(output.status.code(), Some(i32::from(!output.stderr.is_empty())));
    let name = format!("error: {}:", file.display());
    let printed = String::from_utf8(output.stderr).unwrap();
    printed.lines().map(|line| line.strip_prefix(&name).unwrap_or(line).to_owned()).collect()
}

#[test]
fn check_lists_every_fault_with_its_line() {
    let found = faults(
        "listn = \"127.0.0.1:80\"\nthreads = \"4\"\nhidden = 3\nindex = \"a/b\"\nlog = \"jsn\"\n\
         header_timeout = \"1s\"\nzzz = 1\n\n[[site]]\nhosts = \"a b\"\nthreads = 2\n\
         root = \"missing\"\n[[site]]\nindex = \"x\"\n",
    );
    let expected = [
        "1: unknown key \"listn\" (did you mean \"listen\"?)",
        "2: threads: a number, not a string",
        "3: hidden: true or false, not an integer",
        "4: index: invalid value 'a/b' for '--index <NAME>': must be a name in the directory, not a path",
        "5: log: invalid value 'jsn' for '--log <FORM>' [possible values: common, combined, json, off] \
         tip: a similar value exists: 'json'",
        "6: unknown key \"header_timeout\" (did you mean \"header-timeout\"?)",
        "7: unknown key \"zzz\"",
        "10: hosts: invalid value 'a b' for '--hosts <NAME>': \"a b\" is no host, such as example.org or \
         *.example.org (without a port)",
        "11: unknown key \"threads\" (it belongs at the top)",
    ];
    assert_eq!(&found[..expected.len()], expected, "{found:#?}");
    assert!(found[9].starts_with("12: root ") && found[9].ends_with("(os error 2)"), "{found:#?}");
    assert_eq!(found[10..], ["13: [[site]] has no root"]);
}

#[test]
fn check_reports_syntax_files_and_contradictions() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("one", &["a.example"]);
    let (_, other) = authority.issue("other", &["a.example"]);
    let [certificate, key, other] = [&certificate, &key, &other].map(|path| text(path));
    for (content, line, words) in [
        ("root = \".\"\nlog = \"x\nhidden = = 3\n".to_owned(), "2:", &["basic string"][..]),
        ("listen = [1]\n".to_owned(), "1:", &["a string, not an integer"]),
        ("site = 3\n".to_owned(), "1:", &["[[site]]"]),
        ("topology = \"single\"\nthreads = 4\n".to_owned(), "1:", &["single", "reuseport"]),
        (format!("\ntls-cert = \"{certificate}\"\ntls-key = \"{other}\"\n"), "2:", &[other]),
        (
            format!("tls-cert = \"{certificate}\"\ntls-key = \"none\"\n"),
            "1:",
            &["none", "os error 2"],
        ),
        (format!("tls-key = \"{key}\"\n"), "", &["0 --tls-cert but 1 --tls-key"]),
        ("redirect-https = true\n".to_owned(), "", &["--redirect-https needs"]),
    ] {
        let found = faults(&content);
        let fault = found.first().unwrap_or_else(|| panic!("no fault: {content}"));
        assert!(fault.trim_start().starts_with(line), "{content}: {fault}");
        for word in words {
            assert!(fault.contains(word), "{content}: {word} is not in {fault}");
        }
    }
    assert_eq!(faults("root = \".\"\n"), [""; 0]);
    let missing = run(&["check", "/nonexistent/karez.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(printed(missing).contains("/nonexistent/karez.toml: No such file"));
}

#[test]
fn flags_override_the_file_and_the_file_the_defaults() {
    let (directory, file) =
        file("index = \"start.html\"\nworkers = 3\nhidden = true\nroot = \"www\"\n");
    fs::create_dir(directory.path().join("www")).unwrap();
    let config = ["config", "--config", text(&file)];
    let from_file = printed(run(&config));
    let name = file.display();
    for line in [
        format!("index = \"start.html\" # {name}:1"),
        format!("workers = 3 # {name}:2"),
        format!("hidden = true # {name}:3"),
        format!("root = \"{}\" # {name}:4", directory.path().join("www").display()),
        "listen = [\"127.0.0.1:8080\"] # default".to_owned(),
        "# threads is not set".to_owned(),
    ] {
        assert!(from_file.lines().any(|it| it == line), "{line} is not in {from_file}");
    }
    let flags = ["--index", "x.html", "--listen", "[::1]:1", "--listen", "unix:/a \"b", "/"];
    let both = printed(run(&[&config[..], &flags].concat()));
    for line in [
        "index = \"x.html\" # flag --index",
        "listen = [\"[::1]:1\", \"unix:/a \\\"b\"] # flag --listen",
        "root = \"/\" # DIR",
    ] {
        assert!(both.lines().any(|it| it == line), "{line} is not in {both}");
    }
    // The output is a file with the same values.
    let saved = directory.path().join("saved.toml");
    fs::write(&saved, &both).unwrap();
    let again = printed(run(&["config", "--config", text(&saved)]));
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&again), values(&both));
    let rejected = run(&["config", "--config", "/nonexistent"]);
    assert_eq!(rejected.status.code(), Some(1));
}

#[test]
fn the_server_runs_the_file() {
    let (directory, file) =
        file("root = \"www\"\nindex = \"start.html\"\nlisten = \"127.0.0.1:0\"\nlog = \"off\"\n");
    fs::create_dir(directory.path().join("www")).unwrap();
    fs::write(directory.path().join("www/start.html"), "start").unwrap();
    fs::write(directory.path().join("www/other.html"), "other").unwrap();
    for (flags, expected) in [(&[][..], "start"), (&["--index", "other.html"], "other")] {
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&file)]).args(flags);
        assert_eq!(Server::spawn(command).get("/").body, expected.as_bytes());
    }
    fs::write(&file, "rot = \"www\"\nindx = \"x\"\n").unwrap();
    let output = run(&["serve", "--config", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let printed = printed(output);
    assert!(printed.contains(":1: unknown key \"rot\" (did you mean \"root\"?)"), "{printed}");
    assert!(printed.contains(":2: unknown key \"indx\" (did you mean \"index\"?)"), "{printed}");
}

/// Copies the example, and makes the directories and certificates that it names.
fn example() -> (Authority, PathBuf) {
    let authority = Authority::new();
    let directory = authority.directory.path();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/karez.toml");
    let file = directory.join("karez.toml");
    fs::copy(path, &file).unwrap();
    for (root, content) in [("www", "the site"), ("downloads", "the downloads")] {
        fs::create_dir(directory.join(root)).unwrap();
        fs::write(directory.join(root).join("f"), content).unwrap();
    }
    fs::write(directory.join("users"), crate::access::ANNA).unwrap();
    authority.issue("example.org", &["example.org", "www.example.org"]);
    authority.issue("downloads", &["downloads.example.org", "*.mirror.example.org"]);
    (authority, file)
}

#[test]
fn the_example_is_valid_and_runs() {
    let (_authority, file) = example();
    let checked = run(&["check", text(&file)]);
    assert!(checked.status.success(), "{}", printed(checked));
    let schema: serde_json::Value =
        serde_json::from_str(&printed(run(&["config", "--schema"]))).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| {
        let value: serde_json::Value = toml_to_json(text);
        validator.is_valid(&value)
    };
    assert!(valid(&fs::read_to_string(&file).unwrap()));
    for invalid in ["indx = \"a\"", "threads = \"4\"", "hidden = 1", "[[site]]\nhosts = \"a\""] {
        assert!(!valid(invalid), "{invalid}");
    }
    let layout = layouts::sample().next().unwrap();
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", text(&file)]).args(layout.flags());
    command.args(["--listen", "127.0.0.1:0", "--listen", "http:127.0.0.1:0"]);
    let server = Server::spawn(command);
    assert!(server.first_line.contains("2 sites"), "{}", server.first_line);
}

fn toml_to_json(text: &str) -> serde_json::Value {
    toml::from_str(text).unwrap()
}
