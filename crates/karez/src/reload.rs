//! Reload on SIGHUP: the configuration file, the certificates and the files of logs are read, checked and
//! opened, and then replace those in use at once. A fault leaves everything as it was. SIGUSR1 opens the files
//! of logs again, and nothing else.
//!
//! # Limitations
//!
//! Threads and listeners are made at the start, and the access log on or off. A change of their keys is an
//! [upgrade](crate::upgrade): another process serves by the new configuration.

use karez_server::Reloader;
use karez_sys::BlockedSignals;
use rustix::io::Errno;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::{io, thread};

use crate::activation::Activated;
use crate::cli::LogForm;
use crate::configuration::{Configuration, Flags};
use crate::logs::{Logs, Streams};
use crate::plain_passwords;
use crate::serve_options::{options, tcp_options};
use crate::service_manager::ServiceManager;
use crate::stop_signals::no_thread;
use crate::tls::{Tls, Watch};
use crate::upgrade::Upgrade;

/// The keys that need another process.
const NEED_PROCESS: &[&str] = &[
    "acme",
    "acme-ca",
    "acme-challenge",
    "acme-contact",
    "acme-directory",
    "drain",
    "etag-cache",
    "explain",
    "grace",
    "listen",
    "max-connections",
    "metrics",
    "model",
    "pin",
    "quiet",
    "sandbox",
    "sandbox-read",
    "state",
    "status",
    "supervise",
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
    logs: Logs,
    activated: Activated,
    manager: ServiceManager,
    upgrade: Arc<Upgrade>,
}

/// Blocks SIGHUP and SIGUSR1, in all threads that are made later, if there is something to reload. Otherwise
/// SIGUSR1 has no effect, instead of ending the process. Neither has SIGXFSZ: a log that has reached the limit
/// on the size of files (setrlimit(2)) fails with `EFBIG`.
///
/// # Errors
/// As [`BlockedSignals::block`].
pub(crate) fn signals_of_reload(
    configuration: &Configuration,
    flags: &Flags,
    tls: Option<&Tls>,
) -> io::Result<Option<BlockedSignals>> {
    BlockedSignals::block(&[Signal::USR1, Signal::XFSZ])?;
    let has_files = configuration.serve.logs.files().next().is_some();
    let reloads = flags.file().is_some() || tls.is_some() || has_files;
    let block = || BlockedSignals::block(&[Signal::HUP, Signal::USR1]).map_err(io::Error::from);
    reloads.then(block).transpose()
}

impl Reload {
    /// Returns the reload of a server; watches its certificates, and obtains those that are to be obtained.
    ///
    /// # Errors
    /// A thread that cannot be made.
    #[expect(clippy::too_many_arguments, reason = "the parts of a server, each of another type")]
    pub(crate) fn new(
        flags: Flags,
        running: Configuration,
        mut tls: Option<Tls>,
        reloader: Reloader,
        logs: Logs,
        activated: Activated,
        manager: ServiceManager,
        upgrade: Arc<Upgrade>,
    ) -> io::Result<Self> {
        let watch = tls.as_ref().map(|tls| tls.watch(&logs.errors)).transpose()?.flatten();
        let wake = tls.as_mut().and_then(|tls| tls.obtain(&logs.errors));
        #[rustfmt::skip]
        let reload = Self {
            flags, running, tls, watch, wake, reloader, logs, activated, manager, upgrade,
        };
        Ok(reload)
    }

    /// Starts the thread that waits for the signals.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(crate) fn start(mut self, signals: BlockedSignals) -> io::Result<()> {
        let name = "karez-hangup";
        let wait = move || {
            loop {
                match signals.take(None) {
                    Ok(Some(Signal::HUP)) => {
                        self.manager.reloading();
                        let status = self.reload();
                        self.manager.ready(status);
                    }
                    Ok(Some(_)) => self.logs.reopen(&self.running.serve.logs),
                    Ok(None) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(wait).map_err(no_thread(name))?;
        Ok(())
    }

    /// Returns the result for the service manager.
    fn reload(&mut self) -> &'static str {
        if self.flags.file().is_some() {
            match self.replace() {
                Ok(()) => self.logs.errors.info("configuration loaded"),
                Err(faults) => {
                    for fault in faults {
                        let text = format!("the configuration stays as it was: {fault}");
                        self.logs.errors.error(&text);
                    }
                    return "the configuration stays as it was";
                }
            }
        } else if self.running.serve.logs.files().next().is_some() {
            self.logs.reopen(&self.running.serve.logs);
        }
        if let Some(tls) = &self.tls {
            tls.reload(self.watch.as_ref(), &self.logs.errors);
        }
        // The thread has ended if it had nothing to do.
        let _ended = self.wake.as_ref().map(|wake| wake.send(()));
        "configuration loaded"
    }

    /// Replaces the configuration in use.
    ///
    /// # Errors
    /// All faults; then nothing changes.
    fn replace(&mut self) -> Result<(), Vec<String>> {
        let (next, faults) = Configuration::load(&self.flags);
        let mut next = match next {
            Some(next) if faults.is_empty() => next,
            _ => return Err(faults.into_sorted().iter().map(ToString::to_string).collect()),
        };
        self.activated.complete(&mut next);
        let mut fixed = next.differences(&self.running);
        fixed.retain(|key| NEED_PROCESS.contains(&key.as_str()));
        let is_off = |of: &Configuration| of.serve.logs.log == LogForm::Off;
        if is_off(&next) != is_off(&self.running) {
            fixed.push("log to or from off".to_owned());
        }
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            self.logs.errors.info(&format!("a change of {keys} needs another process"));
            return match self.upgrade.run() {
                Ok(()) => self.upgrade.wait_for_exit(),
                Err(reason) => Err(vec![reason]),
            };
        }
        let one = |error: io::Error| vec![error.to_string()];
        let tls = Tls::load(&next, self.tls.as_ref()).map_err(one)?;
        let streams = Streams::open(&next.serve.logs).map_err(one)?;
        let access = self.logs.access_log(&next.serve.logs);
        let tcp = tcp_options(&next.serve);
        if tcp != tcp_options(&self.running.serve) {
            self.upgrade.set_tcp_options(&tcp).map_err(one)?;
        }
        self.reloader.reload(options(&next, None, tls.as_ref()), access).map_err(one)?;
        self.logs.apply(streams, &next.serve.logs);
        let listeners = |of: &Configuration| -> Vec<_> {
            of.serve.listen.iter().map(|listen| listen.address.clone()).collect()
        };
        let warning = |of: &Configuration, tls: Option<&Tls>| {
            plain_passwords::warning(of, listeners(of).iter(), tls)
        };
        let before = warning(&self.running, self.tls.as_ref());
        if let Some(text) = warning(&next, tls.as_ref()).filter(|_| before.is_none()) {
            self.logs.errors.warn(&format!("warning: {text}"));
        }
        (self.running, self.tls) = (next, tls);
        if self.watch.is_none()
            && let Some(tls) = &self.tls
        {
            self.watch = tls.watch(&self.logs.errors).ok().flatten();
        }
        Ok(())
    }
}
