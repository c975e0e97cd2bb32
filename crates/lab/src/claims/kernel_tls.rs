//! The claim about kernel TLS: how often the CPU moves each byte that `sendfile` sends through it.
//!
//! # Limitations
//! Over loopback no device encrypts, so the result is that of the cipher in software.

use karez_sys::enable_ktls;
use karez_transfer::Via;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use crate::copies::Copies;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::selftest::{Counter, ExperimentError};
use crate::test_file::CacheState;
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};

const BYTES: &str = msg!("bytes");
const FROM_FILE: &str = msg!("bytes copied from the file");
const IN_KERNEL: &str = msg!("bytes in pages of the kernel");

pub(super) const CLAIMS: &[Claim] = &[Claim {
    number: 50,
    name: "kernel-tls",
    statement: msg!("with kernel TLS, sendfile sends without a copy"),
    reason: msg!(
        "it saves the copy to user space, but the cipher writes each record to pages of the kernel, \
         which is a pass of the CPU over all bytes; only a card that encrypts saves it"
    ),
    needs: &[Counter::Kernel, Counter::PageCache],
    experiment: records,
    rule: |evidence| {
        let written = evidence.count(&format!("{}: {IN_KERNEL}", Via::Sendfile))?;
        let copied = evidence.count(&format!("{}: {FROM_FILE}", Via::Sendfile))?;
        Some(confirmed_if(written + copied < evidence.count(BYTES)?))
    },
}];

/// Sends the file through kernel TLS by sendfile and by copying.
fn records(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    probe()?;
    let mut evidence = Evidence::default().with(BYTES, bench.plan.bytes);
    for via in [Via::Sendfile, Via::Copy] {
        let spec = TransferSpec { receive_mode: ReceiveMode::Decrypt, ..bench.spec(via) };
        let (outcome, _) = bench.base.counted_from(CacheState::Warm, &spec, Transport::Loopback)?;
        if outcome.effective != via {
            let why = format!("{via} is unsupported with kernel TLS");
            return Err(ExperimentError::Skipped(why));
        }
        let copies = Copies::of(&outcome, Transport::Loopback);
        evidence = evidence
            .with(format!("{via}: {FROM_FILE}"), copies.file_to_user)
            .with(format!("{via}: {IN_KERNEL}"), copies.to_socket);
    }
    Ok(evidence)
}

/// Checks that the kernel has TLS, before a worker fails in the middle of a transfer.
fn probe() -> Result<(), ExperimentError> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen at", "loopback")?;
    let address = listener.local_addr().context("get the address of", "a socket")?;
    let socket = TcpStream::connect(address).context("connect to", address)?;
    let enabled = enable_ktls(socket.as_fd());
    enabled.map_err(|errno| ExperimentError::Skipped(format!("kernel TLS: {errno}")))
}
