//! Connections whose records the kernel seals and opens, with rustls's client at the other end.
//!
//! Where the kernel has no `tls` module the tests say `skipped: why`. The binary needs nothing beside
//! itself, so it can be run under another kernel; with `--nocapture` it prints that kernel's answers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod common;

use common::*;
use karez_sys::{enable_ktls, receive_tls_record, send_tls_record, set_tls_keys};
use karez_tls::{
    Alert, Control, Established, Handshake, Incoming, KernelSupport, Opener, Progress, Reading,
    Sealer, Session, TlsDirection, TlsVersion,
};
use karez_transfer::Outbox;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ClientConnection, StreamOwned, SupportedCipherSuite};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

const MEBIBYTE: usize = 1 << 20;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

type Client = StreamOwned<ClientConnection, TcpStream>;

/// One test at a time, because the kernel's counters are those of all.
static ALONE: Mutex<()> = Mutex::new(());

/// The kernel's answers; without kernel TLS, prints the reason.
fn support() -> Option<(KernelSupport, MutexGuard<'static, ()>)> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let support = KernelSupport::probe();
    if let Err(error) = &support.suites {
        println!("skipped: no kernel TLS: {error}");
        return None;
    }
    Some((support, alone))
}

fn content() -> Vec<u8> {
    (0..=250_u8).cycle().take(MEBIBYTE).collect()
}

/// Shakes hands; the client sends its request in the same segment as the end of its handshake. `client`
/// runs in a thread of its own.
fn connection(
    suite: SupportedCipherSuite,
    client: impl FnOnce(&mut Client) + Send + 'static,
) -> (TcpStream, Established, JoinHandle<()>) {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut near, _) = listener.accept().unwrap();
    let config = Arc::new(authority.client_of_suite(suite));
    let client = thread::spawn(move || {
        let mut connection = connect(&config, "server.example");
        connection.writer().write_all(REQUEST).unwrap();
        let mut stream = StreamOwned::new(connection, far);
        stream.flush().unwrap();
        client(&mut stream);
    });
    let mut handshake = Handshake::new(authority.store().config(), Reading::UpToTheEnd);
    let mut buffer = vec![0; 17 << 10];
    while let Some(most) = handshake.wants() {
        let count = near.read(&mut buffer[..most.get()]).unwrap();
        assert!(count > 0);
        let progress = handshake.receive(&buffer[..count]).unwrap();
        near.write_all(&handshake.take_output()).unwrap();
        if progress == Progress::Done {
            break;
        }
    }
    let established = handshake.finish().unwrap();
    assert_eq!(established.unread, []);
    (near, established, client)
}

/// Has the kernel take over both directions.
fn take_over(socket: &TcpStream, established: &Established) {
    enable_ktls(socket.as_fd()).unwrap();
    let (tx, rx) = (established.tx.as_kernel(), established.rx.as_kernel());
    set_tls_keys(socket.as_fd(), TlsDirection::Tx, tx).unwrap();
    set_tls_keys(socket.as_fd(), TlsDirection::Rx, rx).unwrap();
}

fn receive_request(socket: &TcpStream) {
    let mut received = vec![0; REQUEST.len()];
    let mut socket = socket;
    socket.read_exact(&mut received).unwrap();
    assert_eq!(received, REQUEST);
}

/// Sends a file by sendfile(2).
fn send_file(socket: &TcpStream, content: &[u8]) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let mut at = 0;
    while at < content.len() as u64 {
        let left = content.len() - usize::try_from(at).unwrap();
        let sent = rustix::fs::sendfile(socket, &file, Some(&mut at), left).unwrap();
        assert!(sent > 0);
    }
}

/// Receives a control record that a plain receive cannot take.
fn receive_control(socket: &TcpStream, session: &mut Session) -> Control {
    let mut buffer = [0; 256];
    let plain = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty());
    assert_eq!(plain.unwrap_err(), Errno::IO, "a control record needs room for its type");
    let (count, kind) =
        receive_tls_record(socket.as_fd(), &mut buffer, RecvFlags::empty()).unwrap();
    session.control(kind.unwrap(), &buffer[..count]).unwrap()
}

fn send_alert(socket: &TcpStream, alert: Alert) {
    let sent = send_tls_record(socket.as_fd(), 21, &alert.to_bytes(), SendFlags::empty());
    assert_eq!(sent, Ok(2));
}

/// The counters of kernel TLS in this network namespace.
fn statistics() -> Vec<(String, u64)> {
    let mut text = String::new();
    File::open("/proc/net/tls_stat").unwrap().read_to_string(&mut text).unwrap();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn counter(name: &str) -> u64 {
    statistics().into_iter().find(|(found, _)| found == name).unwrap().1
}

/// The suites of which the kernel takes both directions.
fn kernel_suites(support: &KernelSupport) -> Vec<SupportedCipherSuite> {
    let taken = |suite: &SupportedCipherSuite| {
        let version = match suite.tls13() {
            Some(_) => TlsVersion::Tls13,
            None => TlsVersion::Tls12,
        };
        let name = format!("{:?}", suite.suite());
        let cipher = match () {
            () if name.contains("AES_128") => karez_tls::TlsCipher::Aes128Gcm,
            () if name.contains("AES_256") => karez_tls::TlsCipher::Aes256Gcm,
            () => karez_tls::TlsCipher::ChaCha20Poly1305,
        };
        support.suite(version, cipher).is_some_and(|said| said.tx.is_ok() && said.rx.is_ok())
    };
    suites().into_iter().filter(taken).collect()
}

#[test]
fn the_kernel_says_which_suites_it_takes() {
    let Some((support, _alone)) = support() else { return };
    let suites = support.suites.as_ref().unwrap();
    assert_eq!(suites.len(), 6);
    for suite in suites {
        println!("{suite}");
    }
    assert!(!kernel_suites(&support).is_empty());
}

#[test]
fn sendfile_and_plain_receives_work_on_every_suite() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support) {
        let counters = ["TlsTxSw", "TlsRxSw", "TlsDecryptError"];
        let before = counters.map(counter);
        let (socket, mut established, client) = connection(suite, |client| {
            let mut received = vec![0; MEBIBYTE];
            client.read_exact(&mut received).unwrap();
            assert!(received == content());
            client.write_all(&received).unwrap();
            client.conn.send_close_notify();
            client.flush().unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "a regular end");
        });
        take_over(&socket, &established);
        receive_request(&socket);
        send_file(&socket, &content());
        let mut echoed = vec![0; MEBIBYTE];
        (&socket).read_exact(&mut echoed).unwrap();
        assert!(echoed == content(), "{suite:?}");
        let control = receive_control(&socket, &mut established.session);
        assert!(matches!(control, Control::Closed));
        send_alert(&socket, Alert::CLOSE_NOTIFY);
        drop(socket);
        client.join().unwrap();
        assert_eq!(counters.map(counter), [before[0] + 1, before[1] + 1, before[2]]);
        println!("{:?}: 1 MiB by sendfile, 1 MiB received, closed both ways", suite.suite());
    }
    let read = statistics();
    let shown = read.iter().filter(|(_, count)| *count > 0);
    println!("{:?}", shown.collect::<Vec<_>>());
}

#[test]
fn each_direction_can_be_the_kernels_alone() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support) {
        // Sending by the kernel, receiving in user space.
        let (mut socket, mut established, client) = connection(suite, echo_back);
        enable_ktls(socket.as_fd()).unwrap();
        set_tls_keys(socket.as_fd(), TlsDirection::Tx, established.tx.as_kernel()).unwrap();
        let mut opener = Opener::new(established.rx).unwrap();
        let session = &mut established.session;
        assert_eq!(read_opened(&mut socket, &mut opener, session, REQUEST.len()), REQUEST);
        send_file(&socket, &content());
        assert!(read_opened(&mut socket, &mut opener, session, MEBIBYTE) == content());
        drop(socket);
        client.join().unwrap();

        // Receiving by the kernel, sending in user space.
        let (socket, established, client) = connection(suite, echo_back);
        enable_ktls(socket.as_fd()).unwrap();
        set_tls_keys(socket.as_fd(), TlsDirection::Rx, established.rx.as_kernel()).unwrap();
        receive_request(&socket);
        let mut outbox = Outbox::new();
        let sealer = Sealer::new(established.tx, &established.session).unwrap();
        outbox.push_seal(Box::new(sealer));
        outbox.push_bytes(content());
        while !matches!(outbox.step(socket.as_fd()).unwrap(), karez_transfer::Progress::Done) {}
        let mut echoed = vec![0; MEBIBYTE];
        (&socket).read_exact(&mut echoed).unwrap();
        assert!(echoed == content());
        drop(socket);
        client.join().unwrap();
    }
}

fn echo_back(client: &mut Client) {
    let mut received = vec![0; MEBIBYTE];
    client.read_exact(&mut received).unwrap();
    client.write_all(&received).unwrap();
    client.flush().unwrap();
    let _ = client.read(&mut [0; 8]);
}

fn read_opened(
    socket: &mut TcpStream,
    opener: &mut Opener,
    session: &mut Session,
    length: usize,
) -> Vec<u8> {
    let (mut plain, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while plain.len() < length {
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0);
        let mut input = &mut buffer[..count];
        while let Some(Incoming::Data(data)) = opener.next(&mut input, session).unwrap() {
            plain.extend_from_slice(data);
        }
    }
    plain
}

#[test]
fn key_updates_are_followed_or_end_the_connection_politely() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support).into_iter().filter(|suite| suite.tls13().is_some()) {
        let (socket, mut established, client) = connection(suite, |client| {
            client.conn.refresh_traffic_keys().unwrap();
            client.write_all(b"under the new key").unwrap();
            client.flush().unwrap();
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            assert!(received.is_empty() || received == content());
            println!("the client received {} bytes and a regular end", received.len());
        });
        take_over(&socket, &established);
        receive_request(&socket);
        let control = receive_control(&socket, &mut established.session);
        let Control::KeyUpdate(rx) = control else { panic!("{control:?}") };
        let changed = set_tls_keys(socket.as_fd(), TlsDirection::Rx, rx.as_kernel());
        println!("{:?}: new RX keys: {changed:?}", suite.suite());
        let offered = support.suite(rx.as_kernel().version(), rx.as_kernel().cipher()).unwrap();
        assert_eq!(changed.is_ok(), offered.rekey);
        if changed.is_ok() {
            let mut received = [0; 17];
            (&socket).read_exact(&mut received).unwrap();
            assert_eq!(&received, b"under the new key");
            let update = established.session.kernel_update().unwrap().unwrap();
            let sent = send_tls_record(socket.as_fd(), 22, &update.message, SendFlags::empty());
            assert_eq!(sent, Ok(5));
            let keys = update.keys.as_kernel();
            set_tls_keys(socket.as_fd(), TlsDirection::Tx, keys).unwrap();
            send_file(&socket, &content());
        } else {
            assert_eq!(changed, Err(Errno::BUSY));
        }
        // The sending side is good, whatever becomes of the other.
        send_alert(&socket, Alert::CLOSE_NOTIFY);
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        client.join().unwrap();
    }
}

#[test]
fn a_record_that_was_changed_is_refused_by_the_kernel() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support) {
        let (socket, established, client) = connection(suite, |client| {
            let mut wire = seal(&mut client.conn, b"water");
            *wire.last_mut().unwrap() ^= 1;
            client.sock.write_all(&wire).unwrap();
            let mut alert = Vec::new();
            let end = client.read_to_end(&mut alert).unwrap_err();
            assert!(end.to_string().contains("BadRecordMac"), "{end}");
        });
        take_over(&socket, &established);
        receive_request(&socket);
        let refused = rustix::net::recv(&socket, &mut [0; 64][..], RecvFlags::empty());
        assert_eq!(refused.unwrap_err(), Errno::BADMSG, "{suite:?}");
        // The error stays on the socket until it is read, so nothing can be sent before.
        let alert = Alert::BAD_RECORD_MAC.to_bytes();
        let refused = send_tls_record(socket.as_fd(), 21, &alert, SendFlags::empty());
        let error = rustix::net::sockopt::socket_error(&socket).unwrap();
        println!("{:?}: a send behind it: {refused:?}, SO_ERROR: {error:?}", suite.suite());
        if refused.is_err() {
            send_alert(&socket, Alert::BAD_RECORD_MAC);
        }
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        client.join().unwrap();
    }
}

#[test]
fn an_end_without_close_notify_is_seen() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support) {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (socket, established, client) = connection(suite, move |client| {
            gone.recv().unwrap();
            let wire = seal(&mut client.conn, &[7; 1000]);
            client.sock.write_all(&wire[..500]).unwrap();
        });
        take_over(&socket, &established);
        receive_request(&socket);
        go.send(()).unwrap();
        client.join().unwrap();
        // Half a record is no data: the stream ends, or fails, but nothing is delivered.
        let mut buffer = [0; 2000];
        let end = receive_tls_record(socket.as_fd(), &mut buffer, RecvFlags::empty());
        println!("{:?}: half a record and an end: {end:?}", suite.suite());
        assert!(!matches!(end, Ok((1.., _))));
    }
}

#[test]
fn a_client_that_has_ended_its_side_is_served_in_user_space() {
    let Some((support, _alone)) = support() else { return };
    for suite in kernel_suites(&support) {
        let (mut socket, mut established, client) = connection(suite, |client| {
            client.sock.shutdown(std::net::Shutdown::Write).unwrap();
            let mut received = [0; 5];
            client.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"water");
        });
        // Until the FIN is here: kernel TLS needs an established connection (TCP_ESTABLISHED).
        let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
        poll(&mut fds, None).unwrap();
        assert_eq!(enable_ktls(socket.as_fd()), Err(Errno::NOTCONN), "{suite:?}");
        let mut opener = Opener::new(established.rx).unwrap();
        let session = &mut established.session;
        assert_eq!(read_opened(&mut socket, &mut opener, session, REQUEST.len()), REQUEST);
        let mut outbox = Outbox::new();
        outbox.push_seal(Box::new(Sealer::new(established.tx, session).unwrap()));
        outbox.push_bytes(b"water".to_vec());
        while !matches!(outbox.step(socket.as_fd()).unwrap(), karez_transfer::Progress::Done) {}
        client.join().unwrap();
    }
}
