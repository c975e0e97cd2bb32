//! Transfers without a runtime.

use karez_reactor::{LineTooLong, Lines};
use karez_transfer::{
    Errno, FileToFile, FileToSocket, Outbox, Progress, SocketToFile, SocketToSocket, Via,
};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

fn received(mut socket: UnixStream) -> io::Result<String> {
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn each_kind_of_file_and_of_range() -> io::Result<()> {
    let shared = Arc::new(file()?);
    let transfers = [
        (FileToSocket::new(file()?, .., Via::Auto), TEXT),
        (FileToSocket::new(OwnedFd::from(file()?), 6.., Via::Sendfile), "under the desert"),
        (FileToSocket::new(Arc::clone(&shared), ..5, Via::Copy), "water"),
        (FileToSocket::new(shared, 6..=10, Via::Mmap), "under"),
    ];
    for (mut transfer, expected) in transfers {
        for nonblocking in [false, true] {
            let (socket, peer) = UnixStream::pair()?;
            socket.set_nonblocking(nonblocking)?;
            let report = transfer.run_blocking(&socket)?.to_string();
            assert!(report.contains(&format!("{} bytes", expected.len())), "{report}");
            drop(socket);
            assert_eq!(received(peer)?, if nonblocking { "" } else { expected });
        }
    }
    Ok(())
}

#[test]
fn steps_have_a_limit_and_progress_is_displayed() -> io::Result<()> {
    let (socket, peer) = UnixStream::pair()?;
    let mut transfer = FileToSocket::new(file()?, .., Via::Sendfile);
    assert!(matches!(transfer.step_at_most(socket.as_fd(), 5)?, Progress::Moved(5)));
    assert_eq!(transfer.remaining(), TEXT.len() as u64 - 5);
    let progress = transfer.step(socket.as_fd())?;
    assert!(!progress.to_string().is_empty());
    transfer.run_blocking(&socket)?;
    drop(socket);
    assert_eq!(received(peer)?, TEXT);
    Ok(())
}

#[test]
fn sockets_to_files_and_to_sockets() -> io::Result<()> {
    let ((mut client, from), (to, peer)) = (UnixStream::pair()?, UnixStream::pair()?);
    client.write_all(b" the desert")?;
    drop(client);
    SocketToSocket::new(None, Via::Auto).run_blocking(&from, &to)?;
    drop(to);
    let (stored, copied) = (Arc::new(tempfile::tempfile()?), tempfile::tempfile()?);
    let mut store = SocketToFile::new(Arc::clone(&stored), 0, None, Via::Auto);
    store = store.starting_with(*b"under");
    store.run_blocking(&peer)?;
    let mut sink = copied.try_clone()?;
    FileToFile::new(stored, .., copied, 0, Via::Auto).run_blocking()?;
    let mut text = String::new();
    sink.rewind()?;
    sink.read_to_string(&mut text)?;
    assert_eq!(text, "under the desert");
    Ok(())
}

#[test]
fn an_outbox_from_each_kind_of_memory() -> io::Result<()> {
    let shared: Arc<[u8]> = Arc::from(&b"one"[..]);
    let outboxes: [Outbox; 5] = [
        (&b"one"[..]).into(),
        "one".into(),
        String::from("one").into(),
        shared.into(),
        b"one".to_vec().into(),
    ];
    for mut outbox in outboxes {
        let (socket, peer) = UnixStream::pair()?;
        outbox.push_file(FileToSocket::new(file()?, 5..11, Via::Auto));
        outbox.run_blocking(&socket)?;
        drop(socket);
        assert_eq!(received(peer)?, "one under");
    }
    Ok(())
}

#[test]
fn a_refusal_has_its_errno() -> io::Result<()> {
    let (socket, _peer) = UnixStream::pair()?;
    let mut transfer = FileToSocket::new(File::open("/")?, 0..10, Via::Copy);
    let refused = transfer.run_blocking(&socket).err();
    let errno = refused.and_then(|error| Errno::from_io_error(&error));
    assert_eq!(errno, Some(Errno::ISDIR));
    Ok(())
}

#[test]
fn lines() -> Result<(), LineTooLong> {
    let mut found = 0;
    Lines::new(10).split(b"one\ntwo\nthr", |_| found += 1)?;
    assert_eq!(found, 2);
    Ok(())
}
