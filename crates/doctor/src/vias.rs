//! The vias: each moves some blocks in each of its directions, and the transfer's report names the
//! method that ran.

use karez_transfer::{
    Direction, FileToFile, FileToSocket, Piped, Progress, Reason, Report, SocketToFile,
    SocketToSocket, Via,
};
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use crate::finding::{Finding, Section, describe};

/// Small enough for a socket buffer without a reader, large enough that every via uses its own
/// method.
const SIZE: usize = 64 << 10;

/// The sizes for which `auto` compares the cost of its methods, between their powers of two.
const MEASURED: [u64; 6] = [24 << 10, 48 << 10, 96 << 10, 192 << 10, 384 << 10, 768 << 10];

/// Transfers of each size until `auto` has compared them.
const TRANSFERS: usize = 24;

/// As [`SIZE`] for a pipe, which may be a single page where a user has many.
const PIPED: usize = 4096;

pub(crate) fn section(directory: &Path) -> Section {
    let findings = Direction::ALL.iter().flat_map(|&direction| {
        direction.vias().iter().map(move |&via| finding(direction, via, directory))
    });
    Section { title: "vias", findings: findings.collect() }
}

fn finding(direction: Direction, via: Via, directory: &Path) -> Finding {
    let name = format!("{via}, {direction}");
    match run_via(direction, via, directory) {
        Err(error) => Finding::unknown(&name, format!("skipped: {error}")),
        Ok(_) if (via, direction) == (Via::Auto, Direction::FileToSocket) => {
            match measured_choice(directory) {
                Ok(text) => Finding::available(&name, text),
                Err(error) => Finding::unknown(&name, format!("skipped: {error}")),
            }
        }
        Ok(report) if via == Via::Auto => Finding::available(&name, choice(&report)),
        Ok(report) => match report.fallbacks.first() {
            None => Finding::available(&name, via.since()),
            Some(fallback) => {
                let (why, ran, since) = (reason(fallback.reason), report.effective, via.since());
                Finding::refused(&name, format!("{why}; {ran} ran instead, {since}"))
            }
        },
    }
}

/// Describes why a via did not run.
fn reason(reason: Reason) -> String {
    match reason {
        Reason::Errno(errno) => describe(errno),
        reason => reason.to_string(),
    }
}

/// Describes the choice of `auto` and the vias that it tried before.
fn choice(report: &Report) -> String {
    let mut text = format!("chose {}", report.effective);
    for fallback in &report.fallbacks {
        text += &format!("; {}: {}", fallback.from, reason(fallback.reason));
    }
    text
}

/// Lets `auto` measure both of its methods on loopback, and describes the sizes that it copies.
fn measured_choice(directory: &Path) -> io::Result<String> {
    let mut file = unnamed_file(directory)?;
    file.write_all(&vec![0x6b; 1 << 20])?;
    let file = Arc::new(file);
    let (out, _peer) = pair()?;
    let mut copied = Vec::new();
    for len in MEASURED {
        let transfer = || FileToSocket::new(file.clone(), 0..len, Via::Auto);
        for _ in 0..TRANSFERS {
            let mut transfer = transfer();
            finish(|| transfer.step(out.as_fd()))?;
        }
        if transfer().intended(len) == Via::Copy {
            copied.push(format!(
                "{}-{} KiB",
                len.next_power_of_two() >> 11,
                len.next_power_of_two() >> 10
            ));
        }
    }
    Ok(match copied.as_slice() {
        [] => "copies files up to 16 KiB; sendfile costs less CPU for larger ones here".to_owned(),
        copied => format!(
            "copies files up to 16 KiB and, as it costs less CPU here, of {}; sendfile for the rest",
            copied.join(", ")
        ),
    })
}

/// Moves some blocks and returns the transfer's report.
fn run_via(direction: Direction, via: Via, directory: &Path) -> io::Result<Report> {
    let range = 0..SIZE as u64;
    match direction {
        Direction::FileToSocket => {
            let (out, _peer) = pair()?;
            let mut transfer = FileToSocket::new(Arc::new(unnamed_file(directory)?), range, via);
            finish(|| transfer.step(out.as_fd()))?;
            Ok(transfer.report().clone())
        }
        Direction::SocketToFile => {
            let source = sender_of(SIZE)?;
            let sink = Arc::new(tempfile::tempfile_in(directory)?);
            let mut transfer = SocketToFile::new(sink, 0, None, via);
            finish(|| transfer.step(source.as_fd()))?;
            Ok(transfer.report().clone())
        }
        Direction::SocketToSocket => {
            let (source, (out, _peer)) = (sender_of(SIZE)?, pair()?);
            let mut transfer = SocketToSocket::new(None, via);
            finish(|| transfer.step(source.as_fd(), out.as_fd()))?;
            Ok(transfer.report().clone())
        }
        Direction::FileToFile => {
            let source = Arc::new(unnamed_file(directory)?);
            let sink = Arc::new(tempfile::tempfile_in(directory)?);
            let mut transfer = FileToFile::new(source, range, sink, 0, via);
            finish(|| transfer.step())?;
            Ok(transfer.report().clone())
        }
        Direction::FileToPipe => {
            let (file, (_reader, writer)) = (unnamed_file(directory)?, io::pipe()?);
            piped(Piped::from_file(0..PIPED as u64, via), file.as_fd(), writer.as_fd())
        }
        Direction::PipeToFile => {
            let (reader, file) = (full_pipe()?, tempfile::tempfile_in(directory)?);
            piped(Piped::to_file(0, None, via), reader.as_fd(), file.as_fd())
        }
        Direction::PipeToPipe => {
            let (reader, (_reader, writer)) = (full_pipe()?, io::pipe()?);
            piped(Piped::between(None, via), reader.as_fd(), writer.as_fd())
        }
    }
}

fn piped(mut transfer: Piped, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Report> {
    finish(|| transfer.step(from, to))?;
    Ok(transfer.report().clone())
}

/// A pipe with a few bytes and no writer.
fn full_pipe() -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(&[0x6b; PIPED])?;
    Ok(reader)
}

/// Steps to the end. The sockets block and accept all data.
fn finish(mut step: impl FnMut() -> io::Result<Progress>) -> io::Result<()> {
    loop {
        match step()? {
            Progress::Moved(_) => {}
            // On loopback the completion arrives within the call that reads the bytes.
            Progress::Done | Progress::NeedsZerocopyCompletion => return Ok(()),
            other => return Err(io::Error::other(format!("it stopped: {other:?}"))),
        }
    }
}

/// Creates an unnamed file.
fn unnamed_file(directory: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(&[0x6b; SIZE])?;
    // `O_DIRECT` and `FICLONERANGE` need the data on disk.
    file.sync_data()?;
    Ok(file)
}

/// Opens a TCP connection whose peer reads and discards everything.
fn pair() -> io::Result<(TcpStream, std::thread::JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let drain = move || {
        let mut bytes = [0; 4096];
        while far.read(&mut bytes).is_ok_and(|count| count > 0) {}
    };
    Ok((near, std::thread::Builder::new().spawn(drain)?))
}

/// Opens a connection whose peer sends `count` bytes and closes.
fn sender_of(count: usize) -> io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let fill = move || {
        // A reader that stops early reports its own error.
        let _unread = far.write_all(&vec![0x6b; count]);
    };
    std::thread::Builder::new().spawn(fill)?;
    Ok(near)
}
