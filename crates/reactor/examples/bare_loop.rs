//! The lower limit for a file server on epoll(7): prepared replies in memory, nothing else.
//!
//! `bare_loop ADDRESS DIRECTORY` reads every file of the directory once and then answers
//! `GET /NAME` with it: one `epoll_wait`, one `recv`, one `send` a request. It parses no field, opens no
//! file and checks nothing, so a server that does those things can at best come close to it.
//! `bench/serve.py` measures karez and its peers beside it.
//!
//! # Limitations
//!
//! One thread. A request must arrive in one piece and not pipelined; an unknown name closes the
//! connection.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::{env, fs, io};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: bare_loop ADDRESS DIRECTORY"));
    };
    let replies = prepare(Path::new(&directory))?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    serve(&listener, &replies)
}

/// Makes the reply for each file of a directory.
fn prepare(directory: &Path) -> io::Result<HashMap<Vec<u8>, Vec<u8>>> {
    let mut replies = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        let mut reply = format!(
            "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: Tue, 01 Dec 2026 00:00:00 GMT\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            content.len()
        )
        .into_bytes();
        reply.extend(content);
        replies.insert(entry.file_name().into_encoded_bytes(), reply);
    }
    Ok(replies)
}

/// A connection, and what it has not sent yet of its reply.
struct Connection<'a> {
    socket: OwnedFd,
    rest: &'a [u8],
}

const LISTENER: u64 = u64::MAX;

fn serve(listener: &TcpListener, replies: &HashMap<Vec<u8>, Vec<u8>>) -> io::Result<()> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection<'_>>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                accept_all(listener, &poll, &mut connections)?;
                continue;
            }
            let slot = usize::try_from(number).ok().and_then(|number| connections.get_mut(number));
            let Some(slot) = slot else { continue };
            if let Some(connection) = slot
                && !advance(connection, replies, &mut buffer)
            {
                *slot = None;
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &OwnedFd,
    connections: &mut Vec<Option<Connection<'_>>>,
) -> io::Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let free = connections.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(poll, socket.as_fd(), EventData::new_u64(number as u64), interest)?;
        connections[number] = Some(Connection { socket, rest: &[] });
    }
}

/// Sends what is left, or receives a request and sends its reply. Returns false at the end of the
/// connection.
fn advance<'a>(
    connection: &mut Connection<'a>,
    replies: &'a HashMap<Vec<u8>, Vec<u8>>,
    buffer: &mut [u8],
) -> bool {
    if connection.rest.is_empty() {
        match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((count, _)) => match reply(&buffer[..count], replies) {
                Some(bytes) => connection.rest = bytes,
                None => return false,
            },
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        }
    }
    while !connection.rest.is_empty() {
        match send(&connection.socket, connection.rest, SendFlags::NOSIGNAL) {
            Ok(sent) => connection.rest = &connection.rest[sent..],
            Err(Errno::AGAIN) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

fn reply<'a>(request: &[u8], replies: &'a HashMap<Vec<u8>, Vec<u8>>) -> Option<&'a [u8]> {
    let target = request.strip_prefix(b"GET /")?;
    let end = target.iter().position(|&byte| byte == b' ')?;
    replies.get(&target[..end]).map(Vec::as_slice)
}
