//! Bodies over TLS are exact: versions, ciphers and sizes around the borders of records, on every
//! model and topology, with curl and with Python's ssl.

use std::ffi::OsStr;
use std::fs;

use crate::files::pattern;
use crate::https::{Authority, python, text, url};
use crate::layouts;
use crate::programs::{has, run};

/// Lengths around the first, short record, a full record, a gathered buffer, and several turns.
const SIZES: [usize; 17] = [
    0,
    1,
    3_700,
    4_073,
    4_096,
    16_383,
    16_384,
    16_385,
    32_768,
    65_535,
    65_536,
    65_537,
    131_073,
    160 << 10,
    1 << 20,
    2 << 20,
    (2 << 20) + 1,
];

/// Requests HTTP/1.1 over one connection and compares every response with the file.
const FETCH: &str = r#"
import http.client, ssl, sys
host, port, ca, root, version = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
connection.connect()
assert connection.sock.version() == version.replace('_', '.'), connection.sock.version()
socket = connection.sock
def get(name, **fields):
    connection.request('GET', '/' + name, headers=fields)
    response = connection.getresponse()
    return response.status, response.read()
for name in sys.argv[6:]:
    content = open(root + '/' + name, 'rb').read()
    assert get(name) == (200, content), name
    size = len(content)
    if size > 100:
        for first, last in (0, 0), (size // 3, size // 2), (size - 16385, size - 1), (size - 1, size - 1):
            if first >= 0:
                got = get(name, Range='bytes=%d-%d' % (first, last))
                assert got == (206, content[first:last + 1]), (name, first, last, got[0])
        status, parts = get(name, Range='bytes=1-2,%d-' % (size - 20))
        assert status == 206 and content[-20:] in parts, name
    connection.request('HEAD', '/' + name)
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b''), name
    assert int(response.headers['content-length']) == size, name
assert get('missing')[0] == 404
status, listing = get('')
assert status == 200 and b'size-65537' in listing
assert connection.sock is socket, 'the connection was closed between'
print('ok')
"#;

fn root() -> (tempfile::TempDir, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let names = SIZES.map(|size| format!("size-{size}"));
    for (name, size) in names.iter().zip(SIZES) {
        fs::write(root.path().join(name), pattern(size)).unwrap();
    }
    (root, names.to_vec())
}

#[test]
fn bodies_and_ranges_are_exact_in_every_layout() {
    if !has("python3") {
        return;
    }
    let authority = Authority::new();
    let (root, names) = root();
    for (number, layout) in layouts::all_with_vias().enumerate() {
        let server = authority.serve(layout, root.path(), &[]);
        assert!(server.first_line.contains(" https://"), "{}", server.first_line);
        let (ca, port) = (authority.ca(), server.address.port().to_string());
        for version in layouts::cases(&["TLSv1_3", "TLSv1_2"], number) {
            let start = ["127.0.0.1", &port, text(&ca), text(root.path()), version];
            let arguments = start.iter().copied().chain(names.iter().map(String::as_str));
            let arguments: Vec<_> = arguments.map(OsStr::new).collect();
            assert_eq!(python(FETCH, &arguments, &layout.to_string()), "ok\n", "{layout}");
        }
    }
}

#[test]
fn curl_fetches_with_every_version_and_cipher() {
    if !has("curl") {
        return;
    }
    let authority = Authority::new();
    let (root, names) = root();
    let into = tempfile::tempdir().unwrap();
    let ciphers = [
        &["--tlsv1.3", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"][..],
        &["--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"],
        &["--tlsv1.3", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
        &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ];
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &[]);
        for cipher in ciphers {
            let mut curl = authority.curl();
            curl.args(["--http1.1", "--fail", "--write-out", "%{num_connects} "]).args(cipher);
            for name in &names {
                curl.arg("--output")
                    .arg(into.path().join(name))
                    .arg(url(&server, &format!("/{name}")));
            }
            let output = run(&mut curl, &layout.to_string());
            let connects = String::from_utf8(output.stdout).unwrap();
            let expected = format!("1 {}", "0 ".repeat(names.len() - 1));
            assert_eq!(connects, expected, "{layout}: one connection");
            for name in &names {
                let same = fs::read(into.path().join(name)).unwrap()
                    == fs::read(root.path().join(name)).unwrap();
                assert!(same, "{layout} {cipher:?} {name}");
                fs::remove_file(into.path().join(name)).unwrap();
            }
        }
    }
}
