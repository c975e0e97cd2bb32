//! A client in memory whose keys are in the test's hands.

use super::{Authority, suites};
use karez_sys::TlsKeys;
use karez_tls::{Established, Handshake, Reading, RxKeys, TlsVersion, TxKeys};
use rustls::ConnectionTrafficSecrets;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls_pki_types::ServerName;
use std::sync::Arc;

/// The keys of a client.
pub struct Exposed {
    pub tx: TxKeys,
    pub rx: RxKeys,
    pub kernel: rustls::kernel::KernelConnection<rustls::client::ClientConnectionData>,
}

/// Returns secrets of AES-128-GCM as keys.
pub fn keys(sequence: u64, secrets: ConnectionTrafficSecrets) -> TlsKeys {
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("AES-128-GCM") };
    let nonce = iv.as_ref().try_into().unwrap();
    let (version, cipher) = (TlsVersion::Tls13, karez_tls::TlsCipher::Aes128Gcm);
    TlsKeys::new(version, cipher, key.as_ref(), nonce, sequence).unwrap()
}

/// The same keys, from another record on.
pub fn at(keys: &TlsKeys, sequence: u64) -> TlsKeys {
    TlsKeys::new(keys.version(), keys.cipher(), keys.key(), keys.nonce(), sequence).unwrap()
}

/// Shakes hands by TLS 1.3 with AES-128-GCM.
pub fn exposed() -> (Established, Exposed) {
    let authority = Authority::new();
    let config = Arc::new(authority.client_of_suite(suites()[0]));
    let name = ServerName::try_from("server.example").unwrap();
    let mut client = UnbufferedClientConnection::new(config, name).unwrap();
    let mut server = Handshake::new(authority.store().config(), Reading::UpToTheEnd);
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    loop {
        let UnbufferedStatus { discard, state, .. } = client.process_tls_records(&mut to_client);
        let done = match state.unwrap() {
            ConnectionState::EncodeTlsData(mut encode) => {
                let mut room = [0; 4096];
                let count = encode.encode(&mut room).unwrap();
                to_server.extend_from_slice(&room[..count]);
                false
            }
            ConnectionState::TransmitTlsData(transmit) => {
                transmit.done();
                false
            }
            ConnectionState::WriteTraffic(_) => true,
            ConnectionState::BlockedHandshake => false,
            other => panic!("{other:?}"),
        };
        to_client.drain(..discard);
        server.receive(&std::mem::take(&mut to_server)).unwrap();
        if done {
            break;
        }
        if to_client.is_empty() {
            to_client = server.take_output();
        }
    }
    let mut tickets = server.take_output();
    while !tickets.is_empty() {
        let UnbufferedStatus { discard, .. } = client.process_tls_records(&mut tickets);
        tickets.drain(..discard);
    }
    let (secrets, kernel) = client.dangerous_into_kernel_connection().unwrap();
    let tx = TxKeys::from_kernel(keys(secrets.tx.0, secrets.tx.1));
    let rx = RxKeys::from_kernel(keys(secrets.rx.0, secrets.rx.1));
    (server.finish().unwrap(), Exposed { tx, rx, kernel })
}
