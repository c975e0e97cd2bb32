//! The memory of a server, counted by its allocator: of an idle connection, of a slow reader, and the
//! allocations of a request for a hot file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_lab_sys::CountingAllocator;
use karez_reactor::{Address, Config, Limits, Model, Server, Shutdown, Topology};
use karez_server::{ErrorLog, FileService, Options};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The counters are those of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A few less than a power of two: the tables of an event loop double, and every byte of them is counted.
/// A ring has entries for a listener and a waker besides.
const CONNECTIONS: i64 = 1020;

/// The most bytes of an idle connection, with its part of the tables. On io_uring its operations are kept, too.
const IDLE_MOST: [(Model, i64); 2] = [(Model::EpollEdge, 320), (Model::Uring, 640)];

struct TestServer {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _root: tempfile::TempDir,
}

impl TestServer {
    /// Starts a server of one event loop; `None` where this machine does not support the model.
    fn start(model: Model) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        for (name, size) in [("small", 1000), ("large", 16 << 20)] {
            let file = std::fs::File::create(root.path().join(name)).unwrap();
            file.set_len(size).unwrap();
            let past = std::time::SystemTime::now() - Duration::from_secs(3600);
            file.set_modified(past).unwrap();
        }
        let shutdown = Shutdown::new();
        let log = ErrorLog::start("errors", std::io::sink()).unwrap();
        let options = Options::new(root.path());
        let service = FileService::open(options, None, log, shutdown.clone()).unwrap();
        let config = Config::builder().model(model).topology(Topology::Workers);
        let config = config.build(NonZeroUsize::MIN).unwrap();
        let server = match Server::bind(config, &["127.0.0.1:0".parse().unwrap()]) {
            Ok(server) => server,
            Err(error) => {
                println!("skipped: {model}: {error}");
                return None;
            }
        };
        let Some(Address::Tcp(address)) = server.addresses().next().cloned() else { panic!() };
        let limits = Limits::new(10_000, Duration::ZERO);
        let thread = std::thread::spawn(move || service.run(server, limits));
        Some(Self { address, shutdown, thread: Some(thread), _root: root })
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Requests the large file, and receives the beginning of the response only.
    fn start_reader(&self) -> TcpStream {
        let mut client = self.connect();
        client.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        client.read_exact(&mut [0; 100]).unwrap();
        client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

/// Makes a request for the small file, and receives the response.
fn get(client: &mut TcpStream) {
    client.write_all(b"GET /small HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let (mut buffer, mut received) = ([0; 4096], 0);
    loop {
        let count = client.read(&mut buffer[received..]).unwrap();
        assert!(count > 0, "closed");
        received += count;
        let head = buffer[..received].windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| received == head + 4 + 1000) {
            assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            return;
        }
    }
}

/// Makes the clients in groups, each behind a response to the last of the one before it, for the queues of the event
/// loop grow with the number that it accepts in one turn.
fn connect_in_groups(server: &TestServer) -> Vec<TcpStream> {
    const GROUP: i64 = 16;
    let connect = |number| {
        let mut client = server.connect();
        if number % GROUP == 0 || number + 1 == CONNECTIONS {
            get(&mut client); // accepted behind the others
        }
        client
    };
    (1..CONNECTIONS).map(connect).collect()
}

fn alone(test: impl FnOnce()) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    test();
}

/// Raises the limit of open files; false if it is too low for the connections and their clients.
fn raise_limit() -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    most.is_none_or(|most| most > 3 * CONNECTIONS as u64)
}

/// Returns the bytes of each of many idle connections, all or a sixteenth of which have made a request; `None` where this
/// machine does not support the model.
fn idle_bytes(model: Model, used: bool) -> Option<i64> {
    let server = TestServer::start(model)?;
    CountingAllocator::exclude_this_thread();
    let mut first = server.connect();
    (0..10).for_each(|_| get(&mut first));
    let before = CountingAllocator::live_bytes();
    let mut clients = connect_in_groups(&server);
    if used {
        clients.iter_mut().for_each(get);
    }
    let each = (CountingAllocator::live_bytes() - before) / CONNECTIONS;
    println!("{model}, used: {used}: {each} bytes");
    Some(each)
}

#[test]
fn an_idle_connection_uses_little_memory() {
    if !raise_limit() {
        println!("skipped: the limit of open files is too low");
        return;
    }
    alone(|| {
        for (model, most) in IDLE_MOST {
            for used in [false, true] {
                let Some(each) = idle_bytes(model, used) else { break };
                assert!(each <= most, "{model}, used: {used}: {each} bytes");
            }
        }
    });
}

#[test]
fn a_slow_reader_holds_no_buffer() {
    const READERS: i64 = 200;
    const MOST: i64 = 3000;
    alone(|| {
        for model in [Model::EpollEdge, Model::Uring] {
            let Some(server) = TestServer::start(model) else { continue };
            CountingAllocator::exclude_this_thread();
            let mut first = server.connect();
            (0..10).for_each(|_| get(&mut first));
            // The first of them fill the pool of buffers, which does not grow.
            let _others: Vec<_> = (0..READERS).map(|_| server.start_reader()).collect();
            let before = CountingAllocator::live_bytes();
            let _readers: Vec<_> = (0..READERS).map(|_| server.start_reader()).collect();
            // Until the buffers of the sockets are full.
            let end = Instant::now() + Duration::from_secs(60);
            let each = || (CountingAllocator::live_bytes() - before) / READERS;
            while each() > MOST && Instant::now() < end {
                std::thread::yield_now();
            }
            println!("{model}: {} bytes", each());
            assert!(each() <= MOST, "{model}: {} bytes", each());
        }
    });
}

#[test]
fn a_request_for_a_hot_file_does_not_allocate() {
    const REQUESTS: u64 = 2000;
    alone(|| {
        for model in [Model::EpollEdge, Model::EpollLevel, Model::Uring] {
            let Some(server) = TestServer::start(model) else { continue };
            CountingAllocator::exclude_this_thread();
            let mut client = server.connect();
            (0..20).for_each(|_| get(&mut client));
            let before = CountingAllocator::allocations();
            (0..REQUESTS).for_each(|_| get(&mut client));
            let count = CountingAllocator::allocations() - before;
            // One in each request would be as many; once a second the content is read again.
            println!("{model}: {count} allocations for {REQUESTS} requests");
            assert!(count < REQUESTS / 2, "{model}: {count} allocations");
        }
    });
}
