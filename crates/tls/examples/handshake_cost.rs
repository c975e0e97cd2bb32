//! Measures the CPU time of handshakes on the server's side, in the thread that makes them.
//!
//! usage: `handshake_cost CA CERT KEY [COUNT]`: PEM files, whose key may be for ECDSA or RSA; the certificate is for
//! localhost and signed by CA. The client, which is in the same thread, is not counted. For each version the program prints the time of the step that takes the
//! ClientHello (key exchange and signature), of the rest, and of a whole resumed handshake.
#![allow(clippy::print_stdout, reason = "it is a report")]

use karez_tls::{CertStore, Handshake, Pair, Progress, Reading, Settings};
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::ring;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: handshake_cost CA CERT KEY [COUNT]";
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(arguments.next().ok_or(usage)?)?;
    roots.add(authority)?;
    let roots = Arc::new(roots);
    let certificate = arguments.next().ok_or(usage)?.into();
    let key = arguments.next().ok_or(usage)?.into();
    let count: u32 = arguments.next().map_or(Ok(500), |count| count.parse())?;
    let mut settings = Settings::default();
    settings.pairs = vec![Pair { certificate, key }];
    let store = CertStore::load(settings)?;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let full = average(count, &store.config(), || client(version, &roots))?;
        let client = client(version, &roots)?;
        handshake(&store.config(), &client)?; // has the ticket
        let resumed = average(count, &store.config(), || Ok(Arc::clone(&client)))?;
        println!(
            "{:?}: {:.0?} for the ClientHello and {:.0?} for the rest; resumed {:.0?}",
            version.version,
            full[0],
            full[1],
            resumed[0] + resumed[1]
        );
    }
    Ok(())
}

/// Returns a client without tickets.
fn client(
    version: &'static SupportedProtocolVersion,
    roots: &Arc<RootCertStore>,
) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version])?;
    let builder = builder.with_root_certificates(Arc::clone(roots));
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Returns the average CPU time of the first step and of the others.
fn average(
    count: u32,
    config: &Arc<ServerConfig>,
    client: impl Fn() -> Result<Arc<ClientConfig>>,
) -> Result<[Duration; 2]> {
    let mut sum = [Duration::ZERO; 2];
    for _ in 0..count {
        let [first, rest] = handshake(config, &client()?)?;
        sum[0] += first;
        sum[1] += rest;
    }
    Ok(sum.map(|time| time / count))
}

/// Shakes hands, and returns the CPU time of the server's first step and of the others.
fn handshake(config: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Result<[Duration; 2]> {
    let mut client = ClientConnection::new(Arc::clone(client), "localhost".try_into()?)?;
    let mut server = Handshake::new(Arc::clone(config), Reading::Beyond);
    let mut times = [Duration::ZERO; 2];
    for step in 0.. {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        let begun = cpu();
        let progress = server.receive(&wire)?;
        let output = server.take_output();
        times[step.min(1)] += cpu() - begun;
        let mut output = &output[..];
        while !output.is_empty() {
            client.read_tls(&mut output)?;
            client.process_new_packets()?;
        }
        if progress == Progress::Done {
            break;
        }
    }
    let begun = cpu();
    server.finish()?;
    times[1] += cpu() - begun;
    Ok(times)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
