//! Pushes a file through a socket by one way and prints what that cost, as one line of JSON.
//!
//! `cargo run --release -p karez-transfer --example push -- VIA FILE ADDRESS`
//!
//! VIA is a via of the direction file → socket, or `std-io-copy` for `std::io::copy`. Whoever
//! listens at ADDRESS should take the bytes and drop them, on another core.

#![allow(clippy::print_stdout, reason = "it is a program")]

use karez_transfer::{FileToSocket, Progress, Via};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [way, path, address] = &arguments[..] else {
        return Err("usage: push VIA FILE ADDRESS".into());
    };
    let file = Arc::new(File::open(path)?);
    let socket = TcpStream::connect(address)?;
    let (begun, before) = (Instant::now(), cpu_time());
    let (bytes, ran, calls) = match &way[..] {
        "std-io-copy" => (io::copy(&mut &*file, &mut &socket)?, way.clone(), String::new()),
        via => push(via.parse()?, &file, &socket)?,
    };
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_time() - before);
    socket.shutdown(Shutdown::Write)?;
    println!(
        r#"{{"way":"{way}","ran":"{ran}","bytes":{bytes},"seconds":{seconds:.6},"cpu_seconds":{cpu:.6},"calls":{{{calls}}}}}"#
    );
    Ok(())
}

/// Steps until everything has gone, and waits for what each step says.
fn push(via: Via, file: &Arc<File>, socket: &TcpStream) -> io::Result<(u64, String, String)> {
    socket.set_nonblocking(true)?;
    let size = file.metadata()?.len();
    let mut transfer = FileToSocket::new(file.clone(), 0..size, via);
    loop {
        let wanted = match transfer.step(socket.as_fd())? {
            Progress::Moved(_) => continue,
            Progress::NeedsWritable => PollFlags::OUT,
            Progress::NeedsRelease => PollFlags::empty(),
            Progress::Done => break,
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        poll(&mut [PollFd::new(socket, wanted)], None)?;
    }
    let report = transfer.report();
    let calls: Vec<_> = report.calls.iter().map(|(name, n)| format!(r#""{name}":{n}"#)).collect();
    Ok((report.bytes, report.ran.to_string(), calls.join(",")))
}

/// What all threads of this process have used of the CPU, in seconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
