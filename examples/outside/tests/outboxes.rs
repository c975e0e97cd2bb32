//! Outboxes: marks, units of streams, seals, switches, statistics.

use karez_transfer::{
    FileId, FileToSocket, Mark, OnShort, Outbox, OutboxEvent, OutboxStats, Progress, RecordKind,
    Seal, SealError, SealRoom, Switch, Switched, Tag, UnitEvent, Via,
};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

/// Sends an outbox, and returns the bytes that arrive.
fn sent(outbox: &mut Outbox) -> io::Result<String> {
    let (socket, mut peer) = UnixStream::pair()?;
    while outbox.step(socket.as_fd())? != Progress::Done {}
    drop(socket);
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn memory_files_and_marks_in_order() -> io::Result<()> {
    let mut outbox = Outbox::new();
    outbox.enable_stats();
    outbox.report_misses();
    outbox.report_remote_misses();
    outbox.report_direct_misses();
    let mut head = Outbox::buffer();
    head.extend_from_slice(b"head ");
    outbox.push_bytes(head);
    outbox.push_file(FileToSocket::new(file()?, 6..11, Via::Copy));
    outbox.push_mark(Mark(7));
    outbox.push_record(RecordKind::DATA, b" tail".to_vec()); // without a seal as any bytes
    outbox.append(Outbox::from(" and more"));
    assert_eq!((outbox.queued(), outbox.room()), (24, (64 << 10) - 24));
    outbox.page_in().expect("it has a file").run()?;
    outbox.block_on_misses();
    assert_eq!(sent(&mut outbox)?, "head under tail and more");
    assert_eq!(outbox.next_event(), Some(OutboxEvent::Sent(Mark(7))));
    assert_eq!((outbox.moved(), outbox.is_empty()), (24, true));
    assert_eq!(outbox.take_via(), Some(Via::Copy));
    let stats: OutboxStats = outbox.take_stats().expect("they are on");
    assert!(stats.operations() == 0 && stats.page_in_cpu() > Duration::ZERO);
    assert!(stats.calls().total() > 0);
    assert_eq!(stats.into_reports()[0].bytes, 5);
    outbox.push_bytes(vec![1]);
    outbox.clear();
    assert!(outbox.is_empty());
    Ok(())
}

#[test]
fn units_are_slices_of_open_files() -> io::Result<()> {
    let mut outbox = Outbox::new();
    let id: FileId = outbox.open_file(FileToSocket::new(file()?, 6..40, Via::Copy));
    outbox.push_unit(Tag(1), b"[", id, 5, OnShort::Stop);
    outbox.push_unit(Tag(2), b"|", id, 20, OnShort::ZeroFill);
    assert_eq!(outbox.open_transfer(id).map(FileToSocket::remaining), Some(34));
    let text = sent(&mut outbox)?;
    assert_eq!(text, "[under| the desert\0\0\0\0\0\0\0\0\0");
    let short = UnitEvent::Short { returned: 0 };
    assert_eq!(outbox.next_event(), Some(OutboxEvent::Unit(Tag(2), short)));
    outbox.push_unit(Tag(3), b"", id, 4, OnShort::Stop);
    assert_eq!(outbox.cancel(Tag(3)), 4);
    assert!(outbox.close_file(id).is_some() && outbox.open_transfer(id).is_none());
    for event in
        [UnitEvent::Cold { returned: 1 }, UnitEvent::Changed { returned: 1 }, UnitEvent::Warm]
    {
        assert_ne!(event, short);
    }
    Ok(())
}

/// Frames each record by brackets.
struct Brackets;

impl Seal for Brackets {
    fn room(&self) -> SealRoom {
        SealRoom { prefix: 1, tag: 1 }
    }

    fn max_plain(&self, idle: bool) -> usize {
        if idle { 5 } else { 100 }
    }

    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
        let [first, .., last] = record else { return Err(SealError::new()) };
        (*first, *last) = match kind {
            RecordKind::ALERT => (b'!', b'!'),
            RecordKind::HANDSHAKE => (b'?', b'?'),
            _ => (b'(', b')'),
        };
        Ok(())
    }
}

/// Puts a seal on the rest.
struct Sealing;

impl Switch for Sealing {
    fn switch(self: Box<Self>, _socket: BorrowedFd<'_>) -> io::Result<Switched> {
        Ok(Switched::Seal(Box::new(Brackets)))
    }
}

/// Has the socket send the rest as it is.
struct Plain;

impl Switch for Plain {
    fn switch(self: Box<Self>, _socket: BorrowedFd<'_>) -> io::Result<Switched> {
        Ok(Switched::Socket)
    }
}

#[test]
fn seals_make_records() -> io::Result<()> {
    let mut outbox = Outbox::from("plain ");
    outbox.push_seal(Box::new(Brackets));
    outbox.push_raw(b"raw ".to_vec());
    outbox.push_record(RecordKind::ALERT, b"end".to_vec());
    assert_eq!(sent(&mut outbox)?, "plain raw !end!");
    let mut outbox = Outbox::from("plain ");
    outbox.push_switch(Box::new(Sealing));
    outbox.push_bytes(b"water".to_vec());
    assert_eq!(sent(&mut outbox)?, "plain (water)");
    let mut outbox = Outbox::from("plain ");
    outbox.push_switch(Box::new(Plain));
    outbox.push_bytes(b"water".to_vec());
    assert_eq!(sent(&mut outbox)?, "plain water");
    Ok(())
}
