use super::*;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

fn lost(count: u64) -> String {
    format!("lost {count}")
}

fn add(log: &Log, line: &str) {
    log.line(|out| out.extend_from_slice(line.as_bytes()));
}

#[test]
fn lines_arrive_in_order() {
    let (stream, mut reader) = UnixStream::pair().unwrap();
    let log = Log::start("log", stream, lost).unwrap();
    for number in 0..100 {
        add(&log, &number.to_string());
    }
    log.flush();
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    let mut text = vec![0; expected.len()];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn lines_are_dropped_and_counted_while_the_reader_stalls() {
    let (stream, mut reader) = UnixStream::pair().unwrap();
    let log = Log::start("log", stream, lost).unwrap();
    let line = "x".repeat(999);
    // More than the buffer, the batch that is being written and the socket hold.
    let total = 5 * CAPACITY / 1000;
    for _ in 0..total {
        add(&log, &line);
    }
    let mut text = Vec::new();
    let (mut counted, mut lost) = (0, 0);
    while counted < total {
        let mut part = [0; 65536];
        let count = reader.read(&mut part).unwrap();
        text.extend_from_slice(&part[..count]);
        let Some(end) = text.iter().rposition(|&byte| byte == b'\n') else { continue };
        let lines = String::from_utf8(text.drain(..=end).collect()).unwrap();
        for line in lines.lines() {
            counted += match line.strip_prefix("lost ") {
                Some(count) => {
                    lost += count.parse::<u64>().unwrap();
                    count.parse::<usize>().unwrap()
                }
                None => 1,
            };
        }
    }
    assert_eq!(counted, total);
    assert!(lost > 0 && log.dropped_lines() == lost);
}

#[test]
fn lines_are_dropped_after_the_reader_has_closed() {
    let (stream, reader) = UnixStream::pair().unwrap();
    drop(reader);
    let log = Log::start("log", stream, lost).unwrap();
    add(&log, "x");
    log.flush();
    add(&log, "y");
    assert!(log.shared.lock().buffer.is_empty());
    // Another stream takes the lines that follow.
    let (stream, mut reader) = UnixStream::pair().unwrap();
    log.switch_to(stream);
    add(&log, "z");
    let mut text = [0; 2];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"z\n");
}

#[test]
fn a_switch_separates_the_lines_before_from_those_behind() {
    let (stream, mut before) = UnixStream::pair().unwrap();
    let log = Log::start("log", stream, lost).unwrap();
    add(&log, "one");
    log.flush();
    for number in 0..1000 {
        add(&log, &number.to_string());
    }
    let (stream, mut behind) = UnixStream::pair().unwrap();
    log.switch_to(stream);
    log.flush();
    add(&log, "two");
    log.flush();
    let mut text = String::new();
    before.read_to_string(&mut text).unwrap(); // the log has closed it
    assert_eq!(text.lines().count(), 1001);
    let mut text = [0; 4];
    behind.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"two\n");
}

/// A disk that has room for so many bytes, and then for more.
struct Disk {
    written: Arc<Mutex<(Vec<u8>, usize)>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (content, room) = &mut *self.written.lock().unwrap();
        let count = bytes.len().min(*room - content.len());
        content.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_a_full_disk_refuses_are_counted() {
    let written = Arc::new(Mutex::new((Vec::new(), 9)));
    let log = Log::start("log", Disk { written: Arc::clone(&written) }, lost).unwrap();
    let (sender, faults) = channel();
    log.on_fault(move |error| sender.send(error.kind()).unwrap());
    // The second is written in part.
    add(&log, "12345");
    log.flush();
    add(&log, "67890");
    log.flush();
    add(&log, "abcde");
    log.flush();
    assert_eq!(faults.recv(), Ok(ErrorKind::StorageFull));
    written.lock().unwrap().1 = 100;
    add(&log, "fghij");
    log.flush();
    add(&log, "klmno");
    log.flush();
    let text = String::from_utf8(written.lock().unwrap().0.clone()).unwrap();
    assert_eq!(text, "12345\n678\nfghij\nlost 2\nklmno\n");
    assert!(faults.try_recv().is_err(), "it is reported once");
}
