//! The observer of the process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use karez_transfer::{FileToSocket, Observer, Via, set_observer};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, PartialEq)]
enum Seen {
    Fallback(Via, Via),
    PageIn(u64),
}

struct Sends(Mutex<Sender<Seen>>);

impl Observer for Sends {
    fn fell_back(&self, from: Via, to: Via) {
        self.0.lock().unwrap().send(Seen::Fallback(from, to)).unwrap();
    }

    fn paged_in(&self, bytes: u64, took: Duration) {
        assert!(took > Duration::ZERO);
        self.0.lock().unwrap().send(Seen::PageIn(bytes)).unwrap();
    }
}

#[test]
fn fallbacks_and_page_ins_are_observed() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[b'x'; 5000]).unwrap();
    let file = Arc::new(file);
    let (sender, seen) = channel();
    let (near, mut far) = UnixStream::pair().unwrap();
    // Nothing is observed yet.
    FileToSocket::new(Arc::clone(&file), 0..10, Via::Zerocopy).run_blocking(&near).unwrap();
    assert!(set_observer(Box::new(Sends(Mutex::new(sender.clone())))));
    assert!(!set_observer(Box::new(Sends(Mutex::new(sender)))), "the first one stays");
    // A UNIX socket has no MSG_ZEROCOPY.
    let mut transfer = FileToSocket::new(Arc::clone(&file), 10..5000, Via::Zerocopy);
    let next = transfer.run_blocking(&near).unwrap().effective;
    assert_ne!(next, Via::Zerocopy);
    assert_eq!(seen.try_recv(), Ok(Seen::Fallback(Via::Zerocopy, next)));
    assert!(seen.try_recv().is_err(), "there was one fallback");
    let page_in = FileToSocket::new(file, 0..5000, Via::Sendfile).page_in();
    page_in.run().unwrap();
    let range = page_in.range();
    assert_eq!(seen.try_recv(), Ok(Seen::PageIn(range.end - range.start)));
    drop(near);
    assert_eq!(far.read_to_end(&mut Vec::new()).unwrap(), 5000);
}
