//! Streams that share a connection: a toy protocol of frames, with flow control.
//!
//! A frame has a head of nine bytes (kind and stream, length) and bytes of a file. The client grants
//! each stream so many bytes (its window), and may cancel it. One stream's file is not in memory, one's
//! is shorter than promised, and one is cancelled.

use karez_reactor::{ALLOWED, Event, Io, NoJob, Peer, Service, Tag, Task, UnitEvent};
use karez_transfer::{FileId, FileToSocket, OnShort, Via, cached_bytes};
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, many, serve_with};

const COLD: usize = 0;
const SHORT: usize = 1;
const CANCELLED: usize = 2;

/// Promised bytes of each stream.
const LENGTHS: [u64; 3] = [700_000, 90_000, 4 << 20];

/// Bytes that the file of [`SHORT`] has.
const SHORT_LENGTH: usize = 30_000;

/// The most bytes of a file in a frame.
const FRAME: u64 = 16 << 10;

/// The window of a client, and the bytes after which it is granted again.
const WINDOW: u64 = 40_000;

/// When the client has so much of [`CANCELLED`], it cancels it.
const ENOUGH: usize = 200_000;

/// Kinds of frames.
const DATA: u8 = 0;
const RESET: u8 = 0x10;
const CANCEL: u8 = 0x20;

fn head(kind: u8, stream: usize, length: u64) -> [u8; 9] {
    let mut head = [kind | u8::try_from(stream).unwrap(); 9];
    head[1..].copy_from_slice(&length.to_be_bytes());
    head
}

struct Stream {
    file: FileId,
    window: u64,
    left: u64,
    /// Its pages are being read.
    waits: bool,
}

/// The server's side of a connection.
struct Connection {
    files: [Arc<File>; 3],
    streams: Vec<Stream>,
    received: Vec<u8>,
    found_cold: Arc<AtomicBool>,
}

impl Connection {
    fn open(&mut self, io: &mut Io<'_, NoJob>) {
        io.send_timeout(LONG);
        for (file, left) in self.files.iter().zip(LENGTHS) {
            let transfer = FileToSocket::new(file.clone(), 0..left, Via::Auto);
            let file = io.outbox().open_file(transfer);
            self.streams.push(Stream { file, window: 0, left, waits: false });
        }
    }

    /// Handles grants and cancellations, of nine bytes each.
    fn received(&mut self, bytes: &[u8], io: &mut Io<'_, NoJob>) {
        self.received.extend_from_slice(bytes);
        let whole = self.received.len() / 9 * 9;
        for message in self.received.drain(..whole).collect::<Vec<_>>().chunks(9) {
            let number = usize::from(message[0] & 0xf);
            let stream = &mut self.streams[number];
            if message[0] & 0xf0 == CANCEL {
                let returned = io.outbox().cancel(Tag(number as u64));
                let sent = LENGTHS[number] - stream.left - returned;
                stream.left = 0;
                io.outbox().push_bytes(head(CANCEL, number, sent).to_vec());
            } else {
                stream.window += u64::from_be_bytes(message[1..].try_into().unwrap());
            }
        }
    }

    /// Takes turns: a frame of each stream that may send.
    fn append(&mut self, io: &mut Io<'_, NoJob>) {
        let mut appended = true;
        while std::mem::take(&mut appended) && io.outbox().room() > 0 {
            for (number, stream) in self.streams.iter_mut().enumerate() {
                let length = FRAME.min(stream.window).min(stream.left);
                if length == 0 || stream.waits {
                    continue;
                }
                (stream.window, stream.left) = (stream.window - length, stream.left - length);
                let (tag, head) = (Tag(number as u64), head(DATA, number, length));
                io.outbox().push_unit(tag, &head, stream.file, length, OnShort::ZeroFill);
                appended = true;
            }
        }
    }

    fn unit_event(&mut self, number: usize, event: UnitEvent, io: &mut Io<'_, NoJob>) {
        let stream = &mut self.streams[number];
        match event {
            UnitEvent::Cold { returned } => {
                self.found_cold.store(true, Ordering::Relaxed);
                stream.window += returned;
                stream.left += returned;
                stream.waits = true;
            }
            UnitEvent::Warm => stream.waits = false,
            UnitEvent::Short { .. } => {
                stream.left = 0;
                io.outbox().push_bytes(head(RESET, number, 0).to_vec());
            }
            _ => panic!("{event:?}"),
        }
    }
}

impl Task for Connection {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                self.open(io);
                io.receive(io.now() + LONG, true, None);
            }
            Event::Received(bytes, _) => {
                self.received(bytes, io);
                self.append(io);
                io.receive(io.now() + LONG, true, None);
            }
            Event::Unit(Tag(number), event) => {
                self.unit_event(usize::try_from(number).unwrap(), event, io);
                self.append(io);
            }
            Event::Closing(_) => {}
            Event::PeerClosed => io.close(),
            _ => panic!("{event:?}"),
        }
    }

    fn fill(&mut self, io: &mut Io<'_, NoJob>) {
        self.append(io);
    }
}

struct Multiplexed {
    files: [Arc<File>; 3],
    found_cold: Mutex<Arc<AtomicBool>>,
}

impl Service for Multiplexed {
    type Task = Connection;

    fn connect(&self, _: Peer, _: Instant) -> Connection {
        let (files, found_cold) = (self.files.clone(), self.found_cold.lock().unwrap().clone());
        Connection { files, streams: Vec::new(), received: Vec::new(), found_cold }
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 256).to_le_bytes()[0] ^ seed).collect()
}

/// The client: the bytes of each stream, checked as they arrive.
struct Client {
    stream: TcpStream,
    got: [Vec<u8>; 3],
    granted: [u64; 3],
    /// The last frame of a stream.
    ended: [Option<u64>; 3],
    cancelled: bool,
}

impl Client {
    fn tell(&mut self, kind: u8, stream: usize, value: u64) {
        self.stream.write_all(&head(kind, stream, value)).unwrap();
    }

    fn grant(&mut self, stream: usize, bytes: u64) {
        self.granted[stream] += bytes;
        self.tell(DATA, stream, bytes);
    }

    fn is_done(&self) -> bool {
        let cold = self.got[COLD].len() as u64 == LENGTHS[COLD];
        cold && self.ended[SHORT].is_some() && self.ended[CANCELLED].is_some()
    }

    /// Reads one frame and answers it.
    fn take_frame(&mut self, name: &str) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).unwrap();
        let (kind, number) = (head[0] & 0xf0, usize::from(head[0] & 0xf));
        let length = u64::from_be_bytes(head[1..].try_into().unwrap());
        assert!(self.ended[number].is_none(), "{name}: stream {number} goes on behind its end");
        if kind != DATA {
            self.ended[number] = Some(length);
            return;
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut bytes).unwrap();
        self.got[number].extend(bytes);
        let got = self.got[number].len() as u64;
        assert!(got <= self.granted[number], "{name}: more than stream {number} may send");
        if number == CANCELLED && got >= ENOUGH as u64 {
            if !std::mem::replace(&mut self.cancelled, true) {
                self.tell(CANCEL, CANCELLED, 0);
            }
        } else if self.granted[number] - got < WINDOW / 2 {
            self.grant(number, WINDOW);
        }
    }
}

#[test]
fn streams_share_a_connection_whatever_becomes_of_the_others() {
    // Not a temporary directory: that may be tmpfs, whose pages cannot be dropped.
    let mut cold = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let contents = [(LENGTHS[COLD], 1), (SHORT_LENGTH as u64, 2), (LENGTHS[CANCELLED], 3)];
    let contents = contents.map(|(length, seed)| pattern(usize::try_from(length).unwrap(), seed));
    cold.write_all(&contents[COLD]).unwrap();
    rustix::fs::fdatasync(&cold).unwrap();
    let other = |content: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    };
    let files = [Arc::new(cold), other(&contents[SHORT]), other(&contents[CANCELLED])];
    let (cold_starts, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for &(model, topology) in ALLOWED {
        let found_cold = Mutex::new(Arc::default());
        let service = Multiplexed { files: files.clone(), found_cold };
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let cold = &files[COLD];
            rustix::fs::fadvise(cold, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let is_cold =
                cached_bytes(cold.as_fd(), 0..LENGTHS[COLD]).is_ok_and(|cached| cached == 0);
            let stream = connect(address);
            let (got, ended) = ([const { Vec::new() }; 3], [None; 3]);
            let mut client = Client { stream, got, granted: [0; 3], ended, cancelled: false };
            (0..3).for_each(|number| client.grant(number, WINDOW));
            while !client.is_done() {
                client.take_frame(name);
            }
            assert!(client.got[COLD] == contents[COLD], "{name}");
            let (short, zeros) = client.got[SHORT].split_at(SHORT_LENGTH);
            assert!(short == contents[SHORT], "{name}");
            assert!((zeros.len() as u64) < FRAME && zeros.iter().all(|&byte| byte == 0), "{name}");
            let got = &client.got[CANCELLED];
            assert!(*got == contents[CANCELLED][..got.len()], "{name}");
            assert_eq!(client.ended[CANCELLED], Some(got.len() as u64), "{name}: none is lost");
            let found_cold = service.found_cold.lock().unwrap().load(Ordering::Relaxed);
            let pool = !name.contains("single") && !name.contains("blocking");
            let reads = name.contains("uring") || name.contains("posix");
            if is_cold && pool && !reads {
                cold_starts.fetch_add(1, Ordering::Relaxed);
                misses.fetch_add(usize::from(found_cold), Ordering::Relaxed);
            }
        });
    }
    // A miss makes the kernel read ahead: a thread that is interrupted may find the pages afterwards, so not each is
    // reported.
    let (cold_starts, misses) = (cold_starts.into_inner(), misses.into_inner());
    assert!(misses > cold_starts / 2, "the loops waited for the disk: {misses} of {cold_starts}");
}
