//! HTTPS of `karez serve`: its certificates and listeners.

mod watch;

pub(crate) use watch::Watch;

use karez_reactor::Address;
use karez_server::{ErrorLog, KernelTls, TlsOptions, alpn_protocols};
#[cfg(feature = "acme")]
use karez_tls::Challenges;
use karez_tls::{CertStore, Pair, Settings};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

#[cfg(feature = "acme")]
use crate::acme::{Automatic, WaitingAcme};
use crate::cli::{ListenAddress, Scheme};
use crate::configuration::{Configuration, Faults};
use crate::core_dumps;
use crate::stderr;

/// The flags that bring a certificate, for errors.
const CERTIFICATE: &str = if cfg!(feature = "acme") {
    "--tls-cert and --tls-key, --acme, or --tls-self-signed"
} else {
    "--tls-cert and --tls-key, or --tls-self-signed"
};

/// The TLS of a server.
pub(crate) struct Tls {
    store: Arc<CertStore>,
    files: Files,
    /// Whether each listener is HTTPS.
    secure: Vec<bool>,
    redirect: bool,
    /// Of a certificate that was made.
    fingerprint: Option<String>,
    kernel: Option<Arc<KernelTls>>,
    #[cfg(feature = "acme")]
    challenges: Option<Arc<Challenges>>,
    /// Certificates to obtain, until their thread is started.
    #[cfg(feature = "acme")]
    automatic: Option<Automatic>,
    /// Their thread, until it begins.
    #[cfg(feature = "acme")]
    acme: Option<WaitingAcme>,
}

impl Tls {
    /// Loads the certificates that a configuration names; `None` without any. Those of `before` are taken
    /// if they are the same, so that clients can resume.
    ///
    /// # Errors
    /// How the configuration contradicts itself; the file and the reason.
    pub(crate) fn load(
        configuration: &Configuration,
        before: Option<&Self>,
    ) -> io::Result<Option<Self>> {
        if let Some(error) = contradiction(configuration) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        if !is_enabled(configuration) {
            return Ok(None);
        }
        if let Err(error) = core_dumps::exclude_memory() {
            let file = "/proc/self/coredump_filter";
            stderr::warning(&format!("core dumps may contain keys: {file}: {error}"));
        }
        #[cfg_attr(not(feature = "acme"), expect(unused_mut, reason = "ACME adds pairs"))]
        let mut files = Files::of(configuration);
        #[cfg(feature = "acme")]
        let automatic = match before {
            // Its keys need a restart, and its thread runs.
            Some(_) => None,
            None => Automatic::open(&configuration.serve)?,
        };
        #[cfg(feature = "acme")]
        let (obtained, challenges) = match before {
            Some(before) => (before.files.obtained.clone(), before.challenges.clone()),
            None => (
                automatic.iter().flat_map(Automatic::pairs).collect(),
                automatic.as_ref().map(Automatic::challenges),
            ),
        };
        #[cfg(feature = "acme")]
        {
            files.obtained = obtained;
        }
        let same = before.filter(|before| before.files == files);
        let (store, fingerprint) = match same {
            Some(same) => {
                if files.self_signed.is_none() {
                    files.load()?;
                }
                (Arc::clone(&same.store), None)
            }
            None => {
                let (store, fingerprint) = files.load()?;
                (Arc::new(store), fingerprint)
            }
        };
        let listen = configuration.serve.listen.iter();
        let secure = listen.map(|listen| listen.scheme != Some(Scheme::Http)).collect();
        let redirect = configuration.serve.tls.redirect_https;
        Ok(Some(Self {
            store,
            files,
            secure,
            redirect,
            fingerprint,
            kernel: before.and_then(|before| before.kernel.clone()),
            #[cfg(feature = "acme")]
            challenges,
            #[cfg(feature = "acme")]
            automatic,
            #[cfg(feature = "acme")]
            acme: None,
        }))
    }

    /// Starts the thread that obtains certificates, if there are some to obtain. It calls `confine` first, and
    /// then waits for [`obtain`](Self::obtain).
    ///
    /// # Errors
    /// A thread that cannot be made.
    #[cfg(feature = "acme")]
    pub(crate) fn start_acme(
        &mut self,
        confine: impl FnOnce() -> Option<String> + Send + 'static,
    ) -> io::Result<()> {
        if let Some(automatic) = self.automatic.take() {
            self.acme = Some(automatic.start(Arc::clone(&self.store), confine)?);
        }
        Ok(())
    }

    /// Lets the thread obtain certificates, if there is one. A message by the sender repeats failed attempts
    /// at once.
    pub(crate) fn obtain(&mut self, log: &ErrorLog) -> Option<Sender<()>> {
        #[cfg(feature = "acme")]
        return self.acme.take().map(|acme| acme.begin(log.clone()));
        #[cfg(not(feature = "acme"))]
        {
            let _ = log;
            None
        }
    }

    /// Returns the files of certificates that are obtained.
    pub(crate) fn obtained_files(&self) -> Vec<PathBuf> {
        let pairs = self.files.obtained.iter();
        pairs.flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]).collect()
    }

    /// Starts to watch the files. An error of inotify(7) is reported to the log.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(crate) fn watch(&self, log: &ErrorLog) -> io::Result<Option<Watch>> {
        if self.store.paths().next().is_none() {
            return Ok(None);
        }
        Watch::start(&self.store, log)
    }

    /// Loads the files again, and watches them in place of earlier ones.
    pub(crate) fn reload(&self, watch: Option<&Watch>, log: &ErrorLog) {
        if let Some(watch) = watch {
            watch.switch(&self.store, log);
        }
        watch::reload(&self.store, log);
    }

    /// Returns the options of the server.
    pub(crate) fn options(&self) -> TlsOptions {
        let mut options = TlsOptions::new(Arc::clone(&self.store));
        options.secure.clone_from(&self.secure);
        options.redirect = self.redirect;
        options.kernel.clone_from(&self.kernel);
        #[cfg(feature = "acme")]
        {
            options.challenges.clone_from(&self.challenges);
        }
        options
    }

    /// Sets the use of kernel TLS, which depends on the model and stays the same after a reload.
    pub(crate) fn set_kernel(&mut self, kernel: Option<Arc<KernelTls>>) {
        self.kernel = kernel;
    }

    /// Returns whether a listener is HTTPS.
    pub(crate) fn is_secure(&self, listener: usize) -> bool {
        self.secure.get(listener).copied().unwrap_or(false)
    }

    /// Returns the line that names the certificate that was made.
    pub(crate) fn notice(&self) -> Option<String> {
        let fingerprint = self.fingerprint.as_ref()?;
        Some(format!("self-signed certificate, SHA-256 fingerprint {fingerprint}"))
    }
}

/// The files that a store is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    pairs: Vec<Pair>,
    /// Those that are obtained, and may be missing.
    obtained: Vec<Pair>,
    client_ca: Option<PathBuf>,
    /// Whether HTTP/2 is offered.
    http2: bool,
    /// The names of a certificate that is made.
    self_signed: Option<Vec<String>>,
}

impl Files {
    fn of(configuration: &Configuration) -> Self {
        let args = &configuration.serve;
        Self {
            pairs: pairs(configuration).map(|(pair, _)| pair).collect(),
            obtained: Vec::new(),
            client_ca: args.tls.tls_client_ca.clone(),
            http2: !args.http1_only,
            self_signed: args.tls.tls_self_signed.then(|| names(&args.listen)),
        }
    }

    /// Loads them. The fingerprint is that of a certificate that was made.
    fn load(&self) -> io::Result<(CertStore, Option<String>)> {
        let mut settings = Settings::default();
        settings.protocols = alpn_protocols(self.http2);
        settings.client_ca.clone_from(&self.client_ca);
        settings.pairs.clone_from(&self.pairs);
        settings.optional_pairs.clone_from(&self.obtained);
        match &self.self_signed {
            Some(names) => {
                let made = CertStore::self_signed(names, settings).map_err(io::Error::other)?;
                Ok((made.0, Some(made.1)))
            }
            None => Ok((CertStore::load(settings).map_err(io::Error::other)?, None)),
        }
    }
}

/// Returns whether there are certificates.
fn is_enabled(configuration: &Configuration) -> bool {
    #[cfg(feature = "acme")]
    if !configuration.serve.acme.acme.is_empty() {
        return true;
    }
    configuration.serve.tls.tls_self_signed || pairs(configuration).next().is_some()
}

/// Returns the certificates of all sites, each with the line that names it. A client that asks for no
/// name gets the first.
fn pairs(configuration: &Configuration) -> impl Iterator<Item = (Pair, Option<usize>)> {
    let top = configuration.line_of(&["tls_cert"]);
    let of_server = std::iter::once((&configuration.serve.tls.pairs, top));
    let sites = configuration.sites.iter();
    let of_sites = sites.map(|site| (&site.table.pairs, site.line_of("tls_cert")));
    of_server.chain(of_sites).flat_map(|(args, line)| {
        let files = args.tls_cert.iter().zip(&args.tls_key);
        files.map(move |(certificate, key)| {
            (Pair { certificate: certificate.clone(), key: key.clone() }, line)
        })
    })
}

/// Adds the faults of all certificates and keys.
pub(crate) fn check_files(configuration: &Configuration, faults: &mut Faults) {
    if let Some(error) = contradiction(configuration) {
        faults.add(None, &error);
    }
    for (pair, line) in pairs(configuration) {
        let files = Files { pairs: vec![pair], ..Files::of(configuration) };
        if let Err(error) = files.load() {
            faults.add(line, &error.to_string());
        }
    }
}

/// Returns how the arguments contradict each other, if they do.
pub(crate) fn contradiction(configuration: &Configuration) -> Option<String> {
    let args = &configuration.serve;
    let (tls, enabled) = (&args.tls, is_enabled(configuration));
    let is = |scheme| args.listen.iter().any(|listen| listen.scheme == Some(scheme));
    let tcp = |listen: &ListenAddress| matches!(listen.address, Address::Tcp(_));
    let sites = configuration.sites.iter().map(|site| &site.table.pairs);
    for pairs in sites.chain([&tls.pairs]) {
        let (certificates, keys) = (pairs.tls_cert.len(), pairs.tls_key.len());
        if certificates != keys {
            return Some(format!("{certificates} --tls-cert but {keys} --tls-key"));
        }
    }
    if tls.tls_self_signed && pairs(configuration).next().is_some() {
        return Some("--tls-self-signed cannot be used with --tls-cert".to_owned());
    }
    if !enabled && is(Scheme::Https) {
        return Some(format!("https: needs {CERTIFICATE}"));
    }
    if !enabled && (tls.tls_client_ca.is_some() || tls.redirect_https) {
        let flag = if tls.redirect_https { "--redirect-https" } else { "--tls-client-ca" };
        return Some(format!("{flag} needs {CERTIFICATE}"));
    }
    let secure = |listen: &&ListenAddress| listen.scheme != Some(Scheme::Http);
    let redirects = is(Scheme::Http) && args.listen.iter().filter(secure).any(tcp);
    let needs =
        "--redirect-https needs a plain listener (--listen http:ADDR) and an HTTPS listener on TCP";
    (tls.redirect_https && !redirects).then(|| needs.to_owned())
}

/// Returns the names of a certificate for development.
fn names(listen: &[ListenAddress]) -> Vec<String> {
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).collect();
    for listen in listen {
        if let Address::Tcp(address) = &listen.address {
            let name = address.ip().to_string();
            if !address.ip().is_unspecified() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Returns the scheme of the URL of a listener.
pub(crate) fn scheme(tls: Option<&Tls>, listener: usize) -> &'static str {
    if tls.is_some_and(|tls| tls.is_secure(listener)) { "https" } else { "http" }
}
