//! A TLS echo server on blocking sockets, a thread for each connection.
//!
//! `echo PORT` makes its own certificate; `echo PORT CERTIFICATE KEY` reads one. The client's bytes
//! are sent back, sealed in user space. Try it with `openssl s_client -connect localhost:PORT`: `K` there
//! is a key update, `Q` ends.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example")]

use karez_tls::{
    Alert, CertStore, Established, Handshake, Incoming, Opener, Pair, Progress, Reading, Sealer,
    Session, Settings, TlsError,
};
use karez_transfer::{Outbox, RecordKind};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("usage: echo PORT [CERTIFICATE KEY]")?.parse()?;
    let mut settings = Settings::default();
    let store = match (arguments.next(), arguments.next()) {
        (Some(certificate), Some(key)) => {
            settings.pairs.push(Pair { certificate: certificate.into(), key: key.into() });
            CertStore::load(settings)?
        }
        _ => {
            let (store, fingerprint) = CertStore::self_signed(&["localhost".to_owned()], settings)?;
            println!("sha256 fingerprint {fingerprint}");
            store
        }
    };
    let store = Arc::new(store);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, store) = (socket?, Arc::clone(&store));
        std::thread::spawn(move || {
            if let Err(error) = serve(socket, &store) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Serves one connection to its end.
pub fn serve(mut socket: TcpStream, store: &CertStore) -> Result<(), Box<dyn Error>> {
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let Established { info, tx, rx, mut session, .. } = shake_hands(&mut socket, store)?;
    println!(
        "{:?} {:?} name {:?} protocol {:?} resumed {}",
        info.version,
        info.suite,
        info.server_name,
        info.protocol.as_deref().map(String::from_utf8_lossy),
        info.resumed
    );
    let mut outbox = Outbox::new();
    outbox.push_seal(Box::new(Sealer::new(tx, &session)?));
    match echo(&mut socket, &mut session, Opener::new(rx)?, &mut outbox) {
        Ok(()) => Ok(()),
        Err(error) => {
            let alert = error.downcast_ref::<TlsError>().and_then(TlsError::alert);
            if let Some(alert) = alert {
                outbox.push_record(RecordKind::ALERT, alert.to_bytes().to_vec());
                send(&socket, &mut outbox)?;
            }
            Err(error)
        }
    }
}

fn shake_hands(socket: &mut TcpStream, store: &CertStore) -> Result<Established, Box<dyn Error>> {
    let mut handshake = Handshake::new(store.config(), Reading::UpToTheEnd);
    let mut buffer = vec![0; 17 << 10];
    while let Some(most) = handshake.wants() {
        let count = socket.read(&mut buffer[..most.get()])?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let progress = handshake.receive(&buffer[..count]);
        socket.write_all(&handshake.take_output())?;
        match progress {
            Ok(Progress::Receive) => {}
            Ok(Progress::Done) => break,
            Err(TlsError::PlainHttp) => {
                socket.write_all(
                    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nTLS only\n",
                )?;
                return Err(TlsError::PlainHttp.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(handshake.finish()?)
}

fn echo(
    socket: &mut TcpStream,
    session: &mut Session,
    mut opener: Opener,
    outbox: &mut Outbox,
) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut input = &mut buffer[..count];
        while let Some(incoming) = opener.next(&mut input, session)? {
            match incoming {
                Incoming::Data(data) => {
                    session.update_keys(outbox);
                    outbox.push_bytes(data.to_vec());
                }
                _ => {
                    let close = Alert::CLOSE_NOTIFY.to_bytes().to_vec();
                    outbox.push_record(RecordKind::ALERT, close);
                    return Ok(send(socket, outbox)?);
                }
            }
        }
        send(socket, outbox)?;
    }
}

fn send(socket: &TcpStream, outbox: &mut Outbox) -> io::Result<()> {
    while !outbox.is_empty() {
        outbox.step(socket.as_fd())?;
    }
    Ok(())
}
