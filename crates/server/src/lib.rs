//! A static file server: HTTP connections as tasks of a reactor, and the files beneath one directory.
//!
//! ```
//! use karez_reactor::{Config, Limits, Server, Shutdown};
//! use karez_server::{ErrorLog, FileService, Options};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::io::{Read, Write};
//! # let root = tempfile::tempdir()?;
//! # std::fs::write(root.path().join("hello.txt"), "hello\n")?;
//! # let directory = root.path();
//! let shutdown = Shutdown::new();
//! let errors = ErrorLog::start("errors", std::io::stderr())?;
//! let service = FileService::open(Options::new(directory), None, errors, shutdown.clone())?;
//! let config = Config::builder().build(std::thread::available_parallelism()?)?;
//! let server = Server::bind(config, &["127.0.0.1:0".parse()?])?;
//! let limits = Limits::new(1000, Duration::from_secs(10));
//! # let Some(karez_reactor::Address::Tcp(address)) = server.addresses().next().cloned() else {
//! #     unreachable!()
//! # };
//! let running = std::thread::spawn(move || service.run(server, limits));
//! # let mut client = std::net::TcpStream::connect(address)?;
//! # client.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
//! # let mut response = String::new();
//! # client.read_to_string(&mut response)?;
//! # assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nhello\n"));
//! // … until the server is to end:
//! shutdown.trigger();
//! running.join().expect("the server does not panic")?;
//! # Ok(())
//! # }
//! ```
//!
//! A request passes these layers, each of which knows only the next:
//!
//! | layer | file | turns |
//! |---|---|---|
//! | task | `connection.rs`, `connection/http2.rs` | events of the reactor into calls of the layers below |
//! | transport | `transport.rs`, `transport/` | records of TLS into bytes of the stream |
//! | protocol | `protocol.rs`, `protocol/h2.rs` | received bytes into requests, responses into the outbox |
//! | exchange | `exchange.rs`, `route.rs`, `response.rs` | a request into jobs and a response |
//! | rules | `rules.rs`, `rules/` | the configuration into other paths, redirects and fields |
//! | site | `site/` | a path into an open file or a listing |
//!
//! # Limitations
//!
//! HTTP/1.1 is served, and HTTP/2 without TLS, by GET and HEAD. TLS (the feature `tls`) seals and opens
//! records in user space.

mod access_log;
mod address_limits;
mod closing;
mod connection;
mod context;
mod cost;
mod drain;
mod error_log;
mod exchange;
mod exchange_record;
mod file_part;
mod health;
mod host;
mod http_clock;
mod job;
mod live;
mod log;
mod log_file;
mod media_preference;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod network;
mod options;
mod protocol;
mod proxies;
mod response;
mod rfc3339;
mod route;
mod rules;
mod server_timing;
mod service;
#[cfg(feature = "simulation")]
pub mod simulation;
mod site;
mod sites;
#[cfg(feature = "tls")]
mod tls;
mod torn;
mod transport;
mod watched_cache;

pub use access_log::template::{BadLogTemplate, LogTemplate};
pub use access_log::{AccessLog, LogFormat};
pub use address_limits::AddressLimitOptions;
pub use address_limits::bytes::ByteRate;
pub use address_limits::requests::RequestRate;
pub use drain::Drain;
pub use error_log::{ErrorLog, Level};
pub use health::{BadHealthPath, HealthOptions, HealthPath};
pub use host::{BadHostName, HostName};
pub use log::Log;
pub use log_file::open_log;
#[cfg(feature = "metrics")]
pub use metrics::{Metrics, Monitor};
pub use network::Network;
pub use options::{Options, SiteOptions, Timeouts};
pub use proxies::ProxyOptions;
pub use rules::address::AddressRule;
pub use rules::agent::AgentRule;
pub use rules::auth::AuthRule;
pub use rules::auth::password_hash::PasswordHash;
pub use rules::cache_control::CacheControlRule;
pub use rules::cors::CorsOrigin;
pub use rules::error_page::ErrorPage;
pub use rules::field::FieldRule;
pub use rules::media_type::MediaTypeRule;
pub use rules::page_cache::PageCacheRule;
pub use rules::redirect::{RedirectRule, RewriteRule};
pub use rules::{RuleOptions, rule_faults};
pub use service::{FileService, Reloader};
pub use site::{Compressor, ContentTags, FileEtag, SubstitutionError, Substitutions};
#[cfg(feature = "tls")]
pub use tls::{KernelTls, TlsOptions, alpn_protocols};
pub use torn::Torn;
pub use watched_cache::remember_directory;
