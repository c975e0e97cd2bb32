//! The task without an event loop: its requests to the reactor after each event. The outbox is sent
//! through a socket pair, so that the tests see bytes.

use std::time::Duration;

use super::*;
use crate::address_limits::AddressLimits;
use crate::closing::LINGER;
use crate::error_log::ErrorLog;
use crate::job::FileResult;
use crate::options::Timeouts;
use crate::proxies::ProxyOptions;
use crate::site::{ListingStep, MemoryRefusal, Site, SiteSettings};
use crate::sites::Sites;
use crate::torn::Torn;
use karez_reactor::testing::{Closed, Harness};
use karez_reactor::{Job as _, JobError, RecordType, Shutdown};
use karez_transfer::{Progress, Via};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// A connection and the socket pair that its outbox is sent through.
struct TestConnection {
    harness: Harness<Connection>,
    near: UnixStream,
    far: UnixStream,
}

/// The state of the connection when it has nothing to run or send.
#[derive(Debug, PartialEq)]
enum State {
    Receiving { timeout: Duration, idle: bool },
    Closed,
}

const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(30),
    min_rate: 1024,
    lookup: Duration::from_secs(20),
};

const IDLE: State = State::Receiving { timeout: TIMEOUTS.idle, idle: true };

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a"), "content of a").unwrap();
    root
}

fn test(root: &tempfile::TempDir, stop: &Shutdown) -> TestConnection {
    let site = SiteSettings {
        index: b"index.html".to_vec(),
        listing: true,
        hidden: false,
        cached_files: Some(8),
        ..SiteSettings::default()
    };
    let site = Arc::new(Site::open(root.path(), site).unwrap());
    let live = Live::new(ServerContext {
        sites: Sites::new(vec![(site, Vec::new())]).unwrap(),
        via: Via::Sendfile,
        torn: Torn::default(),
        torn_responses: Arc::default(),
        timeouts: TIMEOUTS,
        listing_memory: Default::default(),
        proxies: ProxyOptions::default(),
        limits: AddressLimits::default(),
        explain: None,
        http2: true,
        access: None,
        error_log: ErrorLog::start("errors", std::io::sink()).unwrap(),
        metrics: None,
        health: Default::default(),
        drain: Default::default(),
        content_tags: Default::default(),
        stop: stop.clone(),
        #[cfg(feature = "tls")]
        tls: None,
        generation: 0,
        https_port: None,
    });
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let now = Instant::now();
    let harness = Harness::new(Connection::new(live, Peer::new(None, 0), now), now);
    TestConnection { harness, near, far }
}

impl TestConnection {
    /// Opens the connection.
    fn open(&mut self) -> State {
        self.harness.open();
        self.run()
    }

    /// Runs its jobs and sends its outbox until it receives or is closed.
    fn run(&mut self) -> State {
        loop {
            assert_eq!(self.harness.send_timeout(), TIMEOUTS.send);
            if self.harness.closed().is_some() {
                return State::Closed;
            }
            if let Some((id, job)) = self.harness.take_jobs().pop() {
                let timeout = self.harness.timer().map(|at| at - self.harness.now());
                assert_eq!(timeout, Some(TIMEOUTS.lookup));
                self.harness.handle(Event::JobDone(id, Ok(job.run())));
            } else if let Some(event) = self.harness.outbox().next_event() {
                let karez_transfer::OutboxEvent::Sent(mark) = event else { panic!("{event:?}") };
                self.harness.handle(Event::Sent(mark));
            } else if self.harness.outbox().is_empty() {
                let receive = self.harness.receive().expect("nothing armed, queued or running");
                let timeout = receive.deadline - self.harness.now();
                return State::Receiving { timeout, idle: receive.idle };
            } else {
                let near = self.near.as_fd();
                while self.harness.outbox().step(near).unwrap() != Progress::Done {}
            }
        }
    }

    fn handle(&mut self, event: Event<'_, Connection>) -> State {
        self.harness.handle(event);
        self.run()
    }

    fn receive(&mut self, bytes: &[u8]) -> State {
        self.handle(Event::Received(&mut bytes.to_vec(), RecordType::Data))
    }

    /// Returns the bytes sent since the last call.
    fn sent(&mut self) -> String {
        let mut bytes = Vec::new();
        let end = self.far.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn a_request_in_pieces_gets_one_response_and_the_connection_is_idle() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    assert_eq!(test.open(), State::Receiving { timeout: TIMEOUTS.head, idle: true });
    let in_a_head = State::Receiving { timeout: TIMEOUTS.head, idle: false };
    assert_eq!(test.receive(b"GET /a HTTP/1.1\r\n"), in_a_head);
    assert_eq!(test.sent(), "");
    assert_eq!(test.receive(b"Host: x\r\n\r\n"), IDLE);
    let answer = test.sent();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncontent of a"), "{answer}");
}

#[test]
fn the_timeout_of_a_request_starts_at_its_first_byte() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    test.receive(b"GET /a HT");
    test.harness.advance(Duration::from_secs(4));
    let left = State::Receiving { timeout: Duration::from_secs(6), idle: false };
    assert_eq!(test.receive(b"TP/1.1\r\n"), left);
    test.harness.advance(Duration::from_secs(6));
    assert!(
        matches!(test.handle(Event::ReceiveTimedOut), State::Receiving { idle: true, .. }),
        "the connection lingers"
    );
    assert!(test.sent().starts_with("HTTP/1.1 408 "));
    assert_eq!(test.handle(Event::PeerClosed), State::Closed);
}

#[test]
fn an_idle_connection_times_out_without_a_response() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    assert_eq!(test.handle(Event::ReceiveTimedOut), State::Closed);
    assert_eq!(test.sent(), "");
}

#[test]
fn pipelined_requests_get_responses_in_order() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    let requests = "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /a";
    let rest = test.receive(requests.as_bytes());
    assert_eq!(rest, State::Receiving { timeout: TIMEOUTS.head, idle: false });
    let answers = test.sent();
    let order: Vec<_> =
        answers.matches("HTTP/1.1 200 ").chain(answers.matches("HTTP/1.1 404 ")).collect();
    assert_eq!(order.len(), 2, "{answers}");
    assert!(answers.find("200 OK") < answers.find("404 Not Found"), "{answers}");
}

#[test]
fn after_the_last_response_the_client_has_time_to_close() {
    let (root, stop) = (root(), Shutdown::new());
    let lingering = State::Receiving { timeout: LINGER, idle: true };
    let mut closing = test(&root, &stop);
    closing.open();
    let rest = closing.receive(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(rest, lingering);
    assert!(closing.sent().contains("\r\nConnection: close\r\n"));
    assert_eq!(closing.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), lingering);
    assert_eq!(closing.sent(), "", "no response after the last");
    assert_eq!(closing.handle(Event::PeerClosed), State::Closed);
}

#[test]
fn a_shutdown_is_announced_by_connection_close() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    stop.trigger();
    let rest = test.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(rest, State::Receiving { timeout: LINGER, idle: false });
    assert!(test.sent().contains("\r\nConnection: close\r\n"));
}

/// Without a length and without chunks, a regular end would make a part look like the whole.
#[test]
fn a_listing_that_fails_ends_by_a_reset_where_a_close_would_look_complete() {
    for (version, end) in [("1.0", Closed::ByReset), ("1.1", Closed::Regularly)] {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        test.open();
        let request = format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n");
        test.begin_listing(&request);
        let (id, job) = test.harness.take_jobs().pop().unwrap();
        let mut done = job.run();
        let FileResult::Listed { step, .. } = &mut done.result else { panic!("{version}") };
        *step = Err(std::io::ErrorKind::PermissionDenied.into());
        test.harness.handle(Event::JobDone(id, Ok(done)));
        assert_eq!(test.harness.closed(), Some(end), "{version}");
    }
}

/// Until the names are read there is no response, so the status can report the fault.
#[test]
fn a_listing_that_fails_before_its_page_is_500_or_503() {
    let faults: [fn() -> std::io::Result<ListingStep>; 3] = [
        || Err(std::io::ErrorKind::PermissionDenied.into()),
        || Ok(ListingStep::Refused(MemoryRefusal::InUse)),
        || Ok(ListingStep::Refused(MemoryRefusal::TooLarge)),
    ];
    let expected =
        ["500 Internal Server Error", "503 Service Unavailable", "503 Service Unavailable"];
    for ((number, fault), expected) in faults.iter().enumerate().zip(expected) {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        let (mut id, mut job) = test.request("/");
        loop {
            let mut done = job.run();
            if let FileResult::Listed { step, .. } = &mut done.result {
                *step = fault();
                assert_eq!(test.handle(Event::JobDone(id, Ok(done))), IDLE, "it stays");
                break;
            }
            test.harness.handle(Event::JobDone(id, Ok(done)));
            (id, job) = test.harness.take_jobs().pop().unwrap();
        }
        let answer = test.sent();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{answer}");
        assert_eq!(answer.contains("\r\nRetry-After: 1\r\n"), number == 1, "{answer}");
    }
}

impl TestConnection {
    /// Starts a listing, and sends the head of its response.
    fn begin_listing(&mut self, request: &str) {
        let mut request = request.as_bytes().to_vec();
        self.harness.handle(Event::Received(&mut request, RecordType::Data));
        while self.harness.outbox().is_empty() {
            let (id, job) = self.harness.take_jobs().pop().unwrap();
            self.harness.handle(Event::JobDone(id, Ok(job.run())));
        }
        while self.harness.outbox().step(self.near.as_fd()).unwrap() != Progress::Done {}
        self.harness.outbox().next_event();
        self.harness.handle(Event::Sent(Mark(0)));
    }

    /// Starts a request whose job is not run.
    fn request(&mut self, target: &str) -> (JobId, FileJob) {
        self.open();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.harness.handle(Event::Received(&mut request.into_bytes(), RecordType::Data));
        assert_eq!(self.harness.timer(), Some(self.harness.now() + TIMEOUTS.lookup));
        self.harness.take_jobs().pop().unwrap()
    }

    /// The job times out, or is rejected.
    fn without_result(&mut self, id: JobId, timed_out: bool) -> State {
        self.handle(if timed_out {
            Event::Timer
        } else {
            Event::JobDone(id, Err(JobError::Rejected))
        })
    }
}

#[test]
fn a_job_that_times_out_or_is_rejected_is_503_and_closes() {
    for timed_out in [true, false] {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        let (id, _) = test.request("/a");
        let rest = test.without_result(id, timed_out);
        assert_eq!(rest, State::Receiving { timeout: LINGER, idle: true });
        assert_eq!(test.harness.timer(), None);
        let answer = test.sent();
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 20\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_listing_whose_next_job_times_out_ends_without_its_last_chunk() {
    for timed_out in [true, false] {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        test.open();
        test.begin_listing("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let (id, _) = test.harness.take_jobs().pop().unwrap();
        assert_eq!(test.without_result(id, timed_out), State::Closed);
        let answer = test.sent();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn a_client_that_resets_while_its_job_runs_gets_no_response() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.request("/a");
    let reset = std::io::ErrorKind::ConnectionReset.into();
    assert_eq!(test.handle(Event::Failed(reset)), State::Closed);
    assert_eq!(test.sent(), "");
}

/// The response to HEAD has no body, whatever is wrong with the request's (RFC 9110 §9.3.2).
#[test]
fn a_malformed_body_is_400_by_the_rules_of_its_method() {
    for (method, body) in [("HEAD", ""), ("POST", "400 Bad Request: malformed chunk size\n")] {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        test.open();
        let head = format!("{method} /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let receiving = State::Receiving { timeout: TIMEOUTS.head, idle: false };
        assert_eq!(test.receive(head.as_bytes()), receiving);
        assert_eq!(test.receive(b"x"), State::Receiving { timeout: LINGER, idle: true });
        let response = test.sent();
        assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{response}");
        assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
        assert_eq!(response.split_once("\r\n\r\n").map(|(_, body)| body), Some(body));
    }
}

#[test]
fn a_body_is_discarded_before_the_response() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    let receiving = State::Receiving { timeout: TIMEOUTS.head, idle: false };
    let head = b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab";
    assert_eq!(test.receive(head), receiving);
    assert_eq!(test.sent(), "");
    assert_eq!(test.receive(b"cd"), IDLE);
    assert!(test.sent().starts_with("HTTP/1.1 200 "));
    let expects =
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let lingering = State::Receiving { timeout: LINGER, idle: true };
    assert_eq!(test.receive(expects), lingering);
    let response = test.sent();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("Connection: close"));
}

#[test]
fn an_idle_connection_is_small() {
    // 100,000 idle connections need 50 MB at most.
    assert!(size_of::<Connection>() <= 512, "{} bytes", size_of::<Connection>());
}

mod any_input;
mod empty_lines;
mod http2;
