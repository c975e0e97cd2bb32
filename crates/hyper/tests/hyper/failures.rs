//! Files that end early, clients that leave, and layers that take the place of a body.

use crate::server::{Reports, connected, content, file_of, get, head, response, serve};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use karez_hyper::{Body, SendFile};
use karez_transfer::Via;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

const SIZE: usize = (3 << 20) + 7;

#[tokio::test]
async fn a_shorter_file_ends_the_connection() {
    for via in [Via::Sendfile, Via::Copy, Via::Splice] {
        let (mut client, socket) = connected().await;
        let served = serve(socket, move |_, _| {
            let file = SendFile::new(file_of(&content(100_000, 1)), SIZE as u64);
            file.settings(via).response()
        });
        get(&mut client, "/").await;
        let head = head(&mut client).await;
        assert!(head.contains(&format!("content-length: {SIZE}\r\n")));
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.unwrap();
        assert!(body == content(100_000, 1), "{via}: {}", body.len());
        let error = served.await.unwrap().unwrap_err();
        assert!(error.contains("Truncated"), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_body() {
    let (mut client, socket) = connected().await;
    let reports = Reports::default();
    let observed = reports.clone();
    let size = 64 << 20;
    let served = serve(socket, move |_, _| {
        let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        file.set_len(size).unwrap();
        let file = SendFile::from_file(file).unwrap();
        file.settings(Via::Sendfile).on_report(observed.observe()).response()
    });
    get(&mut client, "/").await;
    head(&mut client).await;
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    served.await.unwrap().unwrap_err();
    let report = &reports.take()[0];
    assert!(report.bytes < size, "{report}");
}

/// Keeps the length of a body, and replaces its bytes.
struct Inverted(Body);

impl http_body::Body for Inverted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.0)
            .poll_frame(context)
            .map_ok(|frame| frame.map_data(|bytes| bytes.iter().map(|byte| !byte).collect()))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[tokio::test]
async fn replaced_bytes_are_never_sent() {
    for size in [100_000, SIZE] {
        let (mut client, socket) = connected().await;
        let served = serve(socket, move |_, _| {
            let file = SendFile::new(file_of(&content(size, 2)), size as u64);
            file.response().map(|body| Body::new(Inverted(body)))
        });
        get(&mut client, "/").await;
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"", "not even the head");
        let error = served.await.unwrap().unwrap_err();
        assert!(error.contains("changed or buffered"), "{error}");
    }
}

#[tokio::test]
async fn a_handle_of_another_connection_fails_both_safely() {
    let ((mut client, socket), (_other_client, other)) = (connected().await, connected().await);
    let other = karez_hyper::Io::new(other);
    let wrong = other.handle();
    let served = serve(socket, move |request, _| {
        let file = SendFile::new(file_of(&content(SIZE, 3)), SIZE as u64);
        wrong.attach(request.version(), file.response())
    });
    get(&mut client, "/").await;
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"");
    assert!(served.await.unwrap().unwrap_err().contains("changed or buffered"));
}

#[tokio::test]
async fn a_dropped_socket_refuses_a_body() {
    let (_client, socket) = connected().await;
    let socket = karez_hyper::Io::new(socket);
    let file = SendFile::new(file_of(&content(SIZE, 4)), SIZE as u64).response();
    let attached = socket.handle().attach(http::Version::HTTP_11, file);
    drop(socket);
    let mut body = Box::pin(attached.into_body());
    let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
    assert_eq!(frame.unwrap().unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_slow_client_gets_all_bytes() {
    let (mut client, socket) = connected().await;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, 64 << 10).unwrap();
    let served = serve(socket, move |_, _| {
        SendFile::new(file_of(&content(SIZE, 5)), SIZE as u64).settings(Via::Sendfile).response()
    });
    for _ in 0..2 {
        get(&mut client, "/").await;
        assert!(response(&mut client).await.1 == content(SIZE, 5));
    }
    drop(client);
    served.await.unwrap().unwrap();
}
