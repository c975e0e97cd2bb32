//! Jobs on a device that does not answer: they have a deadline, in every config.

use karez_reactor::{Limits, Model};
use rustix::net::sockopt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::scripted_task::{HANGING, LONG, ask, connect, everywhere, many};

/// Threads for one device, by default.
const WORKERS: usize = 16;

/// More tries than any test needs.
const MANY: usize = 1000;

/// The device is one, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn until_asked(count: usize) {
    let device = HANGING.0.lock().unwrap();
    drop(HANGING.1.wait_while(device, |device| device.0 < count).unwrap());
}

/// The device answers all that wait for it, and hangs again.
fn answer_all() {
    HANGING.0.lock().unwrap().1 = true;
    HANGING.1.notify_all();
    let device = HANGING.0.lock().unwrap();
    let mut device = HANGING.1.wait_while(device, |device| device.0 > 0).unwrap();
    device.1 = false;
}

/// The device hangs and is another test's no more.
fn take_turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    *HANGING.0.lock().unwrap_or_else(PoisonError::into_inner) = (0, false);
    turn
}

#[test]
fn a_job_that_is_overdue_is_not_waited_for_and_its_result_is_dropped() {
    let _turn = take_turn();
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        ask(&mut stream, b"H", b"too late", name);
        // The same connection goes on, with jobs on another device, too.
        ask(&mut stream, b"ehello", b"hello", name);
        ask(&mut stream, b"dab", b"abab", name);
        answer_all();
        for _ in 0..3 {
            ask(&mut stream, b"ehello", b"hello", name);
            ask(&mut stream, b"dab", b"abab", name);
        }
    });
}

#[test]
fn a_device_that_hangs_rejects_jobs_at_once_holds_up_no_other_and_recovers() {
    let _turn = take_turn();
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        // Each that began and is overdue has a thread, until the last is taken.
        let tries = (0..MANY).take_while(|_| told(&mut stream, b"H") == *b"too late");
        assert!((WORKERS..MANY).contains(&tries.count()), "{name}");
        assert_eq!(told(&mut stream, b"h"), *b"too many", "{name}");
        ask(&mut stream, b"dab", b"abab", name);
        answer_all();
        // A thread is free after it has returned the result of its job.
        HANGING.0.lock().unwrap().1 = true;
        let tries = (0..MANY).take_while(|_| told(&mut stream, b"h") == *b"too many");
        assert!(tries.count() < MANY, "{name}: it does not recover");
        HANGING.0.lock().unwrap().1 = false;
    });
}

/// There is room for one connection, so the next is served when the first is closed.
#[test]
fn a_peer_that_resets_while_its_job_hangs_is_let_go() {
    let _turn = take_turn();
    let one = Limits::new(1, LONG);
    everywhere(one, |address, _, name| {
        if name.starts_with(Model::Signal.name()) {
            return; // Linux sends no signal for a reset
        }
        let mut stream = connect(address);
        stream.write_all(b"h").unwrap();
        until_asked(1);
        reset(stream);
        is_served(address, name);
        answer_all();
    });
}

/// A FIN alone is no departure.
#[test]
fn a_peer_that_has_said_all_still_gets_its_answer() {
    let _turn = take_turn();
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"h").unwrap();
        until_asked(1);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The server has most likely seen it by the time that another has been served.
        is_served(address, name);
        answer_all();
        ask(&mut stream, b"", b"answered", name);
    });
}

/// The result of a job on the device: all responses have one length.
fn told(stream: &mut TcpStream, order: &[u8]) -> [u8; 8] {
    let mut answer = [0; 8];
    stream.write_all(order).unwrap();
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn is_served(address: SocketAddr, name: &str) {
    ask(&mut connect(address), b"ehello", b"hello", name);
}
