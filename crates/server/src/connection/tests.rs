//! The task on a model made of memory: what it wants for what it hears, without a socket of its
//! own. (An outbox is stepped into one end of a pair, for it is bytes only then.)

use super::*;
use crate::log::Log;
use crate::service::Patience;
use crate::site::{Site, SiteOptions};
use karez_reactor::{Job as _, Stop};
use karez_transfer::{Progress, Via};
use proptest::prelude::*;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// A connection, what it sends, and the clock.
struct Bench {
    task: Connection,
    near: UnixStream,
    far: UnixStream,
    now: Instant,
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
    let now = Instant::now();
    Bench { task: Connection::new(shared, Peer::Unix, now), near, far, now }
}

impl Bench {
    /// Grants wishes until it wants to receive or to close.
    fn run(&mut self) -> Rest {
        loop {
            let event = match self.task.want() {
                Want::Receive { until, idle } => {
                    // Not granted: it is told what came, or that time is up, by the test.
                    return Rest::Receiving { for_at_most: until - self.now, idle };
                }
                Want::Send { mut outbox, stall } => {
                    assert_eq!(stall, PATIENCE.send);
                    while outbox.step(self.near.as_fd()).unwrap() != Progress::Done {}
                    Event::Sent(outbox)
                }
                Want::Work { job, until } => {
                    assert_eq!(until - self.now, PATIENCE.lookup);
                    Event::Worked(job.run())
                }
                Want::Finish => Event::Finished,
                Want::Relay { .. } => unreachable!("a server of files leads nobody on"),
                Want::Close => return Rest::Closed,
            };
            self.task.hear(event, self.now);
        }
    }

    fn hear(&mut self, event: Event<'_, Done>) -> Rest {
        self.task.hear(event, self.now);
        self.run()
    }

    fn receive(&mut self, bytes: &[u8]) -> Rest {
        self.hear(Event::Received(bytes))
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
    assert_eq!(bench.run(), Rest::Receiving { for_at_most: PATIENCE.head, idle: true });
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
    bench.run();
    bench.receive(b"GET /a HT");
    bench.now += Duration::from_secs(4);
    let left = Rest::Receiving { for_at_most: Duration::from_secs(6), idle: false };
    assert_eq!(bench.receive(b"TP/1.1\r\n"), left);
    bench.now += Duration::from_secs(6);
    assert!(matches!(bench.hear(Event::TimedOut), Rest::Receiving { idle: true, .. }), "lingers");
    assert!(bench.sent().starts_with("HTTP/1.1 408 "));
    assert_eq!(bench.hear(Event::PeerClosed), Rest::Closed);
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.run();
    assert_eq!(bench.hear(Event::TimedOut), Rest::Closed);
    assert_eq!(bench.sent(), "");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    bench.run();
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
    closing.run();
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
    bench.run();
    stop.begin();
    let rest = bench.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(rest, Rest::Receiving { for_at_most: LINGER, idle: false });
    assert!(bench.sent().contains("\r\nConnection: close\r\n"));
}

impl Bench {
    /// Begins a request and says what came of its job instead of running it.
    fn request_whose_job(&mut self, target: &str, end: Event<'_, Done>) -> Rest {
        self.run();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.task.hear(Event::Received(request.as_bytes()), self.now);
        let Want::Work { until, .. } = self.task.want() else { panic!("no job") };
        assert_eq!(until - self.now, PATIENCE.lookup);
        self.hear(end)
    }
}

#[test]
fn a_job_that_is_overdue_or_rejected_is_503_and_the_connection_closes() {
    for end in [Event::TimedOut, Event::Rejected] {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        let rest = bench.request_whose_job("/a", end);
        assert_eq!(rest, Rest::Receiving { for_at_most: LINGER, idle: true });
        let answer = bench.sent();
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 20\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_listing_whose_next_job_is_overdue_ends_without_its_last_chunk() {
    for end in [Event::TimedOut, Event::Rejected] {
        let (root, stop) = (root(), Stop::new());
        let mut bench = bench(&root, &stop);
        bench.run();
        bench.task.hear(Event::Received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), bench.now);
        let Want::Work { job, .. } = bench.task.want() else { panic!("no job") };
        bench.task.hear(Event::Worked(job.run()), bench.now);
        let Want::Send { mut outbox, .. } = bench.task.want() else { panic!("no head") };
        while outbox.step(bench.near.as_fd()).unwrap() != Progress::Done {}
        bench.task.hear(Event::Sent(outbox), bench.now);
        assert!(matches!(bench.task.want(), Want::Work { .. }));
        assert_eq!(bench.hear(end), Rest::Closed);
        let answer = bench.sent();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn a_client_that_resets_while_its_job_runs_is_not_answered() {
    let (root, stop) = (root(), Stop::new());
    let mut bench = bench(&root, &stop);
    let reset = std::io::ErrorKind::ConnectionReset.into();
    assert_eq!(bench.request_whose_job("/a", Event::Failed(reset)), Rest::Closed);
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
        let mut rest = bench.run();
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
