//! A file over a socket on compio, by the step function: `cargo run --manifest-path examples/compio/Cargo.toml --
//! 127.0.0.1:8080 FILE`, then `nc 127.0.0.1 8080`.
//!
//! `PollFd` of compio waits for any descriptor, and lends it to a step: by io_uring, or by epoll where there is none. A pool
//! of threads reads what is not in memory.
use compio::runtime::fd::PollFd;
use compio::runtime::{Runtime, spawn, spawn_blocking};
use karez_transfer::{FileToSocket, Progress, Via};
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: karez-compio-example ADDRESS FILE"));
    };
    run(TcpListener::bind(address)?, File::open(path)?)
}

/// Sends the file to every client, and closes the connection.
fn run(listener: TcpListener, file: File) -> io::Result<()> {
    Runtime::new()?.block_on(serve(listener, Arc::new(file)))
}

async fn serve(listener: TcpListener, file: Arc<File>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = PollFd::new(listener)?;
    loop {
        let (socket, client) = match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.accept_ready().await?;
                continue;
            }
            accepted => accepted?,
        };
        let transfer =
            FileToSocket::new(Arc::clone(&file), ..file.metadata()?.len(), Via::Sendfile);
        let sending = async move {
            if let Err(error) = send(socket, transfer).await {
                eprintln!("{client}: {error}");
            }
        };
        spawn(sending).detach();
    }
}

/// Drives a transfer to its end.
async fn send(socket: TcpStream, mut transfer: FileToSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = PollFd::new(socket)?;
    transfer.report_misses();
    loop {
        match transfer.step(socket.as_fd())? {
            // The socket is writable, so a fast client waits here for its turn among the others.
            Progress::Moved(_) | Progress::NeedsWritable => socket.write_ready().await?,
            Progress::NeedsWorker => {
                let page_in = transfer.page_in();
                spawn_blocking(move || page_in.run()).await??;
            }
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => {
                let reason = format!("the file became shorter: {missing} bytes are missing");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            // Of vias with `MSG_ZEROCOPY`, which this one does not fall back to.
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// The thread of the runtime ends with the process.
    #[test]
    fn every_client_receives_the_file() {
        let path = std::env::temp_dir().join(format!("karez-compio-{}", std::process::id()));
        let bytes: Vec<u8> =
            (0..5_000_007_u32).map(|at| at.wrapping_mul(77_777).to_be_bytes()[1]).collect();
        File::create_new(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || run(listener, file).unwrap());
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for mut client in clients {
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            assert!(received == bytes, "{} bytes", received.len());
        }
    }
}
