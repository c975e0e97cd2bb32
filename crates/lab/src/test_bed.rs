//! A sender and a receiver with a transport between them, and one movement of bytes after another.

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

/// The addresses of the two ends of a cable (RFC 5737: of no real network).
const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";

/// How often the network is stirred before a file that will not leave memory is given up.
const NETWORK_FLUSHES: usize = 20;

/// How often a spec is made of which the counters do not see every byte.
const TRIES: u32 = 4;

/// A sender, a receiver, a transport.
#[derive(Debug)]
pub struct TestBed {
    pub(crate) sender: Worker,
    pub(crate) receiver: Worker,
    transport: Transport,
    place: TempDir,
    sockets: u32,
}

impl TestBed {
    /// Starts both, each on a core of its own, and lays what lies between them.
    ///
    /// # Errors
    /// For a cable, where neither a privileged user nor user namespaces are at hand.
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
            self.sender
                .request(&json!({ "command": "set-scatter-gather", "name": near, "on": false }))?;
        }
        self.sender.request(&json!({ "command": "add-address", "name": near, "address": NEAR }))?;
        self.receiver.request(&json!({ "command": "add-address", "name": far, "address": FAR }))?;
        Ok(())
    }

    /// Connects the two; the cookie of the sending socket. The receiver takes what comes.
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
        cookie.as_u64().ok_or_else(|| Error::new("connect to", to, "no cookie came back"))
    }

    /// The same with `counters` on the two, on the socket and on the file. The receiver may have
    /// begun before the socket is known, so it is watched first.
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

    /// Brings the file into this state, also where packets of the last spec still keep pages of
    /// it and wait to be freed.
    ///
    /// # Errors
    /// Where the state cannot be made.
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

    /// Moves bytes once, and counts if there are counters. A movement of which not every byte was
    /// seen to leave is made again, a few times.
    ///
    /// # Errors
    /// What a worker or the kernel could not do.
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

    /// Moves bytes once under ptrace: what the transfer says of its system calls, and what the
    /// sender entered by name.
    ///
    /// # Errors
    /// Where tracing is not permitted.
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
