//! axum's server with files by reference, below routers, nests and layers.

use crate::server::{Reports, content, file_of, get, response};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get as route;
use karez_hyper::axum::{RemoteAddress, serve};
use karez_hyper::{SendFile, ServeDir};
use karez_transfer::{OnMiss, Reason, Settings, Via};
use std::fs;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

const SIZE: usize = (1 << 20) + 7;

async fn started(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<RemoteAddress>();
    tokio::spawn(async move { serve(listener, app).await.unwrap() });
    address
}

#[tokio::test]
async fn a_handler_and_a_nested_directory() {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(tree.path().join("film"), content(SIZE, 1)).unwrap();
    let reports = Reports::default();
    let (observed, by_directory) = (reports.clone(), reports.clone());
    let settings = Settings::from(Via::Sendfile).on_miss(OnMiss::Report);
    let directory = ServeDir::new(tree.path()).settings(settings).on_report(by_directory.observe());
    let handler = move || {
        let observed = observed.clone();
        async move {
            let file = SendFile::new(file_of(&content(SIZE, 2)), SIZE as u64);
            file.settings(Via::Splice).on_report(observed.observe())
        }
    };
    let who = |ConnectInfo(RemoteAddress(address)): ConnectInfo<RemoteAddress>| async move {
        address.to_string()
    };
    let app = Router::new()
        .route("/one", route(handler))
        .route("/who", route(who))
        .nest_service("/files", directory.clone())
        .fallback_service(directory);
    let mut client = TcpStream::connect(started(app).await).await.unwrap();
    for (path, seed, via) in
        [("/one", 2, Via::Splice), ("/files/film", 1, Via::Sendfile), ("/film", 1, Via::Sendfile)]
    {
        get(&mut client, path).await;
        let (head, body) = response(&mut client).await;
        assert!(body == content(SIZE, seed), "{path}: {head}");
        get(&mut client, "/who").await; // the report of the file is complete
        let who = response(&mut client).await.1;
        assert_eq!(who, client.local_addr().unwrap().to_string().as_bytes());
        let report = &reports.take()[0];
        assert_eq!((report.effective, report.fallbacks.len()), (via, 0), "{path}: {report}");
    }
    get(&mut client, "/absent").await;
    let (head, _) = response(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[tokio::test]
async fn plain_axum_reads() {
    let reports = Reports::default();
    let observed = reports.clone();
    let handler = move || {
        let observed = observed.clone();
        async move {
            let file = SendFile::new(file_of(&content(SIZE, 3)), SIZE as u64);
            file.on_report(observed.observe())
        }
    };
    let app = Router::new().route("/", route(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let mut client = TcpStream::connect(address).await.unwrap();
    get(&mut client, "/").await;
    assert!(response(&mut client).await.1 == content(SIZE, 3));
    get(&mut client, "/").await;
    response(&mut client).await;
    assert_eq!(reports.take()[0].fallbacks[0].reason, Reason::Detached);
}
