//! ACME of `karez serve`: the certificates that a thread obtains and renews.
//!
//! # Limitations
//!
//! The thread is not waited for at the end: an order that is open then expires at the ACME server.

use karez_acme::{Acme, ChallengeKind, Options};
use karez_server::ErrorLog;
use karez_tls::{CertStore, Challenges, Pair};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::cli::{Scheme, ServeArgs};
use crate::stop_signals::no_thread;
use crate::user::user;

/// The certificates to obtain.
pub(crate) struct Automatic {
    acme: Acme,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Automatic {
    /// Prepares the state directory; `None` if no certificate is to be obtained.
    ///
    /// # Errors
    /// The state directory or the file of authorities cannot be used.
    pub(crate) fn open(args: &ServeArgs) -> io::Result<Option<Self>> {
        let acme = &args.acme;
        let Some(state) = acme.state.as_ref().filter(|_| !acme.acme.is_empty()) else {
            return Ok(None);
        };
        let mut names = acme.acme.clone();
        names.sort();
        names.dedup();
        let mut options = Options::new(names, acme.acme_directory.clone(), state);
        options.contact.extend(acme.acme_contact.clone());
        options.ca.clone_from(&acme.acme_ca);
        options.challenges = challenges(args);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("--acme: {error}"));
        // The state belongs to the user that the server becomes.
        let open = || Acme::open(options);
        let acme = match user(args)? {
            Some(user) => user.act(open),
            None => open(),
        };
        let acme = acme.map_err(named)?;
        let (wake, woken) = channel();
        Ok(Some(Self { acme, wake, woken }))
    }

    /// Returns where the certificates are, or will be.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        self.acme.pairs()
    }

    /// Returns the answers that the server has to give.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.acme.challenges()
    }

    /// Starts the thread, which calls `confine` and then waits until it may [begin](WaitingAcme::begin).
    /// `confine` returns what could not be enforced.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn start(
        self,
        store: Arc<CertStore>,
        confine: impl FnOnce() -> Option<String> + Send + 'static,
    ) -> io::Result<WaitingAcme> {
        let Self { acme, wake, woken } = self;
        let (log, logs) = channel::<ErrorLog>();
        let work = move || {
            let unconfined = confine();
            let Ok(log) = logs.recv() else { return };
            if let Some(reason) = unconfined {
                log.warn(&format!("acme: the thread is not confined: {reason}"));
            }
            acme.run(&store, &woken, |text| log.warn(text));
        };
        let name = "karez-acme";
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(no_thread(name))?;
        Ok(WaitingAcme { wake, log })
    }
}

/// The thread that obtains certificates, before it begins.
pub(crate) struct WaitingAcme {
    wake: Sender<()>,
    log: Sender<ErrorLog>,
}

impl WaitingAcme {
    /// Lets it begin; it reports to `log`. A message by the sender that is returned repeats failed attempts
    /// at once; the thread ends when it is dropped.
    pub(crate) fn begin(self, log: ErrorLog) -> Sender<()> {
        let _ended = self.log.send(log);
        self.wake
    }
}

/// Returns the challenges that the listeners can answer, unless one is named.
fn challenges(args: &ServeArgs) -> Vec<ChallengeKind> {
    if let Some(challenge) = args.acme.acme_challenge {
        return vec![challenge.into()];
    }
    let plain = |plain: bool| {
        args.listen.iter().any(|listen| (listen.scheme == Some(Scheme::Http)) == plain)
    };
    let all = [(plain(false), ChallengeKind::TlsAlpn01), (plain(true), ChallengeKind::Http01)];
    all.into_iter().filter_map(|(possible, challenge)| possible.then_some(challenge)).collect()
}
