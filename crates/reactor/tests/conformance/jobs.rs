//! Jobs: the threads on which they run, and the connections that they delay.

use karez_reactor::Shutdown;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::scripted_task::{GATE, ask, connect, end_of, everywhere, many, read_some};

/// Runs `script` where jobs that may block go to a pool.
fn with_a_pool(script: impl Fn(SocketAddr, &Shutdown, &str)) {
    everywhere(many(), |address, stop, name| {
        if !name.contains("single") && !name.contains("blocking") {
            script(address, stop, name);
        }
    });
}

/// Waits until so many wait at the gate.
fn at_the_gate(count: usize) {
    drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |gate| gate.0 < count).unwrap());
}

fn at_the_gate_is_nobody() {
    drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |gate| gate.0 > 0).unwrap());
}

fn open_the_gate(count: usize) {
    GATE.0.lock().unwrap().1 += count;
    GATE.1.notify_all();
}

/// The gate is one, so whatever has to do with it is one test.
#[test]
fn a_job_that_blocks_holds_up_nobody_else_and_is_finished_though_the_server_stops() {
    with_a_pool(|address, stop, name| {
        let mut held: Vec<_> = (0..3).map(|_| connect(address)).collect();
        for stream in &mut held {
            stream.write_all(b"g").unwrap();
        }
        at_the_gate(3);
        let mut others: Vec<_> = (0..10).map(|_| connect(address)).collect();
        for _ in 0..10 {
            for stream in &mut others {
                ask(stream, b"ehello", b"hello", name);
                ask(stream, b"dab", b"abab", name);
            }
        }
        drop(held.pop()); // missed by nobody
        stop.trigger();
        for stream in others {
            assert!(end_of(stream).is_empty(), "{name}: idle");
        }
        open_the_gate(3);
        for stream in held {
            assert_eq!(end_of(stream), b"through", "{name}");
        }
        at_the_gate_is_nobody();
    });
}

#[test]
fn a_short_job_stays_where_it_is_and_sub_reactors_share_alike() {
    everywhere(many(), |address, _, name| {
        let mut streams: Vec<_> = (0..10).map(|_| connect(address)).collect();
        let mut by_thread = HashMap::new();
        for stream in &mut streams {
            stream.write_all(b"n").unwrap();
            let mut thread = [0; 32];
            let count = read_some(stream, &mut thread);
            let thread = String::from_utf8_lossy(&thread[..count]).into_owned();
            let expected = match name {
                "blocking × single" => "karez-conn",
                "blocking × workers" => "karez-work",
                _ => "karez-",
            };
            assert!(thread.starts_with(expected), "{name}: {thread}");
            assert!(name.contains("blocking") || !thread.contains("work"), "{name}: {thread}");
            *by_thread.entry(thread).or_insert(0) += 1;
        }
        if name.contains("multi") {
            let even = HashMap::from([("karez-0".to_owned(), 5), ("karez-1".to_owned(), 5)]);
            assert_eq!(by_thread, even, "{name}");
        }
    });
}

#[test]
fn a_job_that_panics_ends_its_connection_and_no_other() {
    with_a_pool(|address, _, name| {
        let mut witness = connect(address);
        // More often than there are threads in the pool.
        for _ in 0..20 {
            let mut stream = connect(address);
            stream.write_all(b"p").unwrap();
            assert!(end_of(stream).is_empty(), "{name}");
            ask(&mut witness, b"dab", b"abab", name);
        }
    });
}
