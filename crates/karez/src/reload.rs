//! Reload on SIGHUP: the configuration file and the certificates are read, checked and opened, and then
//! replace those in use at once. A fault leaves everything as it was.
//!
//! # Limitations
//!
//! Threads, listeners and logs are made at the start: a change of their keys needs a restart, and the
//! whole reload is refused until then.

use karez_server::{Log, Reloader};
use karez_sys::BlockedSignals;
use rustix::io::Errno;
use rustix::process::Signal;
use std::sync::mpsc::Sender;
use std::{io, thread};

use crate::configuration::{Configuration, Flags};
use crate::plain_passwords;
use crate::serve_options::options;
use crate::stop_signals::no_thread;
use crate::tls::{Tls, Watch};

/// The keys that need a restart.
const NEED_RESTART: &[&str] = &[
    "acme",
    "acme-ca",
    "acme-challenge",
    "acme-contact",
    "acme-directory",
    "explain",
    "grace",
    "listen",
    "log",
    "max-connections",
    "model",
    "pin",
    "quiet",
    "sandbox",
    "sandbox-read",
    "state",
    "threads",
    "topology",
    "user",
    "workers",
    "yield",
];

/// A server whose configuration can be replaced.
pub(crate) struct Reload {
    flags: Flags,
    running: Configuration,
    tls: Option<Tls>,
    watch: Option<Watch>,
    /// Has certificates obtained at once.
    wake: Option<Sender<()>>,
    reloader: Reloader,
    log: Log,
}

/// Blocks SIGHUP, in all threads that are made later, if there is something to reload.
///
/// # Errors
/// As [`BlockedSignals::block`].
pub(crate) fn hangup(flags: &Flags, tls: Option<&Tls>) -> io::Result<Option<BlockedSignals>> {
    let reloads = flags.file().is_some() || tls.is_some();
    reloads.then(|| BlockedSignals::block(&[Signal::HUP]).map_err(io::Error::from)).transpose()
}

impl Reload {
    /// Returns the reload of a server; watches its certificates, and obtains those that are to be obtained.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(crate) fn new(
        flags: Flags,
        running: Configuration,
        mut tls: Option<Tls>,
        reloader: Reloader,
        log: Log,
    ) -> io::Result<Self> {
        let watch = tls.as_ref().map(|tls| tls.watch(&log)).transpose()?.flatten();
        let wake = tls.as_mut().and_then(|tls| tls.obtain(&log));
        Ok(Self { flags, running, tls, watch, wake, reloader, log })
    }

    /// Starts the thread that waits for the signal.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(crate) fn start(mut self, hangup: BlockedSignals) -> io::Result<()> {
        let name = "karez-hangup";
        let wait = move || {
            loop {
                match hangup.wait(None) {
                    Ok(true) => self.reload(),
                    Ok(false) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(wait).map_err(no_thread(name))?;
        Ok(())
    }

    fn reload(&mut self) {
        if self.flags.file().is_some() {
            match self.replace() {
                Ok(()) => self.log.notice("configuration loaded"),
                Err(faults) => {
                    for fault in faults {
                        self.log.notice(&format!("the configuration stays as it was: {fault}"));
                    }
                    return;
                }
            }
        }
        if let Some(tls) = &self.tls {
            tls.reload(self.watch.as_ref(), &self.log);
        }
        // The thread has ended if it had nothing to do.
        let _ended = self.wake.as_ref().map(|wake| wake.send(()));
    }

    /// Replaces the configuration in use.
    ///
    /// # Errors
    /// All faults; then nothing changes.
    fn replace(&mut self) -> Result<(), Vec<String>> {
        let (next, faults) = Configuration::load(&self.flags);
        let next = match next {
            Some(next) if faults.is_empty() => next,
            _ => return Err(faults.into_sorted().iter().map(ToString::to_string).collect()),
        };
        let mut fixed = next.differences(&self.running);
        fixed.retain(|key| NEED_RESTART.contains(&key.as_str()));
        if !fixed.is_empty() {
            return Err(vec![format!("a change of {} needs a restart", fixed.join(", "))]);
        }
        let one = |error: io::Error| vec![error.to_string()];
        let tls = Tls::load(&next, self.tls.as_ref()).map_err(one)?;
        self.reloader.reload(options(&next, None, tls.as_ref())).map_err(one)?;
        let listeners = |of: &Configuration| -> Vec<_> {
            of.serve.listen.iter().map(|listen| listen.address.clone()).collect()
        };
        let warning = |of: &Configuration, tls: Option<&Tls>| {
            plain_passwords::warning(of, listeners(of).iter(), tls)
        };
        let before = warning(&self.running, self.tls.as_ref());
        if let Some(text) = warning(&next, tls.as_ref()).filter(|_| before.is_none()) {
            self.log.notice(&format!("warning: {text}"));
        }
        (self.running, self.tls) = (next, tls);
        if self.watch.is_none()
            && let Some(tls) = &self.tls
        {
            self.watch = tls.watch(&self.log).ok().flatten();
        }
        Ok(())
    }
}
