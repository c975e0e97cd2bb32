//! Records that the kernel makes and opens, on every model: the stream and control records arrive in
//! order, and files are sent by every via.
//!
//! There is no handshake: both sides have the same keys. Where the kernel has no module `tls` the test says
//! `skipped: why`; `.ci/vm` runs it under kernels that have it.

use karez_reactor::{
    ALLOWED, Event, Io, Mark, Model, NoJob, Peer, RecordKind, RecordType, Service, SocketOption,
    Task,
};
use karez_sys::{
    TlsCipher, TlsDirection, TlsKeys, TlsVersion, receive_tls_record, send_tls_record, start_ktls,
};
use karez_transfer::{Direction, FileToSocket, Switch, Switched};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{RecvFlags, SendFlags};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, many, serve_with};

/// Not a multiple of a record's length.
const LENGTH: usize = 200_001;

/// Ends a connection behind more bytes than a socket takes at once.
const END: u8 = 255;
const TIMES: usize = 4;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

const DATA: u8 = 23;
const ALERT: u8 = 21;

/// The keys of one direction.
fn keys(of_server: bool) -> TlsKeys {
    let key = [if of_server { 7 } else { 8 }; 16];
    TlsKeys::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm, &key, [9; 12], 0).unwrap()
}

struct KernelTx;

impl Switch for KernelTx {
    fn switch(self: Box<Self>, socket: BorrowedFd<'_>) -> io::Result<Switched> {
        start_ktls(socket, TlsDirection::Tx, &keys(true))?;
        Ok(Switched::Socket)
    }
}

/// Echoes records with their type; data that is one digit gets the file by that via, and with `END` behind it
/// the file several times, and then the end of the connection.
struct Echo {
    file: Arc<File>,
    open: bool,
}

impl Echo {
    fn received(&self, bytes: &[u8], kind: RecordType, io: &mut Io<'_, NoJob>) {
        match (kind, bytes) {
            (RecordType::Data, &[via @ 0..=9]) => {
                let via = Direction::FileToSocket.vias()[usize::from(via)];
                io.outbox().push_bytes(b"head".to_vec());
                let end = LENGTH as u64;
                io.outbox().push_file(FileToSocket::new(self.file.clone(), 1..end, via));
            }
            (RecordType::Data, &[via @ 0..=9, END]) => {
                let via = Direction::FileToSocket.vias()[usize::from(via)];
                for _ in 0..TIMES {
                    let (file, length) = (self.file.clone(), LENGTH as u64);
                    io.outbox().push_file(FileToSocket::new(file, 0..length, via));
                }
                io.outbox().push_record(RecordKind::ALERT, CLOSE_NOTIFY.to_vec());
                io.shutdown_write();
            }
            (RecordType::Control(kind), _) => {
                io.outbox().push_record(RecordKind(kind), bytes.to_vec());
            }
            _ => io.outbox().push_bytes(bytes.to_vec()),
        }
        io.notify_sent(Mark(0));
    }
}

impl Task for Echo {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => io.receive(io.now() + LONG, true, NonZeroUsize::new(1)),
            Event::Received(_, _) if !self.open => {
                self.open = true;
                io.outbox().push_raw(b"hello".to_vec());
                io.outbox().push_switch(Box::new(KernelTx));
                io.configure(SocketOption::TlsRx(keys(false)));
            }
            Event::Configured(result) => {
                result.unwrap();
                io.notify_sent(Mark(0));
            }
            Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, kind) => self.received(bytes, kind, io),
            Event::PeerClosed => io.close(),
            Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

struct Echoes(Arc<File>);

impl Service for Echoes {
    type Task = Echo;

    fn connect(&self, _: Peer, _: Instant) -> Echo {
        Echo { file: self.0.clone(), open: false }
    }
}

/// Returns whether this kernel has TLS.
fn is_supported() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let tried = start_ktls(socket.as_fd(), TlsDirection::Tx, &keys(true));
    tried.inspect_err(|errno| println!("skipped: no kernel TLS: {errno}")).is_ok()
}

fn send(client: &TcpStream, kind: u8, bytes: &[u8]) {
    let sent = send_tls_record(client.as_fd(), kind, bytes, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}

/// Receives so many bytes of records of one type.
fn receive(client: &TcpStream, kind: u8, length: usize) -> Vec<u8> {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while received.len() < length {
        let room = buffer.len().min(length - received.len());
        let (count, of) =
            receive_tls_record(client.as_fd(), &mut buffer[..room], RecvFlags::empty()).unwrap();
        assert!(count > 0 && of.unwrap_or(DATA) == kind, "{count} bytes of {of:?}");
        received.extend_from_slice(&buffer[..count]);
    }
    received
}

#[test]
fn the_kernel_makes_and_opens_records_on_every_model() {
    if !is_supported() {
        return;
    }
    let content: Vec<u8> = (0..LENGTH).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let service = Echoes(Arc::new(file));
    // An emulated machine is slow, and a topology changes nothing about sockets.
    let all = std::env::var_os("KAREZ_LAYOUTS").is_some_and(|value| value == "all");
    let mut seen = Vec::new();
    for &(model, topology) in ALLOWED {
        // With posix-aio glibc's threads receive, and cannot receive control records.
        if model == Model::PosixAio || (seen.contains(&model) && !all) {
            continue;
        }
        seen.push(model);
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let mut client = connect(address);
            client.write_all(b"!").unwrap();
            start_ktls(client.as_fd(), TlsDirection::Tx, &keys(false)).unwrap();
            // Right behind the handshake, and of several types.
            send(&client, DATA, b"first");
            send(&client, ALERT, b"al");
            send(&client, ALERT, b"rt");
            send(&client, DATA, b"second");
            assert_eq!(receive_plain(&client, 5), b"hello", "{name}");
            start_ktls(client.as_fd(), TlsDirection::Rx, &keys(true)).unwrap();
            assert_eq!(receive(&client, DATA, 5), b"first", "{name}");
            assert_eq!(receive(&client, ALERT, 2), b"al", "{name}");
            assert_eq!(receive(&client, ALERT, 2), b"rt", "{name}");
            assert_eq!(receive(&client, DATA, 6), b"second", "{name}");
            for (number, via) in Direction::FileToSocket.vias().iter().enumerate() {
                send(&client, DATA, &[u8::try_from(number).unwrap()]);
                // In the middle of the file, and with bytes behind it.
                send(&client, ALERT, b"al");
                send(&client, DATA, b"third");
                assert_eq!(receive(&client, DATA, 4), b"head", "{name}, {via}");
                let sent = receive(&client, DATA, LENGTH - 1);
                assert!(sent == content[1..], "{name}, {via}");
                assert_eq!(receive(&client, ALERT, 2), b"al", "{name}, {via}");
                assert_eq!(receive(&client, DATA, 5), b"third", "{name}, {via}");
            }
        });
    }
}

/// The kernel keeps records for which the send buffer has no room, and a FIN would overtake them.
#[test]
fn the_last_record_arrives_before_the_end_of_the_connection() {
    if !is_supported() {
        return;
    }
    let content: Vec<u8> = (0..LENGTH).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let service = Echoes(Arc::new(file));
    let mut seen = Vec::new();
    for &(model, topology) in ALLOWED {
        if model == Model::PosixAio || seen.contains(&model) {
            continue;
        }
        seen.push(model);
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            for number in 0..Direction::FileToSocket.vias().len() {
                let mut client = connect(address);
                set_socket_recv_buffer_size(&client, 32 << 10).unwrap();
                client.write_all(b"!").unwrap();
                start_ktls(client.as_fd(), TlsDirection::Tx, &keys(false)).unwrap();
                assert_eq!(receive_plain(&client, 5), b"hello", "{name}");
                start_ktls(client.as_fd(), TlsDirection::Rx, &keys(true)).unwrap();
                send(&client, DATA, &[u8::try_from(number).unwrap(), END]);
                for _ in 0..TIMES {
                    assert!(receive(&client, DATA, LENGTH) == content, "{name}, {number}");
                }
                assert_eq!(receive(&client, ALERT, 2), CLOSE_NOTIFY, "{name}, {number}");
                let mut end = [0; 8];
                let end = receive_tls_record(client.as_fd(), &mut end, RecvFlags::empty());
                assert_eq!(end, Ok((0, None)), "{name}, {number}");
            }
        });
    }
}

/// Receives so many bytes that are no records, and not one more.
fn receive_plain(mut client: &TcpStream, length: usize) -> Vec<u8> {
    let mut received = vec![0; length];
    io::Read::read_exact(&mut client, &mut received).unwrap();
    received
}
