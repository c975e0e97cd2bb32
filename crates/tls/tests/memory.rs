//! Memory of handshakes in progress and of established connections, by the resident set.
//!
//! Nothing else may allocate meanwhile, so it is the only test of its file.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod common;

use common::*;
use karez_tls::{Handshake, Reading};
use std::fs;
use std::process::Command;
use std::sync::Arc;

const COUNT: usize = 300;

/// Resident bytes of this process.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// Makes many of a kind, and returns how many bytes one of them takes.
fn each<T>(mut make: impl FnMut() -> T) -> usize {
    let mut kept = Vec::with_capacity(COUNT);
    // The first ones fill the holes that earlier ones have left.
    kept.extend((0..COUNT / 4).map(|_| make()));
    let before = resident();
    let rest = COUNT - kept.len();
    kept.extend((0..rest).map(|_| make()));
    resident().saturating_sub(before) / rest
}

/// Each case is measured in a process of its own, whose heap has no holes.
const CASES: [&str; 3] = ["before the first byte", "half a handshake", "established"];

#[test]
fn a_connection_takes_little_memory() {
    if let Ok(case) = std::env::var("KAREZ_MEMORY") {
        return measure(&case);
    }
    for suite in 0..suites().len() {
        for (case, bound) in CASES.into_iter().zip([512, 8 << 10, 4 << 10]) {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_connection_takes_little_memory", "--nocapture"])
                .env("KAREZ_MEMORY", format!("{case}:{suite}"))
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let found = text.lines().find_map(|line| line.split_once("bytes each: "));
            let bytes: usize = found.unwrap().1.trim().parse().unwrap();
            println!("{:?}, {case}: {bytes} bytes", suites()[suite].suite());
            assert!((1..=bound).contains(&bytes), "{bytes} bytes {case}");
        }
    }
}

fn measure(case: &str) {
    let (case, suite) = case.split_once(':').unwrap();
    let authority = Authority::new();
    let config = authority.store().config();
    let client = Arc::new(authority.client_of_suite(suites()[suite.parse::<usize>().unwrap()]));
    let bytes = match case {
        "established" => each(|| established(Arc::clone(&config), &client, "server.example").0),
        _ => each(|| {
            let mut server = Handshake::new(Arc::clone(&config), Reading::UpToTheEnd);
            if case == "half a handshake" {
                server.receive(&outgoing(&mut connect(&client, "server.example"))).unwrap();
                drop(server.take_output());
            }
            server
        }),
    };
    println!("bytes each: {bytes}");
}
