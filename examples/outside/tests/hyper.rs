//! Files under hyper: a connection by hand, each option of the services, and what they report.

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use karez_hyper::axum::{AttachingListener, MakeAttach, MakingAttach, RemoteAddress};
use karez_hyper::{
    Answering, Attach, Attaching, Body, Handle, Io, NotFound, SendFile, ServeDir, ServeFile,
};
use karez_transfer::Via;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

fn tree() -> io::Result<TempDir> {
    let tree = tempfile::tempdir()?;
    for name in ["a.txt", "a.txt.gz", "a.txt.br", "a.txt.zst", "index.html"] {
        std::fs::write(tree.path().join(name), format!("{name}: {TEXT}"))?;
    }
    Ok(tree)
}

async fn text(body: Body) -> String {
    let bytes = body.collect().await.expect("the file is there").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a request by HTTP/1.0 and returns the whole response.
async fn ask(mut client: TcpStream, target: &str) -> io::Result<String> {
    client.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut response = String::new();
    client.read_to_string(&mut response).await?;
    Ok(response)
}

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

#[tokio::test]
async fn a_connection_by_hand() -> io::Result<()> {
    let (client, socket) = pair().await?;
    let mut io = Io::new(socket);
    io.get_mut().set_nodelay(true)?;
    assert!(io.get_ref().nodelay()?);
    let handle: Handle = io.handle();
    let reported = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reported);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let counted = Arc::clone(&counted);
        let count = move |report: &karez_transfer::Report| {
            assert_eq!(report.effective, Via::Sendfile);
            counted.fetch_add(report.bytes, Ordering::Relaxed);
        };
        let handle = handle.clone();
        async move {
            let file = SendFile::from_file(file()?)?
                .range(6..)
                .settings(Via::Sendfile)
                .content_type(HeaderValue::from_static("text/plain"))
                .on_report(count);
            assert_eq!((file.size(), file.len(), file.is_empty()), (22, 16, false));
            Ok::<_, io::Error>(handle.attach(request.version(), file.response()))
        }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let (response, served) = tokio::join!(ask(client, "/"), served);
    served.map_err(io::Error::other)?;
    let response = response?;
    assert!(response.contains("content-type: text/plain\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nunder the desert"), "{response}");
    assert_eq!(reported.load(Ordering::Relaxed), 16);
    Ok(())
}

#[tokio::test]
async fn a_tower_service_is_wrapped() -> io::Result<()> {
    let (tree, (client, socket)) = (tree()?, pair().await?);
    let io = Io::new(socket);
    let mut attached: Attach<ServeDir> = io.handle().wrap(ServeDir::new(tree.path()));
    let answering: Attaching<Answering> = attached.call(Request::new(Full::<Bytes>::default()));
    assert_eq!(answering.await.map(|response| response.status()), Ok(StatusCode::OK));
    let service = TowerToHyperService::new(attached);
    let served = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let (response, served) = tokio::join!(ask(client, "/a.txt"), served);
    served.map_err(io::Error::other)?;
    assert!(response?.ends_with(TEXT));
    Ok(())
}

#[tokio::test]
async fn each_option_of_the_directory() -> io::Result<()> {
    let tree = tree()?;
    let get = |target: &str, coding: &'static str| {
        Request::get(target).header("accept-encoding", coding).body(()).expect("it is a request")
    };
    let observed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&observed);
    let plain = ServeDir::new(tree.path()).settings(Via::Copy).on_report(move |report| {
        count.fetch_add(report.bytes, Ordering::Relaxed);
    });
    let services = [
        (plain.clone().precompressed_gzip(), "gzip"),
        (plain.clone().precompressed_br(), "br"),
        (plain.clone().precompressed_zstd(), "zstd"),
    ];
    for (mut service, coding) in services {
        let Ok(response) = service.call(get("/a.txt", coding)).await;
        assert_eq!(response.headers()["content-encoding"], coding);
        assert!(text(response.into_body()).await.ends_with(TEXT));
    }
    assert!(observed.load(Ordering::Relaxed) > 0);
    let Ok(response) =
        plain.clone().append_index_html_on_directories(false).call(get("/", "")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let page = ServeFile::new(tree.path().join("index.html"));
    let Ok(response) = plain.clone().fallback(page.clone()).call(get("/none", "")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut missing = plain.not_found_service(page).call_fallback_on_method_not_allowed(true);
    let Ok(response) = missing.call(Request::post("/a.txt").body(()).expect("a request")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let Ok(response) = NotFound.call(get("/", "")).await;
    assert!(text(response.into_body()).await.is_empty());
    Ok(())
}

#[tokio::test]
async fn each_option_of_the_file() -> io::Result<()> {
    let tree = tree()?;
    let path = tree.path().join("a.txt");
    let own = HeaderValue::from_static("text/x-own");
    let gzip = ServeFile::new_with_mime(&path, own).precompressed_gzip();
    let services = [
        (gzip, "gzip", "text/x-own"),
        (ServeFile::new(&path).precompressed_br(), "br", "text/plain"),
        (ServeFile::new(&path).precompressed_zstd(), "zstd", "text/plain"),
    ];
    for (mut service, coding, media_type) in services {
        let request = Request::get("/").header("accept-encoding", coding).body(());
        let Ok(response) = service.call(request.expect("it is a request")).await;
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.headers()["content-type"], media_type);
    }
    let memory = Body::new(Full::new(Bytes::from_static(b"from memory")));
    assert_eq!(text(memory).await, "from memory");
    assert_eq!(text(Body::from("from memory")).await + &text(Body::empty()).await, "from memory");
    let response: Response<Body> = SendFile::new(Arc::new(file()?), 22).response();
    assert_eq!(text(response.into_body()).await, TEXT);
    Ok(())
}

/// The types behind `karez_hyper::axum::serve` can be named.
type Making = MakingAttach<std::future::Ready<Result<axum::Router, Infallible>>>;
type Made = (AttachingListener<TcpListener>, MakeAttach<axum::Router>, Making);

#[tokio::test]
async fn axum_knows_the_address_of_the_client() -> io::Result<()> {
    assert!(std::any::type_name::<Made>().contains("MakingAttach"));
    let route = axum::routing::get(
        async |ConnectInfo(RemoteAddress(address)): ConnectInfo<RemoteAddress>| address.to_string(),
    );
    let app = axum::Router::new().route("/", route);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = app.into_make_service_with_connect_info::<RemoteAddress>();
    let served = tokio::spawn(karez_hyper::axum::serve(listener, service).into_future());
    let client = TcpStream::connect(address).await?;
    let own = client.local_addr()?.to_string();
    assert!(ask(client, "/").await?.ends_with(&own));
    served.abort();
    Ok(())
}
