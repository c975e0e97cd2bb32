//! The socket of a client, plain or under TLS, and the ways in which a connection ends.

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Longer than each wait of a client that a run causes.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The most bytes of one read.
pub const PART: usize = 64 << 10;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// By a FIN, under TLS behind a close_notify.
    Closed,
    /// By a FIN, under TLS without one.
    Cut,
    Reset,
    /// A response is not the one of an HTTP server, or nothing arrives in time.
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Cut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::WouldBlock => Self::Broken("no byte for 90 s".to_owned()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => text.write_str("closed"),
            Self::Cut => text.write_str("closed without close_notify"),
            Self::Reset => text.write_str("reset"),
            Self::Broken(error) => text.write_str(error),
        }
    }
}

pub enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    pub fn connect(address: SocketAddr) -> Result<Self, End> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self::Plain(stream))
    }

    /// Connects, and shakes hands for the name localhost.
    pub fn connect_secure(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self, End> {
        let Self::Plain(mut stream) = Self::connect(address)? else { unreachable!() };
        let name = "localhost".try_into().unwrap();
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, stream))))
    }

    pub fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes)?,
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// Reads some bytes, at most so many, and appends them.
    pub fn receive(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), End> {
        let mut part = [0; PART];
        let part = &mut part[..most.min(PART)];
        let mut read = || match self {
            Self::Plain(stream) => stream.read(part),
            Self::Tls(stream) => stream.read(part),
        };
        // A receive with a timeout is interrupted when a stopped process goes on (signal(7)).
        let count = loop {
            match read() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        into.extend_from_slice(&part[..count]);
        if count == 0 { Err(End::Closed) } else { Ok(()) }
    }

    /// Closes by a reset.
    pub fn reset(self) {
        let linger = Some(Duration::ZERO);
        let _gone = rustix::net::sockopt::set_socket_linger(self.stream(), linger);
    }

    /// Ends the direction to the server, and keeps the other one.
    pub fn close_half(&self) {
        let _gone = self.stream().shutdown(Shutdown::Write);
    }

    /// Makes the server wait for this client soon.
    pub fn limit_receive_buffer(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(self.stream(), 64 << 10).unwrap();
    }
}
