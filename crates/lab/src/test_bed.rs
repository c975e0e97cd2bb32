//! The test bed: a sender and a receiver process connected by a transport.

use karez_lab_sys::count_syscalls;
use serde_json::json;
use std::collections::BTreeMap;
use tempfile::TempDir;

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::{Counters, Scope, call_name, mark};
use crate::test_file::{CacheState, TestFile};
use crate::transfer_outcome::TransferOutcome;
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};
use crate::workers::{Worker, WorkerCommand};

/// Addresses of the veth pair (RFC 5737: documentation only).
const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";

/// Attempts to flush the network before a file that stays cached is given up.
const NETWORK_FLUSHES: usize = 20;

/// Attempts of a transfer until the counters see every byte.
const TRIES: u32 = 4;

/// A sender, a receiver and a transport.
#[derive(Debug)]
pub struct TestBed {
    pub(crate) sender: Worker,
    pub(crate) receiver: Worker,
    transport: Transport,
    place: TempDir,
    sockets: u32,
}

impl TestBed {
    /// Starts both processes, each on its own core, and sets up the transport.
    ///
    /// # Errors
    /// For a veth, if the process is unprivileged and cannot create user namespaces.
    pub fn set_up(workers: &WorkerCommand, transport: Transport) -> Result<Self> {
        let (sender, receiver) = (workers.start(0)?, workers.start(1)?);
        let place = tempfile::Builder::new().prefix("karez-lab-").tempdir();
        let place = place.context("make", "a directory")?;
        let mut bed = Self { sender, receiver, transport, place, sockets: 0 };
        match transport {
            Transport::Unix | Transport::Loopback => {}
            Transport::Veth => bed.connect_by_veth(true)?,
            Transport::VethWithoutScatterGather => bed.connect_by_veth(false)?,
        }
        Ok(bed)
    }

    fn connect_by_veth(&mut self, scatter_gather: bool) -> Result<()> {
        let (near, far) = ("karez0", "karez1");
        self.sender.request(&json!({ "command": "enter-network" }))?;
        let with = self.sender.pid().as_raw_nonzero().get();
        self.receiver.request(&json!({ "command": "enter-network", "user_of": with }))?;
        let of = self.receiver.pid().as_raw_nonzero().get();
        self.sender.request(
            &json!({ "command": "add-veth", "name": near, "peer": far, "peer_process": of }),
        )?;
        if !scatter_gather {
            self.sender.request(&json!({
                "command": "set-offload", "offload": "scatter-gather", "name": near, "on": false,
            }))?;
        }
        self.sender.request(&json!({ "command": "add-address", "name": near, "address": NEAR }))?;
        self.receiver.request(&json!({ "command": "add-address", "name": far, "address": FAR }))?;
        Ok(())
    }

    /// Connects sender and receiver and returns the cookie of the sending socket. The receiver
    /// starts to read.
    pub(crate) fn connect(&mut self, receive_mode: ReceiveMode) -> Result<u64> {
        self.sockets += 1;
        let at = match self.transport {
            Transport::Unix => {
                format!("unix:{}", self.place.path().join(self.sockets.to_string()).display())
            }
            Transport::Loopback => "127.0.0.1".to_owned(),
            Transport::Veth | Transport::VethWithoutScatterGather => FAR.to_owned(),
        };
        let to = self.receiver.request(&json!({ "command": "listen", "at": at }))?;
        self.receiver
            .send(&json!({ "command": "receive", "mode": receive_mode.command(self.transport) }))?;
        let cookie = self.sender.request(&json!({ "command": "connect", "to": to }))?;
        cookie.as_u64().ok_or_else(|| {
            Error::new(
                "connect to",
                to,
                "the connection has no socket \
            cookie",
            )
        })
    }

    /// Connects with `counters` on both processes, the socket and the file. The receiver may start
    /// before the socket is known, so it is observed first.
    pub(crate) fn connect_counted(
        &mut self,
        receive_mode: ReceiveMode,
        test_file: &TestFile,
        counters: &mut Counters,
    ) -> Result<()> {
        let scope = Scope::default().process(self.sender.pid()).process(self.receiver.pid());
        counters.aim(&scope.file(test_file.id()?))?;
        let cookie = self.connect(receive_mode)?;
        counters.watch(cookie)
    }

    /// Brings the file into this cache state, even if unfreed packets of the last transfer still
    /// hold its pages.
    ///
    /// # Errors
    /// If the state cannot be reached.
    pub fn prepare(&mut self, test_file: &TestFile, state: CacheState) -> Result<()> {
        for _ in 0..NETWORK_FLUSHES {
            if test_file.prepare(state).is_ok() {
                return Ok(());
            }
            self.sender.request(&json!({ "command": "flush-network" }))?;
            self.receiver.request(&json!({ "command": "flush-network" }))?;
        }
        test_file.prepare(state)
    }

    /// Runs a transfer once, with counters if given. Repeats it a few times if the counters have
    /// not seen every byte.
    ///
    /// # Errors
    /// Those of the workers.
    pub fn run(
        &mut self,
        spec: &TransferSpec,
        test_file: &TestFile,
        counters: Option<&mut Counters>,
    ) -> Result<TransferOutcome> {
        let command = spec.command(test_file);
        let Some(counters) = counters else {
            self.connect(spec.receive_mode)?;
            let sent = self.sender.request(&command)?;
            return TransferOutcome::of(spec, &sent, &self.receiver.receive()?, None);
        };
        let mut tries = 1;
        loop {
            self.connect_counted(spec.receive_mode, test_file, counters)?;
            let sent = self.sender.request(&command)?;
            let received = self.receiver.receive()?;
            let counts = counters.take()?;
            let seen = counts.sent().payload();
            if seen == spec.bytes || tries == TRIES {
                return Ok(TransferOutcome {
                    tries,
                    ..TransferOutcome::of(spec, &sent, &received, Some(counts))?
                });
            }
            tries += 1;
        }
    }

    /// Runs a transfer once under ptrace and returns the outcome and the sender's system calls by
    /// name.
    ///
    /// # Errors
    /// If tracing is not permitted.
    pub fn trace(
        &mut self,
        spec: &TransferSpec,
        test_file: &TestFile,
    ) -> Result<(TransferOutcome, BTreeMap<String, u64>)> {
        self.connect(spec.receive_mode)?;
        let (command, pid) = (spec.command(test_file), self.sender.pid());
        let mut sent_command = Ok(());
        let traced = count_syscalls(pid, mark::begin_number(), mark::end_number(), || {
            sent_command = self.sender.send(&command);
        });
        let traced = traced.context("trace", "the sender")?;
        sent_command?;
        let sent = self.sender.receive()?;
        let outcome = TransferOutcome::of(spec, &sent, &self.receiver.receive()?, None)?;
        let by_name = traced.into_iter().map(|(number, count)| (call_name(number), count));
        Ok((outcome, by_name.collect()))
    }
}
