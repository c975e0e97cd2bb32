//! Renewal information (ARI, RFC 9773): the window of time in which the ACME server would like a
//! certificate to be renewed. It is early where the certificate will be revoked, and spreads the load.
//!
//! The answer is kept in the state directory until the server is to be asked again, so that a restart makes
//! no request. A server without renewal information is asked for its directory once a day.
//!
//! # Limitations
//!
//! The page on which the server explains its window (`explanationURL`) is not shown.

use instant_acme::{CertificateIdentifier, Error, SuggestedWindow};
use karez_tls::CertificateInfo;
use rustls_pki_types::Der;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::account;
use crate::error::AcmeError;
use crate::http_client::Client;
use crate::name::DnsName;
use crate::schedule;
use crate::state::{State, replace, write_temporary};

/// The shortest and the longest time until the server is asked again: RFC 9773 §4.3.2.
const MIN_PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The time until the server is asked again after an error: RFC 9773 §4.3.3.
pub(crate) const AFTER_ERROR: Duration = Duration::from_secs(6 * 3600);

/// The server's answer for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenewalInfo {
    /// The identifier of the certificate: RFC 9773 §4.1.
    certificate: String,
    /// The suggested window; `None` if the server has no renewal information.
    window: Option<Window>,
    /// When the server is to be asked again.
    pub(crate) ask: SystemTime,
}

/// A suggested window, and the time in it that was chosen at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: SystemTime,
    end: SystemTime,
    renew: SystemTime,
}

impl RenewalInfo {
    /// Returns when the certificate is to be renewed, if the server has said so.
    pub(crate) fn renewal(&self) -> Option<SystemTime> {
        Some(self.window?.renew)
    }

    /// Returns the answer that is kept for a certificate.
    pub(crate) fn load(state: &State, name: &DnsName, info: &CertificateInfo) -> Option<Self> {
        let kept: Value =
            serde_json::from_slice(&std::fs::read(state.renewal_info(name)).ok()?).ok()?;
        let certificate = identifier(info)?.to_string();
        if kept["certificate"].as_str() != Some(&certificate) {
            return None;
        }
        let time = |name: &str| Some(UNIX_EPOCH + Duration::from_secs(kept[name].as_u64()?));
        let window =
            (|| Some(Window { start: time("start")?, end: time("end")?, renew: time("renew")? }))();
        // A clock that was wrong must not keep it from asking for years.
        let ask = time("ask")?.min(SystemTime::now() + MAX_PAUSE);
        Some(Self { certificate, window, ask })
    }

    /// Asks the server. `before` is its last answer. `None` if the certificate has no identifier, or there is
    /// no account.
    ///
    /// # Errors
    /// The server does not answer, or not as RFC 9773 has it.
    pub(crate) fn ask(
        state: &State,
        info: &CertificateInfo,
        before: Option<&Self>,
        client: &Client,
    ) -> Result<Option<Self>, AcmeError> {
        let Some(identifier) = identifier(info) else { return Ok(None) };
        let Some(account) = account::existing(state, client)? else { return Ok(None) };
        let answer = client.run(async {
            match account.renewal_info(&identifier).await {
                Err(Error::Unsupported(_)) => Ok(None),
                answer => answer.map(Some),
            }
        })?;
        let (window, pause) = match answer {
            Some((answer, pause)) => (choose(&answer.suggested_window, before), pause),
            None => (None, MAX_PAUSE),
        };
        let certificate = identifier.to_string();
        let ask = SystemTime::now() + pause.clamp(MIN_PAUSE, MAX_PAUSE);
        Ok(Some(Self { certificate, window, ask }))
    }

    /// Keeps the answer. The caller has the lock.
    ///
    /// # Errors
    /// As [`write_temporary`].
    pub(crate) fn keep(&self, state: &State, name: &DnsName) -> std::io::Result<()> {
        let mut kept = json!({ "certificate": self.certificate, "ask": seconds(self.ask) });
        if let Some(window) = self.window {
            kept["start"] = seconds(window.start).into();
            kept["end"] = seconds(window.end).into();
            kept["renew"] = seconds(window.renew).into();
        }
        let path = state.renewal_info(name);
        write_temporary(&path, kept.to_string().as_bytes())?;
        replace(&path)
    }
}

/// Chooses a time in a window; the same again as long as the window is the same. `None` for a window that
/// ends before it begins, as if there were none (RFC 9773 §4.2).
fn choose(suggested: &SuggestedWindow, before: Option<&RenewalInfo>) -> Option<Window> {
    let since_1970 = |seconds: i64| {
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let start = since_1970(suggested.start.unix_timestamp())?;
    let end = since_1970(suggested.end.unix_timestamp())?;
    let length = end.duration_since(start).ok()?;
    let same = before.and_then(|before| before.window);
    let renew = match same.filter(|window| (window.start, window.end) == (start, end)) {
        Some(window) => window.renew,
        None => start + Duration::from_secs(length.mul_f64(schedule::random()).as_secs()),
    };
    Some(Window { start, end, renew })
}

/// Returns the identifier of a certificate: RFC 9773 §4.1.
pub(crate) fn identifier(info: &CertificateInfo) -> Option<CertificateIdentifier<'static>> {
    let key = info.authority_key.as_deref()?;
    Some(CertificateIdentifier::new(Der::from_slice(key), Der::from_slice(&info.serial)))
}

/// Returns the seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
