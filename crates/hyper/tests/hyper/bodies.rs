//! Bytes arrive as they are, whatever frames them.

use crate::server::{Reports, connected, content, file_of, get, head, response, serve};
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Response, Version};
use http_body_util::BodyExt as _;
use karez_hyper::{Body, SendFile};
use karez_transfer::{Direction, OnMiss, Reason, Settings, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SIZE: usize = (3 << 20) + 7;

/// Vias that pass a body by reference or by copy; `zerocopy` is none of them.
fn vias() -> impl Iterator<Item = Via> {
    Direction::FileToSocket.vias().iter().copied().filter(|&via| via != Via::Zerocopy)
}

#[tokio::test]
async fn every_via_and_size_on_one_connection() {
    for via in vias() {
        let (mut client, socket) = connected().await;
        let reports = Reports::default();
        let sizes = [0, 1, 4097, 16 << 10, (16 << 10) + 1, 1 << 20, SIZE];
        let observed = reports.clone();
        let served = serve(socket, move |request, _| {
            let size = request.uri().path()[1..].parse().unwrap();
            let file = SendFile::new(file_of(&content(size, 1)), size as u64);
            file.settings(via).on_report(observed.observe()).response()
        });
        for size in sizes {
            get(&mut client, &format!("/{size}")).await;
            let (head, body) = response(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(body == content(size, 1), "{via}, {size} bytes");
        }
        drop(client);
        served.await.unwrap().unwrap();
        let reports = reports.take();
        let sent: Vec<_> = reports.iter().map(|report| report.bytes as usize).collect();
        assert_eq!(sent, sizes[1..], "{via}: none of an empty body");
        let last = reports.last().unwrap();
        assert!(via == Via::Auto || last.effective == via, "{via}: {last}");
        assert!(via != Via::Auto || last.effective != Via::Copy, "{last}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (mut client, socket) = connected().await;
    let served = serve(socket, |request, _| match request.uri().path() {
        "/memory" => Response::new("from memory".into()),
        path => {
            let size: usize = path[1..].parse().unwrap();
            SendFile::new(file_of(&content(size, 2)), size as u64).response()
        }
    });
    let paths = ["/100000", "/memory", "/700000", "/5", "/memory", "/20000"];
    let writing = async {
        let requests: Vec<_> =
            paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).collect();
        client.write_all(requests.concat().as_bytes()).await.unwrap();
        for path in paths {
            let (_, body) = response(&mut client).await;
            match path {
                "/memory" => assert_eq!(body, b"from memory"),
                path => {
                    let size = path[1..].parse().unwrap();
                    assert!(body == content(size, 2), "{path}");
                }
            }
        }
    };
    writing.await;
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let (mut client, socket) = connected().await;
    serve(socket, |_, _| SendFile::new(file_of(&content(SIZE, 3)), SIZE as u64).response());
    client.write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let without = head(&mut client).await;
    assert!(without.contains(&format!("content-length: {SIZE}\r\n")), "{without}");
    get(&mut client, "/").await;
    assert!(response(&mut client).await.1 == content(SIZE, 3));
}

#[tokio::test]
async fn chunks_are_framed_by_hyper() {
    let (mut client, socket) = connected().await;
    let reports = Reports::default();
    let observed = reports.clone();
    let served = serve(socket, move |_, _| {
        let file = SendFile::new(file_of(&content(SIZE, 4)), SIZE as u64).settings(Via::Sendfile);
        let mut response = file.on_report(observed.observe()).response();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        response
    });
    get(&mut client, "/").await;
    head(&mut client).await;
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push(client.read_u8().await.unwrap().into());
        }
        let count = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; count + 2];
        client.read_exact(&mut chunk).await.unwrap();
        if count == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..count]);
    }
    assert!(body == content(SIZE, 4));
    drop(client);
    served.await.unwrap().unwrap();
    let report = &reports.take()[0];
    assert_eq!((report.effective, report.fallbacks.len()), (Via::Sendfile, 0), "by reference");
}

#[tokio::test]
async fn a_length_that_is_missing_is_added_by_hyper() {
    for version in ["1.0", "1.1"] {
        let (mut client, socket) = connected().await;
        serve(socket, |request, _| {
            let mut response = SendFile::new(file_of(&content(SIZE, 4)), SIZE as u64).response();
            response.headers_mut().remove(CONTENT_LENGTH);
            if request.version() == Version::HTTP_10 {
                let chunked = HeaderValue::from_static("chunked");
                response.headers_mut().insert(TRANSFER_ENCODING, chunked);
            }
            response
        });
        let request = format!("GET / HTTP/{version}\r\nhost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = response(&mut client).await;
        assert!(head.contains(&format!("content-length: {SIZE}\r\n")), "{version}: {head}");
        assert!(!head.contains("chunked") && body == content(SIZE, 4), "{version}");
    }
}

#[tokio::test]
async fn parts_and_pages_that_are_not_in_memory() {
    let file = file_of(&content(SIZE, 5));
    fdatasync(&file).unwrap();
    for via in [Via::Auto, Via::Splice, Via::Direct] {
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let (mut client, socket) = connected().await;
        let file = file.clone();
        let served = serve(socket, move |_, _| {
            let settings = Settings::from(via).on_miss(OnMiss::Block); // has no effect
            SendFile::new(file.clone(), SIZE as u64).range(777..).settings(settings).response()
        });
        get(&mut client, "/").await;
        assert!(response(&mut client).await.1 == content(SIZE, 5)[777..], "{via}");
        drop(client);
        served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_an_attachment_the_file_is_read() {
    let reports = Reports::default();
    let file = SendFile::new(file_of(&content(SIZE, 6)), SIZE as u64);
    let response = file.settings(Via::Sendfile).on_report(reports.observe()).response();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body == content(SIZE, 6));
    let report = &reports.take()[0];
    assert_eq!((report.effective, report.bytes), (Via::Copy, SIZE as u64));
    assert_eq!(report.fallbacks[0].reason, Reason::Detached);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_the_file_is_read() {
    let (client, socket) = connected().await;
    drop(client);
    drop(socket);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reports = Reports::default();
    let observed = reports.clone();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        serve(socket, move |_, _| {
            let file = SendFile::new(file_of(&content(SIZE, 7)), SIZE as u64);
            file.on_report(observed.observe()).response()
        })
        .await
    });
    let curl = tokio::task::spawn_blocking(move || {
        let url = format!("http://{address}/");
        Command::new("curl")
            .args(["-s", "--noproxy", "*", "--http2-prior-knowledge", &url])
            .output()
    });
    match curl.await.unwrap() {
        Err(error) => println!("skipped: curl: {error}"),
        Ok(output) => {
            assert!(output.stdout == content(SIZE, 7), "{output:?}");
            let report = &reports.take()[0];
            assert_eq!(report.fallbacks[0].reason, Reason::Framed);
            assert_eq!(report.effective, Via::Copy);
        }
    }
}

#[tokio::test]
async fn a_changed_length_or_coding_makes_it_read() {
    let (mut client, socket) = connected().await;
    let reports = Reports::default();
    let observed = reports.clone();
    let served = serve(socket, move |request, _| {
        let file = SendFile::new(file_of(&content(SIZE, 8)), SIZE as u64);
        let response = file.on_report(observed.observe()).response();
        match request.uri().path() {
            "/mapped" => response.map(|body| {
                Body::new(body.map_frame(|frame| {
                    frame.map_data(|bytes| bytes.iter().map(|byte| !byte).collect())
                }))
            }),
            _ => {
                let mut response = response;
                let coding = HeaderValue::from_static("identity");
                response.headers_mut().insert("content-encoding", coding);
                response
            }
        }
    });
    let inverted: Vec<_> = content(SIZE, 8).iter().map(|byte| !byte).collect();
    for (path, expected) in [("/mapped", inverted), ("/coded", content(SIZE, 8))] {
        get(&mut client, path).await;
        let (head, body) = response(&mut client).await;
        assert!(body == expected, "{path}: {head}");
        assert_eq!(reports.take()[0].fallbacks[0].reason, Reason::Transformed, "{path}");
    }
    drop(client);
    served.await.unwrap().unwrap();
}
