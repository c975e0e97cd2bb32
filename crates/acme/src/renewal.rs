//! The thread that obtains and renews certificates: one for each name, so that a name that cannot be
//! checked holds up no other.
//!
//! # Limitations
//!
//! Names are handled one after the other. Between two looks at the clock it sleeps for at most an hour, so
//! that a machine that was suspended renews soon after.

use instant_acme::CertificateIdentifier;
use karez_tls::{CertStore, CertificateInfo, Challenges, Pair};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use crate::account;
use crate::directory_url::DirectoryUrl;
use crate::error::{AcmeError, Failure};
use crate::http_client::Client;
use crate::name::DnsName;
use crate::order::{ChallengeKind, obtain};
use crate::renewal_info::{self, RenewalInfo};
use crate::schedule;
use crate::state::{Lock, State, replace, temporary, write_temporary};

/// The longest sleep.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// The least time from a certificate to the next one that the server suggests.
const MIN_AGE: Duration = Duration::from_secs(3600);

/// Configures the certificates to obtain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The names, each of which gets a certificate.
    pub names: Vec<DnsName>,
    /// The URL of the server's directory.
    pub directory: DirectoryUrl,
    /// URLs by which the authority reaches the operator, such as `mailto:ops@site.example`.
    pub contact: Vec<String>,
    /// Authorities to trust instead of the system's, PEM, for requests to the server.
    pub ca: Option<PathBuf>,
    /// The state directory.
    pub state: PathBuf,
    /// The challenges that can be answered, in the order in which they are tried.
    pub challenges: Vec<ChallengeKind>,
}

impl Options {
    /// Returns options for these names, with TLS-ALPN-01 as the challenge.
    #[must_use]
    pub fn new(names: Vec<DnsName>, directory: DirectoryUrl, state: impl Into<PathBuf>) -> Self {
        Self {
            names,
            directory,
            contact: Vec::new(),
            ca: None,
            state: state.into(),
            challenges: vec![ChallengeKind::TlsAlpn01],
        }
    }
}

/// Obtains and renews certificates.
#[derive(Debug)]
pub struct Acme {
    options: Options,
    state: State,
    client: Client,
    challenges: Arc<Challenges>,
}

/// A name and the next attempt for it.
struct Subject {
    name: DnsName,
    pair: Pair,
    /// Its certificate, if there is one that can be used.
    certificate: Option<CertificateInfo>,
    due: SystemTime,
    /// The server's renewal information for the certificate, if it has been asked.
    info: Option<RenewalInfo>,
    /// When the server is to be asked for it, after an error.
    ask_again: Option<SystemTime>,
    /// When this process obtained the certificate.
    obtained: Option<SystemTime>,
    /// Attempts that have failed in a row.
    failures: u32,
    /// The index of the challenge to try: the one that succeeded last.
    challenge: usize,
    /// Challenges that have failed in this round.
    unchecked: usize,
}

impl Acme {
    /// Prepares the state directory and the client. Makes no request.
    ///
    /// # Errors
    /// The state directory cannot be written, or there is no authority to trust.
    pub fn open(options: Options) -> io::Result<Self> {
        let state = State::open(&options.state, options.directory.as_str(), options.names.iter())?;
        let client = Client::new(options.ca.as_deref())?;
        let challenges = Challenges::new(Arc::new(rustls::crypto::ring::default_provider()));
        Ok(Self { options, state, client, challenges })
    }

    /// Returns where the certificates are, or will be.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair> {
        self.options.names.iter().map(|name| self.state.pair(name)).collect()
    }

    /// Returns the answers of challenges, which the server has to give.
    #[must_use]
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Obtains the certificates that are missing and renews the others in time, until the other side of
    /// `wake` is dropped. After each it reloads the store. A message by `wake` repeats failed attempts at
    /// once. Errors and new certificates are reported to `log`, a line each.
    pub fn run(self, store: &CertStore, wake: &Receiver<()>, log: impl Fn(&str)) {
        let subjects = self.options.names.iter();
        let mut subjects: Vec<_> = subjects.map(|name| Subject::new(name, &self.state)).collect();
        loop {
            for subject in &mut subjects {
                if subject.ask().is_some_and(|at| at <= SystemTime::now()) {
                    self.ask(subject, &log);
                }
                if subject.due <= SystemTime::now() {
                    self.renew(subject, store, &log);
                }
            }
            let next = subjects.iter().map(|it| it.ask().map_or(it.due, |at| at.min(it.due))).min();
            let sleep = next.and_then(|next| next.duration_since(SystemTime::now()).ok());
            match wake.recv_timeout(sleep.unwrap_or_default().min(MAX_SLEEP)) {
                Ok(()) => {
                    let failed = subjects.iter_mut().filter(|subject| subject.failures > 0);
                    failed.for_each(|subject| subject.due = SystemTime::UNIX_EPOCH);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes one attempt for a name, and notes when the next is due.
    fn renew(&self, subject: &mut Subject, store: &CertStore, log: impl Fn(&str)) {
        let kind = self.options.challenges.get(subject.challenge).copied();
        let kind = kind.unwrap_or(ChallengeKind::TlsAlpn01);
        match self.attempt(subject, kind) {
            Ok(()) => {
                subject.obtained(&self.state, SystemTime::now());
                let reloaded = store.reload();
                self.ask(subject, &log);
                log(&match reloaded {
                    Ok(()) => format!("acme: {}: {}", subject.name, in_use(&subject.pair)),
                    Err(error) => format!(
                        "acme: {}: obtained, but the certificates stay as they were: {error}",
                        subject.name
                    ),
                });
            }
            Err(error) => {
                let pause = self.failed(subject, &error);
                subject.due = SystemTime::now() + pause;
                let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
                let next = match self.options.challenges.get(subject.challenge) {
                    Some(kind) if pause.is_zero() => format!("next attempt by {kind}"),
                    _ => format!(
                        "next attempt in {}",
                        humantime::format_duration(Duration::from_secs(seconds))
                    ),
                };
                log(&format!("acme: {}: {error}; {next}", subject.name));
            }
        }
    }

    /// Asks the server when to renew the certificate, unless another process has. An error is reported once, and the
    /// certificate renewed by its lifetime.
    fn ask(&self, subject: &mut Subject, log: impl Fn(&str)) {
        let disk = |error: io::Error| AcmeError::new(Failure::Refused, "", error.to_string());
        let asked = (|| -> Result<_, AcmeError> {
            let Some(certificate) = &subject.certificate else { return Ok(None) };
            let _lock: Lock = self.state.lock().map_err(disk)?;
            let kept = RenewalInfo::load(&self.state, &subject.name, certificate);
            if let Some(kept) = kept.as_ref().filter(|kept| kept.ask > SystemTime::now()) {
                return Ok(Some(kept.clone()));
            }
            let info = RenewalInfo::ask(&self.state, certificate, kept.as_ref(), &self.client)?;
            if let Some(info) = &info {
                info.keep(&self.state, &subject.name).map_err(disk)?;
            }
            Ok(info)
        })();
        let again = SystemTime::now() + renewal_info::AFTER_ERROR;
        match asked {
            Ok(Some(info)) => (subject.info, subject.ask_again) = (Some(info), None),
            Ok(None) => subject.ask_again = Some(again),
            Err(error) => {
                if subject.ask_again.replace(again).is_none() {
                    let name = &subject.name;
                    log(&format!("acme: {name}: renewal information: {error}; next attempt in 6h"));
                }
            }
        }
        subject.schedule();
    }

    /// Notes a failure, and returns the time until the next attempt.
    fn failed(&self, subject: &mut Subject, error: &AcmeError) -> Duration {
        subject.failures = subject.failures.saturating_add(1);
        if error.kind == Failure::NoAccount {
            account::forget(&self.state);
        }
        if error.kind == Failure::NotValidated {
            let kinds = self.options.challenges.len().max(1);
            subject.challenge = (subject.challenge + 1) % kinds;
            subject.unchecked = (subject.unchecked + 1) % kinds;
            if subject.unchecked > 0 {
                return Duration::ZERO; // another way to be checked is left
            }
        }
        schedule::pause(subject.failures, error.kind, error.retry_after, schedule::random())
    }

    /// Obtains a certificate, unless another process has.
    fn attempt(&self, subject: &Subject, kind: ChallengeKind) -> Result<(), AcmeError> {
        let (directory, contact) = (self.options.directory.as_str(), &self.options.contact);
        let disk = |error: io::Error| AcmeError::new(Failure::Refused, "", error.to_string());
        let _lock: Lock = self.state.lock().map_err(disk)?;
        let found = Subject::new(&subject.name, &self.state);
        if found.certificate != subject.certificate && found.due > SystemTime::now() {
            return Ok(());
        }
        let account = account::account(&self.state, directory, contact, &self.client)?;
        let replaces = subject.replaces();
        let pem = obtain(&account, &subject.name, replaces, kind, &self.challenges, &self.client)?;
        let path = &subject.pair.certificate;
        write_temporary(path, pem.as_bytes()).map_err(disk)?;
        let new = Pair { certificate: temporary(path), key: temporary(path) };
        match new.inspect() {
            Ok(info) if is_for(&info, &subject.name) => {}
            Ok(info) => {
                let text = format!("the certificate is for {}", info.names.join(", "));
                return Err(AcmeError::new(Failure::Refused, directory, text));
            }
            Err(error) => {
                return Err(AcmeError::new(Failure::Refused, directory, error.to_string()));
            }
        }
        replace(path).map_err(disk)
    }
}

impl Subject {
    /// Returns a name with its certificate and the server's renewal information, as they are kept.
    fn new(name: &DnsName, state: &State) -> Self {
        let pair = state.pair(name);
        let certificate = pair.inspect().ok().filter(|info| is_for(info, name));
        let due = certificate.as_ref().map_or(SystemTime::UNIX_EPOCH, |it| {
            schedule::renewal(it.not_before, it.not_after, schedule::random())
        });
        let info = certificate.as_ref().and_then(|it| RenewalInfo::load(state, name, it));
        let (failures, challenge, unchecked) = (0, 0, 0);
        let (ask_again, obtained) = (None, None);
        let name = name.clone();
        let mut subject = Self {
            name,
            pair,
            certificate,
            due,
            info,
            ask_again,
            obtained,
            failures,
            challenge,
            unchecked,
        };
        subject.schedule();
        subject
    }

    /// Notes a new certificate. Where the clock is wrong it may be due at once: then half of the time that
    /// is left is waited, so that it is not ordered again and again.
    fn obtained(&mut self, state: &State, now: SystemTime) {
        let challenge = self.challenge;
        *self = Self { challenge, obtained: Some(now), ..Self::new(&self.name, state) };
        let expires = self.certificate.as_ref().map(|it| it.not_after);
        let left = expires.and_then(|expires| expires.duration_since(now).ok());
        self.due = self.due.max(now + left.unwrap_or(MAX_SLEEP * 2) / 2);
    }

    /// Lets the server's suggestion decide, unless attempts to renew have failed.
    fn schedule(&mut self) {
        if self.failures == 0
            && let Some(certificate) = &self.certificate
            && let Some(renewal) = self.info.as_ref().and_then(RenewalInfo::renewal)
        {
            let due = schedule::suggested(certificate.not_before, certificate.not_after, renewal);
            self.due = self.obtained.map_or(due, |at| due.max(at + MIN_AGE));
        }
    }

    /// Returns when the server is to be asked for renewal information: at once for a certificate for which it
    /// has not been.
    fn ask(&self) -> Option<SystemTime> {
        self.certificate.as_ref()?;
        let regular = self.info.as_ref().map_or(SystemTime::UNIX_EPOCH, |info| info.ask);
        Some(self.ask_again.unwrap_or(regular))
    }

    /// Returns the certificate that the next order replaces, if the server has renewal information for it.
    fn replaces(&self) -> Option<CertificateIdentifier<'static>> {
        self.info.as_ref()?.renewal()?;
        renewal_info::identifier(self.certificate.as_ref()?)
    }
}

fn is_for(info: &CertificateInfo, name: &DnsName) -> bool {
    info.names.iter().any(|found| found == name.as_str())
}

fn in_use(pair: &Pair) -> String {
    match pair.inspect() {
        Ok(info) => {
            let until = humantime::format_rfc3339_seconds(info.not_after);
            format!("certificate in use, valid until {until}")
        }
        Err(error) => error.to_string(),
    }
}
