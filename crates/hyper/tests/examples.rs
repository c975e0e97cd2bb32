//! The examples, with curl as the client; the bytes are compared by sha256.
#![cfg(all(feature = "axum", feature = "serve-dir"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use sha2::{Digest as _, Sha256};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;

#[path = "../examples/hyper_files.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod hyper_files;

#[path = "../examples/axum_files.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod axum_files;

const SIZE: usize = (5 << 20) + 7;

fn tree() -> TempDir {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bytes: Vec<_> = (0..SIZE / 8 + 1).flat_map(|word| (word * 77_777).to_le_bytes()).collect();
    fs::write(tree.path().join("film"), &bytes[..SIZE]).unwrap();
    fs::write(tree.path().join("page.html"), "<b>page</b>").unwrap();
    tree
}

/// Returns what curl receives; `None` if it is missing.
async fn curl(address: SocketAddr, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    let url = format!("http://{address}");
    command.args(["-sS", "--noproxy", "*"]);
    command.args(arguments.iter().map(|argument| argument.replace("URL", &url)));
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

/// Two files on one connection, and a part of one.
async fn serves_the_tree(address: SocketAddr, tree: &TempDir) {
    let film = fs::read(tree.path().join("film")).unwrap();
    let Some(received) = curl(address, &["URL/film", "URL/page.html", "URL/film"]).await else {
        return;
    };
    let expected = [&film[..], b"<b>page</b>", &film].concat();
    assert_eq!(Sha256::digest(&received), Sha256::digest(&expected));
    let status = curl(address, &["-o/dev/null", "-w%{http_code}", "URL/absent"]).await.unwrap();
    assert_eq!(status, b"404");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_files_are_received_by_curl() {
    let (tree, (listener, address)) = (tree(), listener().await);
    tokio::spawn(hyper_files::serve(listener, tree.path().into()));
    serves_the_tree(address, &tree).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_files_are_received_by_curl() {
    let (tree, (listener, address)) = (tree(), listener().await);
    tokio::spawn(axum_files::serve(listener, tree.path().into()));
    serves_the_tree(address, &tree).await;
    let film = fs::read(tree.path().join("film")).unwrap();
    let Some(part) = curl(address, &["-r4000000-4999999", "URL/film"]).await else {
        return;
    };
    assert_eq!(Sha256::digest(&part), Sha256::digest(&film[4_000_000..5_000_000]));
    let now = curl(address, &["URL/now"]).await.unwrap();
    assert!(String::from_utf8(now).unwrap().trim().parse::<u64>().is_ok());
}
