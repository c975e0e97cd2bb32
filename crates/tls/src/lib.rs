//! TLS for servers, as a layer between socket and protocol that makes no system call.
//!
//! A connection begins with a [`Handshake`]: bytes in, bytes out, at the end keys. Then either the
//! kernel seals and opens the records ([`karez_sys::set_tls_keys`]), so that sendfile(2) and splice(2)
//! go on working, or user space does: a [`Sealer`] in the connection's outbox and an [`Opener`] for
//! received bytes. The two directions are independent of each other. The [`Session`] follows key updates and
//! alerts either way. A [`CertStore`] has the certificates and can be reloaded.
//!
//! Handshakes are rustls's, TLS 1.3 and 1.2; records are sealed and opened in place by ring.
//!
//! ```
//! use karez_tls::{Established, Handshake, Opener, Progress, Reading, Sealer, Session, TlsError};
//! use karez_transfer::Outbox;
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::sync::Arc;
//!
//! /// Shakes hands on a blocking socket, so that user space seals and opens the records that follow.
//! fn accept(
//!     socket: &mut TcpStream,
//!     config: Arc<rustls::ServerConfig>,
//!     outbox: &mut Outbox,
//! ) -> std::io::Result<(Session, Opener)> {
//!     let failed = |error: TlsError| std::io::Error::other(error);
//!     let mut handshake = Handshake::new(config, Reading::UpToTheEnd);
//!     let mut buffer = vec![0; 17 << 10];
//!     while let Some(most) = handshake.wants() {
//!         let count = socket.read(&mut buffer[..most.get()])?;
//!         if count == 0 {
//!             return Err(std::io::ErrorKind::UnexpectedEof.into());
//!         }
//!         let progress = handshake.receive(&buffer[..count]);
//!         // An alert, if it failed.
//!         socket.write_all(&handshake.take_output())?;
//!         if progress.map_err(failed)? == Progress::Done {
//!             break;
//!         }
//!     }
//!     let Established { tx, rx, session, .. } = handshake.finish().map_err(failed)?;
//!     outbox.push_seal(Box::new(Sealer::new(tx, &session).map_err(failed)?));
//!     Ok((session, Opener::new(rx).map_err(failed)?))
//! }
//! ```
//!
//! # Limitations
//!
//! Servers only. No early data, no authentication after the handshake, no renegotiation, no OCSP
//! stapling, and with ring no post-quantum key exchange. Session tickets are stateless and valid for one
//! process.

mod alert;
mod certificate;
mod challenges;
mod config;
mod config_error;
mod connection_info;
mod der;
mod drive;
mod error;
mod handshake;
mod kernel_tx;
mod key_update;
mod keys;
mod ktls;
mod opener;
mod record;
mod sealer;
#[cfg(feature = "self-signed")]
mod self_signed;
mod session;
mod sni;
mod store;
mod validity;

pub use alert::Alert;
pub use certificate::{CertificateInfo, Pair};
pub use challenges::{ACME_PROTOCOL, Answer, Challenges};
pub use config::Settings;
pub use config_error::{ConfigError, Problem};
pub use connection_info::ConnectionInfo;
pub use error::TlsError;
pub use handshake::{Established, Handshake, Progress, Reading};
pub use karez_sys::{TlsCipher, TlsDirection, TlsKeys, TlsVersion};
pub use kernel_tx::KernelTx;
pub use keys::{RxKeys, TxKeys};
pub use ktls::{KernelSupport, SuiteSupport};
pub use opener::{Incoming, Opener};
pub use sealer::Sealer;
pub use session::{Control, KernelUpdate, Session};
pub use store::CertStore;
