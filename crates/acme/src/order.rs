//! An order (RFC 8555 §7.4): from a name to a certificate.
//!
//! # Limitations
//!
//! The server has five minutes to check the challenge, and five to issue. The key is for ECDSA on the curve
//! P-256, and each certificate has a new one.

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    Order, OrderStatus,
};
use karez_tls::{Answer, Challenges};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{AcmeError, Failure};
use crate::http_client::Client;
use crate::name::DnsName;

/// The time for the server to check or to issue.
const LIMIT: Duration = Duration::from_secs(300);

/// The pauses between two looks at an order.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How the server checks who controls a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// By an HTTP request on port 80 (RFC 8555 §8.3).
    Http01,
}

impl ChallengeKind {
    /// Returns the name in RFC 8555 and RFC 8737.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }

    fn as_type(self) -> ChallengeType {
        match self {
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Http01 => ChallengeType::Http01,
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Obtains a certificate, which may replace an earlier one (RFC 9773 §5). Returns its chain, followed by its
/// key, in PEM.
pub(crate) fn obtain(
    account: &Account,
    name: &DnsName,
    replaces: Option<CertificateIdentifier<'static>>,
    kind: ChallengeKind,
    challenges: &Arc<Challenges>,
    client: &Client,
) -> Result<String, AcmeError> {
    let mut order = new_order(account, name, replaces, client)?;
    let answers = authorize(&mut order, name, kind, challenges, client)?;
    let ready = |status| matches!(status, OrderStatus::Ready | OrderStatus::Valid);
    if !wait(&mut order, client, ready)? {
        return Err(refusal(&mut order, kind, client));
    }
    drop(answers);
    let key = client.run(order.finalize())?;
    if !wait(&mut order, client, |status| status == OrderStatus::Valid)? {
        return Err(AcmeError::new(Failure::Refused, order.url(), "the order has become invalid"));
    }
    let chain = client.run(order.certificate())?;
    let missing = || AcmeError::new(Failure::Unavailable, order.url(), "no certificate");
    Ok(format!("{}\n{key}", chain.ok_or_else(missing)?.trim_end()))
}

/// Makes an order. A server that does not let it replace the earlier certificate, for example because
/// another order has, gets one that replaces none.
fn new_order(
    account: &Account,
    name: &DnsName,
    replaces: Option<CertificateIdentifier<'static>>,
    client: &Client,
) -> Result<Order, AcmeError> {
    let identifiers = [Identifier::Dns(name.as_str().to_owned())];
    if let Some(replaces) = replaces {
        let order = NewOrder::new(&identifiers).replaces(replaces);
        match client.run(account.new_order(&order)) {
            Err(error) if error.kind == Failure::Refused => {}
            result => return result,
        }
    }
    client.run(account.new_order(&NewOrder::new(&identifiers)))
}

/// Answers the challenges of an order, and asks the server to check them.
fn authorize(
    order: &mut Order,
    name: &DnsName,
    kind: ChallengeKind,
    challenges: &Arc<Challenges>,
    client: &Client,
) -> Result<Vec<Answer>, AcmeError> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    loop {
        let next = client.run(async { authorizations.next().await.transpose() })?;
        let Some(mut authorization) = next else { return Ok(answers) };
        // The server may remember an earlier check.
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let url = authorization.url().to_owned();
        let Some(mut challenge) = authorization.challenge(kind.as_type()) else {
            let text = format!("the server does not offer the challenge {kind}");
            return Err(AcmeError::new(Failure::NotValidated, &url, text));
        };
        let key_authorization = challenge.key_authorization();
        answers.push(match kind {
            ChallengeKind::Http01 => {
                challenges.answer_http(&challenge.token, key_authorization.as_str())
            }
            ChallengeKind::TlsAlpn01 => {
                answer_tls_alpn(challenges, name, key_authorization.digest().as_ref())?
            }
        });
        client.run(challenge.set_ready())?;
    }
}

/// Answers by a self-signed certificate with the digest of the key authorization (RFC 8737 §3).
fn answer_tls_alpn(
    challenges: &Arc<Challenges>,
    name: &DnsName,
    digest: &[u8],
) -> Result<Answer, AcmeError> {
    let wrong = |text: String| AcmeError::new(Failure::Refused, "", text);
    let made = (|| {
        let mut parameters = CertificateParams::new([name.as_str().to_owned()])?;
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((parameters.self_signed(&key)?, key))
    })();
    let (certificate, key) = made.map_err(|error: rcgen::Error| wrong(error.to_string()))?;
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| wrong(error.to_owned()))?;
    challenges
        .answer_tls_alpn(name.as_str(), certificate.der().clone(), key)
        .map_err(|error| wrong(error.to_string()))
}

/// Waits until the status of an order is accepted; returns false if the order has become invalid.
fn wait(
    order: &mut Order,
    client: &Client,
    accepts: impl Fn(OrderStatus) -> bool,
) -> Result<bool, AcmeError> {
    let begun = Instant::now();
    let mut pause = FIRST_LOOK;
    loop {
        let status = client.run(async { order.refresh().await.map(|state| state.status) })?;
        if accepts(status) {
            return Ok(true);
        }
        if status == OrderStatus::Invalid {
            return Ok(false);
        }
        if begun.elapsed() > LIMIT {
            let text = format!("the order is still {status:?} after {LIMIT:?}");
            return Err(AcmeError::new(Failure::Unavailable, order.url(), text));
        }
        thread::sleep(
            client.last().retry_after.map_or(pause, |asked| asked.clamp(pause, MAX_PAUSE)),
        );
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Returns why a challenge has failed, in the server's words.
fn refusal(order: &mut Order, kind: ChallengeKind, client: &Client) -> AcmeError {
    let url = order.url().to_owned();
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Ok(Some(mut authorization)) =
        client.run(async { authorizations.next().await.transpose() })
    {
        let problems = client.run(async {
            let state = authorization.refresh().await?;
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            Ok(errors.map(ToString::to_string).collect::<Vec<_>>())
        });
        reasons.extend(problems.unwrap_or_default());
    }
    let reason =
        if reasons.is_empty() { "without a reason".to_owned() } else { reasons.join("; ") };
    AcmeError::new(Failure::NotValidated, &url, format!("the challenge {kind} failed: {reason}"))
}
