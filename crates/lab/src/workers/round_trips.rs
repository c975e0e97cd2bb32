//! Round trips of small messages over TCP: one process answers by one of several ways to wait, the
//! other one asks, one message at a time.
//!
//! The asking process never sleeps: it polls its socket in a loop. So a round trip contains one
//! wake-up at most, that of the answering process.
//!
//! # Limitations
//! Each process needs a core of its own.

use karez_lab_sys::{incoming_napi_id, set_epoll_busy_poll, set_socket_busy_poll};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use std::hint::spin_loop;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use super::command::{number, text};
use super::sender::{UsageSnapshot, now};
use crate::error::{Error, ErrorContext as _, Result};

const MESSAGE: [u8; 8] = *b"question";

/// Packets that one poll of the device takes at most: the default of the kernel.
const BUDGET: u16 = 8;

/// Maximum time of a round trip.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The answering process.
#[derive(Default)]
pub(super) struct RoundTrips {
    listener: Option<(TcpListener, Wait)>,
}

/// How it waits for a message.
enum Wait {
    /// In recv(2).
    Receive,
    /// In epoll_wait(2).
    Epoll(OwnedFd),
}

impl RoundTrips {
    /// Listens, and replies with the address and the errno of the option that makes the process poll
    /// for the given time; 0 for success.
    pub(super) fn listen(&mut self, command: &Value) -> Result<Value> {
        let (at, time) = (text(command, "at")?, number(command, "microseconds")?);
        let time = u32::try_from(time).context("read", "a time")?;
        let listener = TcpListener::bind((at, 0)).context("listen at", at)?;
        let address = listener.local_addr().context("get the address of", "a socket")?;
        let (wait, set) = match text(command, "wait")? {
            // The sockets that it accepts inherit the option.
            "receive" => (Wait::Receive, set_socket_busy_poll(listener.as_fd(), time)),
            _ => {
                let epoll = epoll::create(CreateFlags::CLOEXEC).context("open", "an epoll")?;
                // Without a time the parameters stay as they are: older kernels have none.
                let set = if time > 0 {
                    set_epoll_busy_poll(epoll.as_fd(), time, BUDGET)
                } else {
                    Ok(())
                };
                (Wait::Epoll(epoll), set)
            }
        };
        self.listener = Some((listener, wait));
        let errno = set.err().map_or(0, Errno::raw_os_error);
        Ok(json!({ "address": address.to_string(), "errno": errno }))
    }

    /// Answers all messages of the next connection, and replies with the figures without those of the
    /// first message, which tells the socket the queue of the device.
    pub(super) fn answer(&mut self) -> Result<Value> {
        let listener = self.listener.take();
        let (listener, wait) = listener.ok_or_else(|| Error::new("accept", "", "not listening"))?;
        let (mut connection, _) = listener.accept().context("accept", "tcp")?;
        connection.set_nodelay(true).context("set an option of", "a socket")?;
        if let Wait::Epoll(epoll) = &wait {
            epoll::add(epoll, &connection, EventData::new_u64(0), EventFlags::IN)
                .context("watch", "a socket")?;
        }
        answer_one(&mut connection, &wait)?;
        let before = UsageSnapshot::now();
        let mut answers = 0_u64;
        while answer_one(&mut connection, &wait)? {
            answers += 1;
        }
        let used = before.elapsed();
        let napi_id =
            incoming_napi_id(connection.as_fd()).context("get the queue of", "a socket")?;
        Ok(json!({ "answers": answers, "napi_id": napi_id, "usage": used }))
    }
}

/// Answers one message; returns whether there was one.
fn answer_one(connection: &mut TcpStream, wait: &Wait) -> Result<bool> {
    if let Wait::Epoll(epoll) = wait {
        let mut events = Vec::with_capacity(1);
        epoll::wait(epoll, spare_capacity(&mut events), None).context("wait for", "a message")?;
    }
    let mut message = [0; MESSAGE.len()];
    match connection.read(&mut message).context("receive", "a message")? {
        0 => Ok(false),
        length => {
            connection.write_all(&message[..length]).context("send", "an answer")?;
            Ok(true)
        }
    }
}

/// Makes a number of round trips, each so many microseconds after the last one, and replies with the
/// median of their times in nanoseconds.
pub(super) fn make(command: &Value) -> Result<Value> {
    let (to, count) = (text(command, "to")?, number(command, "count")?);
    let gap = number(command, "gap")? * 1000;
    let mut connection = TcpStream::connect(to).context("connect to", to)?;
    connection.set_nodelay(true).context("set an option of", "a socket")?;
    round_trip(&mut connection)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let next = now() + gap;
        while now() < next {
            spin_loop();
        }
        times.push(round_trip(&mut connection)?);
    }
    times.sort_unstable();
    Ok(json!({ "nanoseconds": times.get(times.len() / 2) }))
}

/// Sends a message, polls the socket until the answer has arrived, and returns the nanoseconds.
fn round_trip(connection: &mut TcpStream) -> Result<u64> {
    let begun = now();
    connection.write_all(&MESSAGE).context("send", "a message")?;
    loop {
        match recv(&*connection, &mut [0; MESSAGE.len()], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                return Err(Error::new("receive", "an answer", "the connection is closed"));
            }
            Ok(_) => return Ok(now() - begun),
            Err(Errno::AGAIN) if u128::from(now() - begun) < TIMEOUT.as_nanos() => spin_loop(),
            Err(errno) => return Err(Error::new("receive", "an answer", errno)),
        }
    }
}
