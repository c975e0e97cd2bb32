//! The task without an event loop: what it asks for on each event. (The outbox is stepped into one end
//! of a pair, for it is bytes only then.)

use super::*;
use crate::log::Log;
use crate::service::Patience;
use crate::site::{Site, SiteOptions};
use karez_reactor::testing::{Closed, Driver};
use karez_reactor::{Job as _, JobError, RecordType, Stop};
use karez_transfer::{Progress, Via};
use proptest::prelude::*;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// A connection, and what it sends.
struct Bench {
    driver: Driver<Connection>,
    near: UnixStream,
    far: UnixStream,
}

/// Where it came to rest.
#[derive(Debug, PartialEq)]
enum Rest {
    Receiving { for_at_most: Duration, idle: bool },
    Closed,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(30),
    lookup: Duration::from_secs(20),
};

const IDLE: Rest = Rest::Receiving { for_at_most: PATIENCE.idle, idle: true };

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a"), "content of a").unwrap();
    root
}

fn bench(root: &tempfile::TempDir, stop: &Stop) -> Bench {
    let site = SiteOptions {
        index: b"index.html".to_vec(),
        listing: true,
        hidden: false,
        cached_files: Some(8),
        ..SiteOptions::default()
    };
    let shared = Arc::new(Shared {
        site: Arc::new(Site::open(root.path(), site).unwrap()),
        via: Via::Sendfile,
        patience: PATIENCE,
        explain: None,
        access: None,
        notices: Log::start("notices", std::io::sink(), |_| String::new()).unwrap(),
        stop: stop.clone(),
    });
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let driver = Driver::new(Connection::new(shared, Peer::Unix), Instant::now());
    Bench { driver, near, far }
}

impl Bench {
    /// Opens the connection.
    fn open(&mut self) -> Rest {
        self.driver.open();
        self.run()
    }

    /// Does what it asks for until it wants to receive or to close.
    fn run(&mut self) -> Rest {
        loop {
            assert_eq!(self.driver.send_timeout(), PATIENCE.send);
            if self.driver.closed().is_some() {
                return Rest::Closed;
            }
            if let Some((id, job)) = self.driver.take_jobs().pop() {
                let patience = self.driver.timer().map(|at| at - self.driver.now());
                assert_eq!(patience, Some(PATIENCE.lookup));
                self.driver.handle(Event::JobDone(id, Ok(job.run())));
            } else if let Some(event) = self.driver.outbox().next_event() {
                let karez_transfer::OutboxEvent::Sent(mark) = event else { panic!("{event:?}") };
                self.driver.handle(Event::Sent(mark));
            } else if self.driver.outbox().is_empty() {
                let receive = self.driver.receive().expect("nothing armed, queued or running");
                let for_at_most = receive.deadline - self.driver.now();
                return Rest::Receiving { for_at_most, idle: receive.idle };
            } else {
                let near = self.near.as_fd();
                while self.driver.outbox().step(near).unwrap() != Progress::Done {}
            }
        }
    }

    fn hear(&mut self, event: Event<'_, Connection>) -> Rest {
        self.driver.handle(event);
        self.run()
    }

    fn receive(&mut self, bytes: &[u8]) -> Rest {
        self.hear(Event::Received(&mut bytes.to_vec(), RecordType::Data))
    }

    /// What has been sent since the last time.
    fn sent(&mut self) -> String {
        let mut bytes = Vec::new();
        let end = self.far.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn a_request_in_pieces_is_answered_once_and_the_connection_rests() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    assert_eq!(bench.open(), Rest::Receiving { for_at_most: PATIENCE.head, idle: true });
    let in_a_head = Rest::Receiving { for_at_most: PATIENCE.head, idle: false };
    assert_eq!(bench.receive(b"GET /a HTTP/1.1\r\n"), in_a_head);
    assert_eq!(bench.sent(), "");
    assert_eq!(bench.receive(b"Host: x\r\n\r\n"), IDLE);
    let answer = bench.sent();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncontent of a"), "{answer}");
}

#[test]
fn the_time_for_a_head_runs_from_its_first_byte() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.open();
    bench.receive(b"GET /a HT");
    bench.driver.advance(Duration::from_secs(4));
    let left = Rest::Receiving { for_at_most: Duration::from_secs(6), idle: false };
    assert_eq!(bench.receive(b"TP/1.1\r\n"), left);
    bench.driver.advance(Duration::from_secs(6));
    assert!(
        matches!(bench.hear(Event::ReceiveTimedOut), Rest::Receiving { idle: true, .. }),
        "lingers"
    );
    assert!(bench.sent().starts_with("HTTP/1.1 408 "));
    assert_eq!(bench.hear(Event::PeerClosed), Rest::Closed);
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.open();
    assert_eq!(bench.hear(Event::ReceiveTimedOut), Rest::Closed);
    assert_eq!(bench.sent(), "");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.open();
    let requests = "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /a";
    let rest = bench.receive(requests.as_bytes());
    assert_eq!(rest, Rest::Receiving { for_at_most: PATIENCE.head, idle: false });
    let answers = bench.sent();
    let order: Vec<_> =
        answers.matches("HTTP/1.1 200 ").chain(answers.matches("HTTP/1.1 404 ")).collect();
    assert_eq!(order.len(), 2, "{answers}");
    assert!(answers.find("200 OK") < answers.find("404 Not Found"), "{answers}");
}

#[test]
fn the_last_answer_is_given_time_to_arrive() {
    let (root, stop) = (root(), Stop::new());
    let lingering = Rest::Receiving { for_at_most: LINGER, idle: true };
    let mut closing = bench(&root, &stop);
    closing.open();
    let rest = closing.receive(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(rest, lingering);
    assert!(closing.sent().contains("\r\nConnection: close\r\n"));
    assert_eq!(closing.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), lingering);
    assert_eq!(closing.sent(), "", "nothing is answered any more");
    assert_eq!(closing.hear(Event::PeerClosed), Rest::Closed);
}

#[test]
fn a_stop_is_announced() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.open();
    stop.begin();
    let rest = bench.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(rest, Rest::Receiving { for_at_most: LINGER, idle: false });
    assert!(bench.sent().contains("\r\nConnection: close\r\n"));
}

/// Without a length and without chunks, a regular end would make a part look like the whole.
#[test]
fn a_listing_that_fails_is_ended_by_a_reset_where_its_end_is_that_of_the_connection() {
    for (version, end) in [("1.0", Closed::ByReset), ("1.1", Closed::Regularly)] {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        bench.open();
        let request = format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n");
        bench.driver.handle(Event::Received(&mut request.into_bytes(), RecordType::Data));
        let (id, job) = bench.driver.take_jobs().pop().unwrap();
        bench.driver.handle(Event::JobDone(id, Ok(job.run())));
        while bench.driver.outbox().step(bench.near.as_fd()).unwrap() != Progress::Done {}
        bench.driver.outbox().next_event();
        bench.driver.handle(Event::Sent(Mark(0)));
        let (id, job) = bench.driver.take_jobs().pop().unwrap();
        let mut done = job.run();
        let SiteAnswer::Listed { step, .. } = &mut done.answer else { panic!("{version}") };
        *step = Err(std::io::ErrorKind::PermissionDenied.into());
        bench.driver.handle(Event::JobDone(id, Ok(done)));
        assert_eq!(bench.driver.closed(), Some(end), "{version}");
    }
}

impl Bench {
    /// Begins a request, whose job is not run.
    fn request(&mut self, target: &str) -> JobId {
        self.open();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.driver.handle(Event::Received(&mut request.into_bytes(), RecordType::Data));
        assert_eq!(self.driver.timer(), Some(self.driver.now() + PATIENCE.lookup));
        self.driver.take_jobs().pop().unwrap().0
    }

    /// The job is overdue, or was rejected.
    fn without_result(&mut self, id: JobId, overdue: bool) -> Rest {
        self.hear(if overdue { Event::Timer } else { Event::JobDone(id, Err(JobError::Rejected)) })
    }
}

#[test]
fn a_job_that_is_overdue_or_rejected_is_503_and_the_connection_closes() {
    for overdue in [true, false] {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        let id = bench.request("/a");
        let rest = bench.without_result(id, overdue);
        assert_eq!(rest, Rest::Receiving { for_at_most: LINGER, idle: true });
        assert_eq!(bench.driver.timer(), None);
        let answer = bench.sent();
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 20\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_listing_whose_next_job_is_overdue_ends_without_its_last_chunk() {
    for overdue in [true, false] {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        bench.open();
        let mut request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        bench.driver.handle(Event::Received(&mut request, RecordType::Data));
        let (id, job) = bench.driver.take_jobs().pop().unwrap();
        bench.driver.handle(Event::JobDone(id, Ok(job.run())));
        while bench.driver.outbox().step(bench.near.as_fd()).unwrap() != Progress::Done {}
        bench.driver.outbox().next_event();
        bench.driver.handle(Event::Sent(Mark(0)));
        let (id, _) = bench.driver.take_jobs().pop().unwrap();
        assert_eq!(bench.without_result(id, overdue), Rest::Closed);
        let answer = bench.sent();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn a_client_that_resets_while_its_job_runs_is_not_answered() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.request("/a");
    let reset = std::io::ErrorKind::ConnectionReset.into();
    assert_eq!(bench.hear(Event::Failed(reset)), Rest::Closed);
    assert_eq!(bench.sent(), "");
}

#[test]
fn an_idle_connection_is_small() {
    // A hundred thousand of them should fit where others keep their buffers.
    assert!(size_of::<Connection>() <= 512, "{} bytes", size_of::<Connection>());
}

/// Pieces of requests, good and bad.
const WORDS: &[&str] = &[
    "GET ",
    "HEAD ",
    "POST ",
    "/a",
    "/",
    "/..",
    "/%61",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: x\r\n",
    "\r\n",
    "Range: bytes=0-1,3-\r\n",
    "Content-Length: 3\r\n",
    "abc",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "If-None-Match: *\r\n",
    "Connection: close\r\n",
    "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_that_comes_makes_it_panic_or_answer_after_its_end(
        pieces in prop::collection::vec(pieces(), 1..60),
    ) {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        let mut rest = bench.open();
        for piece in pieces {
            if rest == Rest::Closed {
                break;
            }
            rest = bench.receive(&piece);
            let answer = bench.sent();
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer}");
        }
        if rest != Rest::Closed {
            prop_assert!(matches!(bench.hear(Event::PeerClosed), Rest::Closed));
        }
    }
}
