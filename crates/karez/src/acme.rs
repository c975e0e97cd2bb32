//! ACME of `karez serve`: the certificates that a thread obtains and renews.
//!
//! # Limitations
//!
//! The thread is not waited for at the end: an order that is open then expires at the ACME server.

use karez_acme::{Acme, ChallengeKind, Options};
use karez_tls::{CertStore, Challenges, Pair};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::cli::{Scheme, ServeArgs};
use crate::stop_signals::no_thread;

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
        let acme = Acme::open(options).map_err(named)?;
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

    /// Starts the thread, which reports to `log`. A message by the sender that is returned repeats failed attempts at once; the
    /// thread ends when it is dropped.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn start(
        self,
        store: Arc<CertStore>,
        log: impl Fn(&str) + Send + 'static,
    ) -> io::Result<Sender<()>> {
        let Self { acme, wake, woken } = self;
        let name = "karez-acme";
        let work = move || acme.run(&store, &woken, log);
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(no_thread(name))?;
        Ok(wake)
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
