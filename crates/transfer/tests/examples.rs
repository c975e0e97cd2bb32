//! The examples on tokio and smol, most with curl as the client; the bytes are compared by sha256.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;

#[path = "../examples/smol_responder.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod smol_responder;

#[path = "../examples/tokio_proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod tokio_proxy;

#[path = "../examples/tokio_responder.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod tokio_responder;

#[path = "../examples/tokio_upload.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod tokio_upload;

const SIZE: usize = (5 << 20) + 7;

fn tree() -> (TempDir, Vec<u8>) {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bytes: Vec<_> = (0..SIZE / 8 + 1).flat_map(|word| (word * 77_777).to_le_bytes()).collect();
    fs::write(tree.path().join("film"), &bytes[..SIZE]).unwrap();
    (tree, bytes[..SIZE].to_vec())
}

/// Returns the output of curl; `None` if it is missing.
async fn curl(arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*"]).args(arguments);
    match tokio::task::spawn_blocking(move || command.output()).await.unwrap() {
        Err(error) => {
            println!("skipped: curl: {error}");
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Through the proxy, twice on one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_responder_behind_the_proxy() {
    let (tree, film) = tree();
    let ((listener, address), (front, public)) = (listener().await, listener().await);
    let file = File::open(tree.path().join("film")).unwrap();
    tokio::spawn(tokio_responder::serve(listener, file));
    tokio::spawn(tokio_proxy::listen_and_relay(front, address.to_string()));
    let url = format!("http://{public}/film");
    if let Some(received) = curl(&[&url, &url]).await {
        assert_eq!(Sha256::digest(&received), Sha256::digest([&film[..], &film].concat()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_stored() {
    let (tree, film) = tree();
    let (listener, address) = listener().await;
    let stored = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tokio::spawn(tokio_upload::serve(listener, stored.path().into()));
    let source = tree.path().join("film");
    let url = format!("http://{address}/received");
    if curl(&["-T", source.to_str().unwrap(), &url]).await.is_some() {
        let received = fs::read(stored.path().join("received")).unwrap();
        assert_eq!(Sha256::digest(received), Sha256::digest(film));
    }
}

#[test]
fn a_file_is_sent_on_smol() {
    let (tree, film) = tree();
    let file = File::open(tree.path().join("film")).unwrap();
    let listener = smol::Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let server = smol::spawn(smol_responder::serve(listener, file));
    for _ in 0..3 {
        let mut received = Vec::new();
        std::net::TcpStream::connect(address).unwrap().read_to_end(&mut received).unwrap();
        assert_eq!(Sha256::digest(received), Sha256::digest(&film));
    }
    smol::block_on(server.cancel());
}
