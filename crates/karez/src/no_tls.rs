//! TLS of a build without it.

use karez_server::ErrorLog;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use crate::configuration::{Configuration, Faults};

/// The TLS of a server, which there is not.
pub(crate) struct Tls(Infallible);

/// The certificates that are watched.
pub(crate) struct Watch(Infallible);

impl Tls {
    pub(crate) fn load(_: &Configuration, _: Option<&Self>) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn notice(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) fn obtain(&mut self, _: &ErrorLog) -> Option<Sender<()>> {
        match self.0 {}
    }

    pub(crate) fn obtained_files(&self) -> Vec<PathBuf> {
        match self.0 {}
    }

    pub(crate) fn watch(&self, _: &ErrorLog) -> io::Result<Option<Watch>> {
        match self.0 {}
    }

    pub(crate) fn reload(&self, watch: Option<&Watch>, _: &ErrorLog) {
        if let Some(watch) = watch {
            match watch.0 {}
        }
    }
}

pub(crate) fn contradiction(_: &Configuration) -> Option<String> {
    None
}

pub(crate) fn check_files(_: &Configuration, _: &mut Faults) {}

/// Returns the scheme of the URL of a listener.
pub(crate) fn scheme(_: Option<&Tls>, _listener: usize) -> &'static str {
    "http"
}
