//! Rules by path, each over HTTP/1.1 and HTTP/2: fields, fallbacks, error pages, redirects and types.

use std::fs;
use std::process::{Command, Output};

use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts;
use crate::server::{KAREZ, Server};

/// A request, and the status and fields that its response has to have. The name of a field that it must
/// not have is followed by `: !`.
pub struct Case {
    pub method: &'static str,
    pub target: &'static str,
    /// Field lines of the request.
    pub fields: &'static [(&'static str, &'static str)],
    pub status: u16,
    pub expected: &'static [&'static str],
    /// The body, unless it is empty.
    pub body: &'static str,
}

/// Returns the case of a GET without fields.
pub const fn get(
    target: &'static str,
    status: u16,
    expected: &'static [&'static str],
    body: &'static str,
) -> Case {
    Case { method: "GET", target, fields: &[], status, expected, body }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("index.html", "the index"),
        ("about.html", "about"),
        ("404.html", "the error page"),
        ("errors/403.html", "forbidden page"),
        ("assets/app.js", "script"),
        ("assets/app.js.gz", "script in gzip"),
        ("docs/index.html", "docs"),
        ("docs/page.html", "a page"),
        ("list/file.md", "text"),
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// Runs cases on a server with these flags, by both protocols and repeatedly, so that hot files and
/// names that are known to be missing have them, too.
pub fn check(flags: &[&str], cases: &[Case]) {
    let root = root();
    let flags = [&["--log", "off"], flags].concat();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        let mut stream = 1;
        for round in 0..3 {
            for case in cases {
                let context = format!("{layout}: {} {}, {round}", case.method, case.target);
                let lines = case.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                let response = client.request(case.method, case.target, &lines.collect::<String>());
                case.check(response.status, &response.fields, &response.body, &context);
                let response = multiplexed.request(stream, case.method, case.target, case.fields);
                let context = format!("HTTP/2, {context}");
                case.check(response.status, &response.fields, &response.body, &context);
                stream += 2;
            }
        }
    }
}

impl Case {
    fn check(&self, status: u16, fields: &[(String, String)], body: &[u8], context: &str) {
        assert_eq!(status, self.status, "{context}: {fields:?}");
        for expected in self.expected {
            let (name, value) = expected.split_once(": ").unwrap();
            let name = name.to_ascii_lowercase();
            let found = fields.iter().filter(|(known, _)| known.to_ascii_lowercase() == name);
            let found: Vec<_> = found.map(|(_, value)| value.as_str()).collect();
            match value {
                "!" => assert!(found.is_empty(), "{context}: {expected}: {fields:?}"),
                value => assert!(found.contains(&value), "{context}: {expected}: {fields:?}"),
            }
            let single = !matches!(&name[..], "vary" | "x-many");
            assert!(!single || found.len() <= 1, "{context}: {name} repeatedly: {fields:?}");
        }
        let length = fields.iter().filter(|(name, _)| name == "content-length").count();
        assert!(length <= 1, "{context}: {fields:?}");
        if !self.body.is_empty() {
            assert_eq!(String::from_utf8_lossy(body), self.body, "{context}");
        }
        if self.method == "HEAD" {
            assert!(body.is_empty(), "{context}");
        }
    }
}

#[test]
fn fields_by_path_and_status() {
    const ASSETS: &[&str] = &[
        "Cache-Control: public, max-age=31536000, immutable",
        "X-All: 1",
        "X-Many: a",
        "X-Many: b",
        "Server: !",
    ];
    let flags = [
        "--header",
        "**: X-All: 1",
        "--header",
        "*.html: X-All: 2",
        "--header",
        "/assets/**: +X-Many: a",
        "--header",
        "/assets/**: +X-Many: b",
        "--header",
        "**: Server:",
        "--header",
        "*.md: X-Content-Type-Options:",
        "--header",
        "** 404: Cache-Control: no-store",
        "--header",
        "** error: X-Error: yes",
        "--cache-control",
        "/assets/**=immutable",
        "--cache-control",
        "*.html=revalidate",
    ];
    check(
        &flags,
        &[
            get("/", 200, &["X-All: 2", "Cache-Control: no-cache", "Server: !"], "the index"),
            get("/assets/app.js", 200, ASSETS, "script"),
            Case { fields: &[("If-None-Match", "*")], ..get("/assets/app.js", 304, ASSETS, "") },
            Case { fields: &[("Range", "bytes=1-2")], ..get("/assets/app.js", 206, ASSETS, "cr") },
            Case { method: "HEAD", ..get("/assets/app.js", 200, ASSETS, "") },
            Case {
                fields: &[("Accept-Encoding", "gzip")],
                ..get("/assets/app.js", 200, ASSETS, "script in gzip")
            },
            get(
                "/assets/none.js",
                404,
                &["Cache-Control: no-store", "X-Error: yes", "X-All: 1", "X-Many: a"],
                "404 Not Found\n",
            ),
            get("/docs", 308, &["X-All: 1", "X-Error: !", "Cache-Control: no-cache"], ""),
            get("/list/", 200, &["X-All: 1", "Cache-Control: no-cache", "X-Error: !"], ""),
            get("/list/file.md", 200, &["X-Content-Type-Options: !", "X-Error: !"], "text"),
            get("/%00", 400, &["X-All: 1", "X-Error: yes", "Server: !"], ""),
            Case {
                method: "POST",
                ..get("/about.html", 405, &["X-Error: yes", "Cache-Control: !"], "")
            },
        ],
    );
}

#[test]
fn cors_and_isolation() {
    const PREFLIGHT: &[(&str, &str)] = &[
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "range, x-y"),
    ];
    const ANY: &[&str] = &[
        "Access-Control-Allow-Origin: *",
        "Cross-Origin-Opener-Policy: same-origin",
        "Cross-Origin-Embedder-Policy: require-corp",
        "Cross-Origin-Resource-Policy: cross-origin",
    ];
    check(
        &["--cors", "--isolate"],
        &[
            get("/about.html", 200, ANY, "about"),
            get("/none", 404, ANY, ""),
            Case {
                method: "OPTIONS",
                fields: PREFLIGHT,
                ..get(
                    "/about.html",
                    204,
                    &[
                        "Access-Control-Allow-Origin: *",
                        "Access-Control-Allow-Methods: GET, HEAD, OPTIONS",
                        "Access-Control-Allow-Headers: range, x-y",
                        "Access-Control-Max-Age: 7200",
                    ],
                    "",
                )
            },
            Case {
                method: "OPTIONS",
                ..get("/about.html", 204, &["Access-Control-Allow-Methods: !"], "")
            },
        ],
    );
    let origins = ["--cors=https://a.example", "--cors=https://b.example:8443", "--isolate"];
    check(
        &origins,
        &[
            Case {
                fields: &[("Origin", "https://b.example:8443")],
                ..get(
                    "/about.html",
                    200,
                    &["Access-Control-Allow-Origin: https://b.example:8443", "Vary: Origin"],
                    "about",
                )
            },
            Case {
                fields: &[("Origin", "https://c.example")],
                ..get("/about.html", 200, &["Access-Control-Allow-Origin: !", "Vary: Origin"], "")
            },
            get("/about.html", 200, &["Access-Control-Allow-Origin: !", "Vary: Origin"], ""),
            Case {
                method: "OPTIONS",
                fields: PREFLIGHT,
                ..get(
                    "/none",
                    204,
                    &["Access-Control-Allow-Origin: https://a.example", "Vary: Origin"],
                    "",
                )
            },
        ],
    );
}

#[test]
fn single_page_applications() {
    const NAVIGATE: &[(&str, &str)] = &[("Sec-Fetch-Mode", "navigate"), ("Accept", "*/*")];
    const SCRIPT: &[(&str, &str)] = &[("Sec-Fetch-Mode", "no-cors"), ("Accept", "text/html")];
    const INDEX: &[&str] = &["Cache-Control: no-cache", "Content-Type: text/html; charset=utf-8"];
    check(
        &["--spa", "--cache-control", "/assets/**=immutable", "--error-page", "404=404.html"],
        &[
            Case { fields: NAVIGATE, ..get("/user/1", 200, INDEX, "the index") },
            Case { fields: NAVIGATE, ..get("/user/1?a=b", 200, INDEX, "the index") },
            Case { method: "HEAD", fields: NAVIGATE, ..get("/user/1", 200, INDEX, "") },
            Case { fields: &[("Accept", "text/html,*/*")], ..get("/x/", 200, INDEX, "the index") },
            Case { fields: SCRIPT, ..get("/assets/none.js", 404, &[], "the error page") },
            get("/user/1", 404, &["Cache-Control: !"], "the error page"),
            get("/", 200, INDEX, "the index"),
            get("/about.html", 200, &["Cache-Control: !"], "about"),
        ],
    );
}

#[test]
fn error_pages_keep_the_status() {
    const PAGE: &[&str] =
        &["Content-Type: text/html; charset=utf-8", "Content-Length: 14", "X-Seen: 1"];
    check(
        &[
            "--error-page",
            "404=404.html",
            "--error-page",
            "403=errors/403.html",
            "--error-page",
            "500=missing.html",
            "--no-listing",
            "--header",
            "/none**: X-Seen: 1",
        ],
        &[
            get("/none", 404, PAGE, "the error page"),
            Case { method: "HEAD", ..get("/none", 404, PAGE, "") },
            Case {
                fields: &[("Range", "bytes=0-1"), ("If-None-Match", "*")],
                ..get("/none", 404, &["ETag: !", "Accept-Ranges: !"], "the error page")
            },
            get("/list/", 403, &["Content-Length: 14"], "forbidden page"),
            get("/404.html", 200, &["X-Seen: !"], "the error page"),
        ],
    );
    check(
        &["--error-page", "404=missing.html"],
        &[get("/none", 404, &["Content-Type: text/plain; charset=utf-8"], "404 Not Found\n")],
    );
}

#[test]
fn redirects_rewrites_and_clean_urls() {
    check(
        &[
            "--redirect",
            "/old/** /docs/$1 301",
            "--redirect",
            "/away/* https://other.example/$1 307",
            "--rewrite",
            "/v1/** /docs/$1",
            "--rewrite",
            "/script /assets/app.js",
            "--clean-urls",
        ],
        &[
            get("/old/page?q", 301, &["Location: /docs/page?q"], ""),
            Case { method: "HEAD", ..get("/old/", 301, &["Location: /docs/"], "") },
            get("/away/a%20b", 307, &["Location: https://other.example/a%20b"], ""),
            get("/v1/", 200, &["Location: !"], "docs"),
            get("/script", 200, &["Content-Type: text/javascript; charset=utf-8"], "script"),
            get("/about", 200, &["Content-Type: text/html; charset=utf-8"], "about"),
            get("/about?x=y", 200, &["Location: !"], "about"),
            get("/about.html?x=y", 308, &["Location: about?x=y"], ""),
            get("/about/", 308, &["Location: ../about"], ""),
            get("/docs/page", 200, &[], "a page"),
            get("/docs/page.html", 308, &["Location: page"], ""),
            get("/docs/index.html", 308, &["Location: ./"], ""),
            get("/docs/", 200, &[], "docs"),
            get("/none", 404, &[], ""),
            get("/none/", 404, &[], ""),
            get("/none.html", 308, &["Location: none"], ""),
        ],
    );
}

#[test]
fn media_types_by_extension() {
    check(
        &["--type", "md=text/x-markdown", "--type", "JS=application/x-script"],
        &[
            get("/list/file.md", 200, &["Content-Type: text/x-markdown"], "text"),
            Case {
                fields: &[("Accept-Encoding", "gzip")],
                ..get(
                    "/assets/app.js",
                    200,
                    &["Content-Type: application/x-script", "Content-Encoding: gzip"],
                    "script in gzip",
                )
            },
            get("/about.html", 200, &["Content-Type: text/html; charset=utf-8"], "about"),
        ],
    );
}

#[test]
fn check_finds_loops_and_missing_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("karez.toml");
    let content = "root = \".\"\nredirect = [\"/a /b\", \"/b /a\"]\nerror-page = \"404=none.html\"\n\
                   spa = true\nheader = \"**: Content-Length: 1\"\ncors = [\"https://a.example\"]\n";
    fs::write(&file, content).unwrap();
    let Output { status, stderr, .. } =
        Command::new(KAREZ).args(["check", text(&file)]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    let printed = String::from_utf8(stderr).unwrap();
    for words in [
        ":2: the redirect /a never ends: /a → /b → /a",
        ":2: the redirect /b never ends",
        ":3: ",
        "none.html: No such file",
        ":4: ",
        ":5: header: invalid value '**: Content-Length: 1'",
    ] {
        assert!(printed.contains(words), "{words} is not in {printed}");
    }
    assert_eq!(printed.lines().count(), 5, "{printed}");
}
