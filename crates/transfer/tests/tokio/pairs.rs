//! Helpers: connected pairs, seeded bytes, slow peers, dropped futures.

use karez_transfer::tokio::Socket;
use rustix::net::sockopt;
use std::fs::File;
use std::future::poll_fn;
use std::io::Write as _;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Around a page, around a share, and beyond.
pub(crate) const SIZES: [usize; 9] =
    [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 7];

/// Numbers that are the same in every run.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

pub(crate) fn file_of(bytes: &[u8]) -> File {
    // Not a temporary directory: that may be tmpfs, which has no disk and no O_DIRECT.
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) trait Stream:
    Socket + AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static
{
    async fn connected() -> (Self, Self);
}

impl Stream for TcpStream {
    async fn connected() -> (Self, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }
}

impl Stream for UnixStream {
    async fn connected() -> (Self, Self) {
        UnixStream::pair().unwrap()
    }
}

/// A pair of which the first takes little at a time. With less than this, TCP sends so little at a
/// time that the peer delays its acknowledgements, for 40 ms each.
pub(crate) async fn narrow_pair<S: Stream>() -> (S, S) {
    let (near, far) = S::connected().await;
    sockopt::set_socket_send_buffer_size(near.descriptor(), 64 << 10).unwrap();
    (near, far)
}

/// Reads to the end, by seeded amounts, and lets others run for a seeded while in between. Says
/// how often it read, too.
pub(crate) async fn read_slowly(mut from: impl AsyncRead + Unpin, seed: u64) -> (Vec<u8>, u64) {
    let (mut seeded, mut received, mut reads) = (Seeded(seed), Vec::new(), 0);
    let mut buffer = vec![0; 96 << 10];
    loop {
        for _ in 0..seeded.below(4) {
            tokio::task::yield_now().await;
        }
        let amount = 1 + seeded.below(buffer.len() as u64) as usize;
        let got = from.read(&mut buffer[..amount]).await.unwrap();
        if got == 0 {
            return (received, reads);
        }
        received.extend_from_slice(&buffer[..got]);
        reads += 1;
    }
}

/// Polls it until it has been pending so many `times`, then drops it.
pub(crate) async fn dropped_after<F: Future>(times: u64, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Many descriptors are needed where the tests run at the same time.
pub(crate) fn allow_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
