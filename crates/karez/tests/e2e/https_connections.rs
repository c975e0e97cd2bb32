//! Connections over TLS: handshakes in pieces, garbage, resumption, key updates, and their ends.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::files::pattern;
use crate::https::{Authority, converse, python, s_client, text};
use crate::layouts;
use crate::programs::has;
use crate::server::Server;
use crate::timeouts::TEST_TIMEOUT;

const GET: &str = "GET /f HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST: &str = "GET /f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content of f\n").unwrap();
    fs::write(root.path().join("large"), pattern(8 << 20)).unwrap();
    root
}

fn raw(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    socket
}

/// Returns everything up to the end of the connection; a reset counts as an end.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}

#[test]
fn plain_http_is_answered_in_plain_text() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let mut socket = raw(&server);
        socket.write_all(GET.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(rest(&mut socket)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{layout}: {answer}");
        assert!(answer.ends_with("plain HTTP was sent to an HTTPS port\n"), "{layout}: {answer}");
    }
}

#[test]
fn garbage_is_answered_by_an_alert() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        for (garbage, alert) in [
            (&b"\x00\x01\x02\x03\x04garbage"[..], 10), // unexpected_message
            (b"\x16\x03\x01\xff\xff", 22),             // record_overflow
            (b"\x16\x05\x01\x00\x10", 70),             // protocol_version
            (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 50), // decode_error
        ] {
            let mut socket = raw(&server);
            socket.write_all(garbage).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&mut socket), [21, 3, 3, 0, 2, 2, alert], "{layout}: {garbage:?}");
        }
        // And the server goes on.
        let mut socket = raw(&server);
        socket.write_all(GET.as_bytes()).unwrap();
        assert!(socket.read(&mut [0; 9]).unwrap() > 0, "{layout}");
    }
}

#[test]
fn an_early_close_leaves_nothing_behind() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &[]);
        let sockets = || {
            let descriptors = server.descriptors();
            descriptors.values().filter(|target| target.starts_with("socket:")).count()
        };
        let before = sockets();
        for length in [0, 3, 5, 7] {
            let mut socket = raw(&server);
            socket.write_all(&b"\x16\x03\x01\x02\x00\x01\x00"[..length]).unwrap();
        }
        server.wait_until("the connections are closed", || sockets() <= before);
    }
}

#[test]
fn a_handshake_has_ten_seconds_in_all() {
    let (authority, root) = (Authority::new(), root());
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = authority.serve(layout, root.path(), &[]);
        let mut socket = raw(&server);
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let start = Instant::now();
        let mut bytes = b"\x16\x03\x01\x02\x00\x01".iter().chain(&[0; 100]);
        // A byte each second does not extend the time.
        let end = loop {
            let _closed = socket.write_all(&[*bytes.next().unwrap()]);
            match socket.read(&mut [0; 16]) {
                Ok(0) => break start.elapsed(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_reset) => break start.elapsed(),
                Ok(count) => panic!("{layout}: {count} bytes"),
            }
        };
        assert!(end.as_secs() >= 9, "{layout}: {end:?}");
    });
}

/// A client over a memory BIO, so that its records can be cut into pieces.
const PIECES: &str = r#"
import socket, ssl, sys, time
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
def talk(version, size, requests, pause=0.0):
    context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname='localhost')
    plain = socket.create_connection(('127.0.0.1', port), timeout=60)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    def flush(together=False):
        data = outgoing.read()
        step = len(data) if together else size
        for at in range(0, len(data), max(step, 1)):
            plain.sendall(data[at:at + step])
            if pause: time.sleep(pause)
    def more():
        data = plain.recv(65536)
        if data: incoming.write(data)
        else: incoming.write_eof()
    def until(action):
        while True:
            try: return action()
            except ssl.SSLWantReadError:
                flush(); more()
    until(tls.do_handshake)
    # The last flight and the first request leave together.
    got = b''
    for last in [False] * (requests - 1) + [True]:
        close = 'Connection: close\r\n' if last else ''
        tls.write(('GET /f HTTP/1.1\r\nHost: localhost\r\n%s\r\n' % close).encode())
    flush(together=size > 1000)
    while True:
        # Without close_notify the end is an SSLEOFError.
        data = until(lambda: tls.read(65536))
        if not data: break
        got += data
    assert got.count(b'HTTP/1.1 200 OK') == requests, got
    assert got.count(b'content of f\n') == requests, got
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    talk(version, 1, 1)
    talk(version, 7, 3)
    talk(version, 100, 2, 0.01)
    talk(version, 1 << 20, 5)
print('ok')
"#;

#[test]
fn records_in_any_pieces_and_pipelined_requests_are_served() {
    if !has("python3") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::all() {
        let server = authority.serve(layout, root.path(), &[]);
        let (port, ca) = (server.address.port().to_string(), authority.ca());
        let arguments = [OsStr::new(&port), OsStr::new(text(&ca))];
        assert_eq!(python(PIECES, &arguments, &layout.to_string()), "ok\n", "{layout}");
    }
}

/// A client that does not read, one that stops in the middle, and one that ends without close_notify.
const RUDE: &str = r#"
import socket, ssl, sys, time
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
def connect():
    plain = socket.create_connection(('127.0.0.1', port), timeout=60)
    return context.wrap_socket(plain, server_hostname='localhost', suppress_ragged_eofs=False)
stalled = connect()
stalled.sendall(b'GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n')
half = connect()
half.sendall(b'GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n')
half.recv(1000)
half.close()
for _ in range(3):
    cut = connect()
    cut.sendall(b'GET /f HTTP/1.1\r\nHo')
    socket.socket(fileno=cut.detach()).close()
fine = connect()
fine.sendall(b'GET /f HTTP/1.1\r\nHost: localhost\r\n\r\n')
answer = b''
while b'content of f' not in answer:
    data = fine.recv(65536)
    assert data, answer
    answer += data
# The send timeout of the server is 2 s: the stalled client gets no regular end. On model blocking the
# last bytes that the socket takes are reported when the time is over, and the time begins again.
time.sleep(9)
stalled.settimeout(30)
got = 0
try:
    while True:
        data = stalled.recv(65536)
        assert data, 'close_notify in the middle of a body'
        got += len(data)
except (ssl.SSLEOFError, ConnectionResetError, ssl.SSLError):
    assert got < 8 << 20, got
    print('ok')
"#;

#[test]
fn a_client_that_does_not_read_is_cut_off_without_close_notify() {
    if !has("python3") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = authority.serve(layout, root.path(), &["--send-timeout", "2s"]);
        let (port, ca) = (server.address.port().to_string(), authority.ca());
        let arguments = [OsStr::new(&port), OsStr::new(text(&ca))];
        assert_eq!(python(RUDE, &arguments, &layout.to_string()), "ok\n", "{layout}");
    });
}

#[test]
fn openssl_updates_keys_resumes_and_sees_close_notify() {
    if !has("openssl") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let (ca, session) = (authority.ca(), authority.directory.path().join("session"));
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let start = ["-CAfile", text(&ca), "-verify_return_error", "-servername", "localhost"];
        let client = |flags: &[&str]| s_client(&server, &[&start[..], flags].concat());

        // `K` asks for a key update in return, `k` does not.
        let printed = converse(client(&["-tls1_3"]), &[GET, "K\n", GET, "k\n", GET, "K\n", LAST]);
        assert_eq!(printed.matches("content of f").count(), 4, "{layout}: {printed}");
        assert!(printed.contains("KEYUPDATE"), "{layout}: {printed}");

        for version in ["-tls1_2", "-tls1_3"] {
            let printed = converse(client(&[version, "-msg"]), &[LAST]);
            assert!(printed.contains("content of f"), "{layout} {version}: {printed}");
            // In TLS 1.3 the end is inside a record; openssl prints the alert all the same.
            assert!(printed.contains("close_notify"), "{layout} {version}: {printed}");

            let printed = converse(client(&[version, "-sess_out", text(&session)]), &[GET, LAST]);
            assert!(printed.contains("New, TLSv1."), "{layout} {version}: {printed}");
            let printed = converse(client(&[version, "-sess_in", text(&session)]), &[LAST]);
            assert!(printed.contains("Reused, TLSv1."), "{layout} {version}: {printed}");
            assert!(printed.contains("content of f"), "{layout} {version}: {printed}");
        }
    }
}

#[test]
fn handshakes_that_arrive_together_are_all_completed() {
    if !has("python3") {
        return;
    }
    let (authority, root) = (Authority::new(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("f"), "content of f\n").unwrap();
    // Forty ClientHellos are in the sockets when the event loop runs again: more than it signs in a turn.
    let script = r#"
import os, signal, socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
os.kill(int(sys.argv[3]), signal.SIGSTOP)
clients = []
for _ in range(40):
    plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    plain.settimeout(0)
    client = context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        clients.append(client)
os.kill(int(sys.argv[3]), signal.SIGCONT)
served = 0
for client in clients:
    client.settimeout(60)
    client.do_handshake()
    client.sendall(b"GET /f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := client.recv(10000):
        answer += piece
    served += answer.endswith(b"\r\n\r\ncontent of f\n")
print(len(clients), served)
"#;
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &[]);
        let (port, pid) = (server.address.port().to_string(), server.pid().to_string());
        let ca = authority.ca();
        let arguments = [OsStr::new(&port), ca.as_os_str(), OsStr::new(&pid)];
        assert_eq!(python(script, &arguments, &layout.to_string()), "40 40\n", "{layout}");
    }
}
