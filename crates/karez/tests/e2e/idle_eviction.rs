//! Which idle connection makes room for a new one, and when none has to.

use karez_reactor::{Model, Topology};
use std::fs;
use std::process::Command;

use crate::client::Client;
use crate::connection_limits::{QUIET_TIME, all_threads_sleep, half_open, limit_descriptors, site};
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;

/// More than the receive buffer of a client holds, and less than the send buffer of the server.
const MIDDLE: usize = 1 << 20;

/// A request that needs no descriptor.
fn ask(client: &mut Client) -> u16 {
    client.request("OPTIONS", "*", "").status
}

/// accept4(2) fails without a free descriptor, although no connection waits.
#[test]
fn last_descriptor_is_used_without_an_eviction() {
    let root = site();
    let flags = ["--log", "off", "--max-connections", "1000"];
    for layout in layouts::all().filter(|layout| layout.model != Model::Uring) {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut idle = server.connect();
        assert_eq!(ask(&mut idle), 204, "{layout}");
        // A connection of posix-aio has a second descriptor.
        limit_descriptors(&server, layout, if layout.model == Model::PosixAio { 2 } else { 1 });
        expect_both(&server, idle, layout);
    }
}

/// An accept in the ring uses the limit of its submission, so the limit is set before the server starts. The operation
/// needs no descriptor until a connection waits.
#[test]
fn uring_uses_the_last_descriptor_without_an_eviction() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is missing");
        return;
    }
    let root = site();
    for layout in layouts::each_model().filter(|layout| layout.model == Model::Uring) {
        // With so many places one operation accepts many connections.
        let flags = ["--log", "off", "--max-connections", "100000"];
        let prefix = ["prlimit", "--nofile=64:64"];
        let server = Server::start_under(&prefix, layout, root.path(), &flags);
        let mut idle = server.connect();
        assert_eq!(ask(&mut idle), 204, "{layout}");
        let mut crowd = Vec::new();
        loop {
            let taken = server.descriptors().len();
            if taken >= 63 {
                break;
            }
            crowd.push(half_open(&server));
            server.wait_until("it is accepted", || server.descriptors().len() > taken);
        }
        expect_both(&server, idle, layout);
    }
}

/// Expects service for one more connection, and that the idle one stays.
fn expect_both(server: &Server, mut idle: Client, layout: Layout) {
    let mut last = server.connect();
    assert_eq!(ask(&mut last), 204, "{layout}");
    assert!(idle.receives_nothing(QUIET_TIME), "{layout}: evicted, and no connection waits");
    for client in [&mut idle, &mut last] {
        assert_eq!(ask(client), 204, "{layout}");
    }
}

/// The kernel answers bytes that arrive at a closed socket by a reset, which destroys the rest of a response.
#[test]
fn client_that_still_receives_is_not_evicted() {
    let root = site();
    let content = pattern(MIDDLE);
    fs::write(root.path().join("middle"), &content).unwrap();
    // With several event loops the newcomer may be one of another loop.
    let one_loop =
        |layout: &Layout| matches!(layout.topology, Topology::Single | Topology::Workers);
    for layout in layouts::all().filter(one_loop) {
        let flags = ["--log", "off", "--max-connections", "2"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut stalled = server.connect();
        stalled.limit_receive_buffer();
        assert_eq!(stalled.start_get("/middle").status, 200, "{layout}");
        server.wait_until("the kernel has the whole response", || {
            let there = server.unacknowledged(&stalled);
            there > 0 && stalled.unread() + there >= MIDDLE
        });
        let mut younger = server.connect();
        assert_eq!(younger.get("/small").body, b"small", "{layout}");
        // A thread has sent a response a moment before its connection is idle.
        if layout.sleeps_when_idle() {
            server.wait_until("all are idle", || all_threads_sleep(&server));
        }
        assert_eq!(server.get("/small").body, b"small", "{layout}");
        stalled.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(stalled.read_body(MIDDLE) == content, "{layout}: other bytes");
        assert_eq!(stalled.response(false).body, b"small", "{layout}");
        assert!(younger.is_closed(), "{layout}");
    }
}
