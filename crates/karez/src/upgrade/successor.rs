//! The end of an upgrade in the new process: it gets the listeners by its standard input, and reports by it that it
//! is ready, or why it cannot be.

use karez_reactor::{Address, Handover, InheritedListener};
use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::channel::{Channel, MAX_DESCRIPTORS};
use super::word;
use crate::activation::{Activated, Inherited};

/// The variable that a launcher sets for a successor.
pub(super) const SUCCESSOR: &str = "KAREZ_SUCCESSOR";

/// The time within which the process that is replaced stops accepting.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The channel to the launcher, until this process is ready.
static CHANNEL: Mutex<Option<Channel>> = Mutex::new(None);

fn channel() -> MutexGuard<'static, Option<Channel>> {
    CHANNEL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the channel, if a launcher has started this process.
///
/// # Errors
/// A standard input that cannot be replaced.
pub(crate) fn begin() -> io::Result<()> {
    if env::var_os(SUCCESSOR).is_none() {
        return Ok(());
    }
    let own = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    *channel() = Some(Channel::of(own));
    Ok(())
}

/// Returns whether there is a process that this one is to replace.
pub(crate) fn replaces_another() -> bool {
    channel().is_some()
}

/// Closes the channel, in a process that is not the successor.
pub(crate) fn forget() {
    *channel() = None;
}

/// Reports why this process cannot serve, if a launcher waits for it.
pub(crate) fn report_fault(fault: &str) {
    if let Some(channel) = &*channel() {
        let _ended = channel.send(&format!("{} {fault}", word::FAULT), &[]);
    }
}

/// Receives the listeners; `None` if no launcher has started this process.
///
/// # Errors
/// A channel that ends before.
pub(crate) fn listeners() -> io::Result<Option<Inherited>> {
    let channel = channel();
    let Some(channel) = &*channel else { return Ok(None) };
    let mut inherited = Inherited::default();
    loop {
        let ended = || io::Error::other("the process to be replaced has ended");
        let message = channel.receive(Some(TIMEOUT))?.ok_or_else(ended)?;
        let mut lines = message.text.lines();
        let first = lines.next();
        for (line, socket) in lines.zip(message.descriptors) {
            let invalid = || io::Error::other(format!("a listener is described by {line:?}"));
            let (origin, address) = line.split_once(' ').ok_or_else(invalid)?;
            let address: Address = address.parse().map_err(io::Error::other)?;
            match origin.split_once('=') {
                Some((_, name)) => {
                    inherited.add(InheritedListener::new(socket, None, false)?, name.to_owned());
                }
                None => {
                    let owns_name = origin == word::BOUND;
                    let listener = InheritedListener::new(socket, Some(address), owns_name)?;
                    inherited.listeners.push(listener);
                }
            }
        }
        if first == Some(word::LAST) {
            return Ok(Some(inherited));
        }
    }
}

/// Sends the listeners of this process to its launcher.
///
/// # Errors
/// A launcher that has ended; a server that has closed its listeners.
pub(super) fn send_listeners(
    launcher: &Channel,
    handover: &Handover,
    activated: &Activated,
) -> io::Result<()> {
    let listeners = handover.listeners();
    if listeners.is_empty() {
        return Err(io::Error::other("the server does not accept any more"));
    }
    let mut parts = listeners.chunks(MAX_DESCRIPTORS).peekable();
    while let Some(part) = parts.next() {
        let first = if parts.peek().is_some() { word::MORE } else { word::LAST };
        let lines = part.iter().map(|listener| {
            let address = &listener.requested;
            match activated.name(address) {
                Some(name) => format!("{}={name} {address}", word::ACTIVATED),
                None => format!("{} {address}", word::BOUND),
            }
        });
        let text = std::iter::once(first.to_owned()).chain(lines).collect::<Vec<_>>().join("\n");
        let descriptors: Vec<_> = part.iter().map(|listener| listener.socket.as_fd()).collect();
        launcher.send(&text, &descriptors)?;
    }
    Ok(())
}

/// Reports that everything is opened and the event loops may run, and waits until the process to be replaced
/// accepts no more. Does nothing if there is none.
///
/// # Errors
/// That process does not respond.
pub(crate) fn wait_for_turn() -> io::Result<()> {
    let channel = channel();
    let Some(channel) = &*channel else { return Ok(()) };
    channel.send(word::PREPARED, &[])?;
    channel.receive(Some(TIMEOUT))?;
    Ok(())
}

/// Reports that the event loops run, and the names of UNIX sockets that this process does not need: the process to be
/// replaced removes them. Returns whether a launcher has started this process.
pub(crate) fn ready(unused: &[PathBuf]) -> bool {
    let Some(channel) = channel().take() else { return false };
    let names = unused.iter().map(|name| format!("\n{}", name.display()));
    // A launcher that has ended waits for no report.
    let _ended = channel.send(&format!("{}{}", word::READY, names.collect::<String>()), &[]);
    true
}
