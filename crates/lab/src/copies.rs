//! Copies by the CPU during a transfer, derived from the counters, and their consistency with the
//! via.
//!
//! # Limitations
//! The counters do not see copies that a program makes in user space, or that a driver makes after
//! it took the packet. The latter are reported only by the error queue of `MSG_ZEROCOPY`, as a
//! share of the sends.

use karez_transfer::Via;

use crate::transfer_outcome::TransferOutcome;
use crate::transport::Transport;

/// Bytes copied by the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// From the page cache into memory of the sender.
    pub file_to_user: u64,
    /// Into kernel memory on the send path.
    pub to_socket: u64,
    /// After they had been sent by reference (`MSG_ZEROCOPY` on lo and veth).
    pub late: u64,
    /// Into memory of the receiver.
    pub received: u64,
    /// Whether they are inferred from the via instead of counted.
    pub inferred: bool,
}

impl Copies {
    /// Returns the copies of a transfer over `transport`, counted if possible, otherwise inferred.
    #[must_use]
    pub fn of(outcome: &TransferOutcome, transport: Transport) -> Self {
        let Some(counts) = &outcome.counts else {
            return Self::inferred(outcome, transport);
        };
        let through_cache = outcome.sender_counts().is_some_and(|own| match own.lookups {
            Some(lookups) => lookups > 0,
            None => outcome.effective != Via::Direct,
        });
        let read = outcome.sender_counts().map_or(0, |own| own.read());
        Self {
            file_to_user: if through_cache { read } else { 0 },
            to_socket: counts.sent().copied(),
            late: late(outcome, counts.sent().ours),
            received: outcome.receiver_counts().map_or(0, |own| own.received),
            inferred: false,
        }
    }

    fn inferred(outcome: &TransferOutcome, transport: Transport) -> Self {
        let bytes = outcome.bytes;
        let by_reference = matches!(outcome.effective, Via::Sendfile | Via::Splice | Via::Zerocopy);
        let plain_device = transport == Transport::VethWithoutScatterGather;
        Self {
            file_to_user: if outcome.effective == Via::Copy { bytes } else { 0 },
            to_socket: if by_reference && !plain_device { 0 } else { bytes },
            late: if plain_device { 0 } else { late(outcome, bytes) },
            received: bytes,
            inferred: true,
        }
    }

    /// Returns the bytes copied before the receiver.
    #[must_use]
    pub fn before_receiver(&self) -> u64 {
        self.file_to_user + self.to_socket + self.late
    }
}

fn late(outcome: &TransferOutcome, referred: u64) -> u64 {
    let reported = outcome.zerocopy;
    if reported.sends == 0 {
        0
    } else {
        referred * u64::from(reported.copied) / u64::from(reported.sends)
    }
}

/// Returns the contradictions between the counters and the via that the transfer reports.
#[must_use]
pub fn contradictions(outcome: &TransferOutcome, transport: Transport) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str, counted: u64| {
        if !holds {
            found.push(format!("{} over {transport}: {what}, but {counted}", outcome.effective));
        }
    };
    let made = |name: &str| outcome.calls.get(name).copied().unwrap_or(0);
    match outcome.effective {
        Via::Sendfile => must(made("sendfile") > 0, "it calls sendfile", made("sendfile")),
        Via::Splice => must(made("splice") > 0, "it calls splice", made("splice")),
        Via::Copy | Via::Direct => must(made("pread64") > 0, "it calls pread64", made("pread64")),
        _ => must(made("mmap") > 0, "it calls mmap", made("mmap")),
    }
    let Some(counts) = &outcome.counts else {
        return found;
    };
    let (counted, bytes) = (Copies::of(outcome, transport), outcome.bytes);
    let promised = Copies::inferred(outcome, transport);
    let wrong = |what: &str, of: u64| format!("{of} of {bytes} bytes are {what}");
    if let Some(reported) = outcome.sender_counts().and_then(|own| own.filemap_read) {
        must(
            reported == counted.file_to_user,
            "filemap_read copied as much as tracepoints report",
            reported,
        );
    }
    for (what, promised, counted) in [
        ("copied to the sender", promised.file_to_user, counted.file_to_user),
        ("copied to the socket", promised.to_socket, counted.to_socket),
        ("sent in all", bytes, counts.sent().payload()),
    ] {
        must(promised == counted, &wrong(what, promised), counted);
    }
    found
}
