//! Sends a file through a socket by one method and prints the cost as one line of JSON.
//!
//! `cargo run --release -p karez-transfer --features tokio --example push -- WAY FILE ADDRESS`
//!
//! WAY is a via of the direction file → socket, `std-io-copy` for `std::io::copy`, `tokio-io-copy`
//! for `tokio::io::copy` from a `tokio::fs::File`, or `tokio-send-file` for
//! `karez_transfer::tokio::send_file`. The server at ADDRESS should read the bytes and drop
//! them, on another core.

#![allow(clippy::print_stdout, reason = "it is a program")]

use karez_transfer::tokio::send_file;
use karez_transfer::{FileToSocket, Progress, Report, Via};
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
        return Err("usage: push WAY FILE ADDRESS".into());
    };
    let file = Arc::new(File::open(path)?);
    let socket = TcpStream::connect(address)?;
    let (begun, before) = (Instant::now(), cpu_time());
    let (bytes, ran, calls) = match &way[..] {
        "std-io-copy" => (io::copy(&mut &*file, &mut &socket)?, way.clone(), String::new()),
        "tokio-io-copy" => (on_tokio(copy_on_tokio(path, &socket))?, way.clone(), String::new()),
        "tokio-send-file" => {
            let report = on_tokio(send_on_tokio(&file, &socket))?;
            (report.bytes, format!("{way} {}", report.effective), told(&report))
        }
        via => push(via.parse()?, &file, &socket)?,
    };
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_time() - before);
    socket.shutdown(Shutdown::Write)?;
    println!(
        r#"{{"way":"{way}","ran":"{ran}","bytes":{bytes},"seconds":{seconds:.6},"cpu_seconds":{cpu:.6},"calls":{{{calls}}}}}"#
    );
    Ok(())
}

/// Steps to the end, and waits for the events that each step needs.
fn push(via: Via, file: &Arc<File>, socket: &TcpStream) -> io::Result<(u64, String, String)> {
    socket.set_nonblocking(true)?;
    let size = file.metadata()?.len();
    let mut transfer = FileToSocket::new(file.clone(), 0..size, via);
    loop {
        let wanted = match transfer.step(socket.as_fd())? {
            Progress::Moved(_) => continue,
            Progress::NeedsWritable => PollFlags::OUT,
            Progress::NeedsZerocopyCompletion => PollFlags::empty(),
            Progress::Done => break,
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        poll(&mut [PollFd::new(socket, wanted)], None)?;
    }
    let report = transfer.report();
    Ok((report.bytes, report.effective.to_string(), told(report)))
}

fn told(report: &Report) -> String {
    let calls: Vec<_> = report.calls.iter().map(|(name, n)| format!(r#""{name}":{n}"#)).collect();
    calls.join(",")
}

/// The runtime is the same for both, and its threads' time is counted, too.
fn on_tokio<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn copy_on_tokio(path: &str, socket: &TcpStream) -> io::Result<u64> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut socket = of_tokio(socket)?;
    tokio::io::copy(&mut file, &mut socket).await
}

async fn send_on_tokio(file: &File, socket: &TcpStream) -> io::Result<Report> {
    let size = file.metadata()?.len();
    Ok(send_file(&of_tokio(socket)?, file, 0..size, Via::Auto).await?)
}

fn of_tokio(socket: &TcpStream) -> io::Result<tokio::net::TcpStream> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(socket)
}

/// Returns the CPU time of all threads of this process, in seconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
