//! Exact calls and bytes of each via.

use karez_lab::probe::{Counters, Scope};
use karez_lab::{
    CacheState, Copies, TestBed, TestFile, TransferOutcome, TransferSpec, Transport, WorkerCommand,
    contradictions,
};
use karez_transfer::{Copied, Via};
use std::path::Path;

/// 64 MiB in chunks of 64 KiB.
const BYTES: u64 = 64 << 20;
const CHUNK: u32 = 64 << 10;
const CHUNKS: u64 = BYTES / CHUNK as u64;

fn workers() -> WorkerCommand {
    WorkerCommand::new(env!("CARGO_BIN_EXE_karez"), ["lab", "worker"])
}

/// Creates a file on a disk: the directory for temporary files may be in memory.
fn test_file() -> TestFile {
    let test_file = TestFile::new(Path::new(env!("CARGO_TARGET_TMPDIR")), BYTES).unwrap();
    test_file.prepare(CacheState::Warm).unwrap();
    test_file
}

fn counters() -> Option<Counters> {
    match Counters::attach(&Scope::default()) {
        Ok(counters) => Some(counters),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

fn calls(outcome: &TransferOutcome, name: &str) -> (u64, u64) {
    let own = outcome.calls.get(name).copied().unwrap_or(0);
    (own, outcome.sender_counts().unwrap().call(name).calls)
}

#[test]
fn vias_make_exactly_their_calls_and_copies() {
    let Some(mut counters) = counters() else { return };
    let test_file = test_file();
    for transport in [Transport::Unix, Transport::Loopback] {
        let mut bed = TestBed::set_up(&workers(), transport).unwrap();
        for (via, made, to_user, to_socket) in [
            (Via::Copy, &[("pread64", CHUNKS), ("sendto", CHUNKS)][..], BYTES, BYTES),
            (Via::Sendfile, &[("sendfile", CHUNKS)], 0, 0),
            (Via::Splice, &[("splice", 2 * CHUNKS)], 0, 0),
            (Via::Mmap, &[("sendto", CHUNKS), ("pread64", 0)], 0, BYTES),
            (Via::Cow, &[("sendto", CHUNKS), ("pread64", 0)], 0, BYTES),
            (Via::Direct, &[("pread64", CHUNKS), ("sendto", CHUNKS)], 0, BYTES),
        ] {
            let spec = TransferSpec::of(&test_file, via, Some(CHUNK));
            let outcome = bed.run(&spec, &test_file, Some(&mut counters)).unwrap();
            if outcome.effective != via {
                println!("skipped: {via} over {transport}: {:?}", outcome.fallbacks);
                continue;
            }
            for &(name, count) in made {
                assert_eq!(calls(&outcome, name), (count, count), "{via} over {transport}: {name}");
            }
            let copies = Copies::of(&outcome, transport);
            assert!(!copies.inferred);
            assert_eq!(copies.file_to_user, to_user, "{via} over {transport}");
            assert_eq!(copies.to_socket, to_socket, "{via} over {transport}");
            assert_eq!(copies.late, 0, "{via} over {transport}");
            assert_eq!(copies.received, BYTES, "{via} over {transport}");
            assert_eq!(contradictions(&outcome, transport), Vec::<String>::new());
        }
    }
}

#[test]
fn loopback_copies_zerocopy_data_late() {
    let Some(mut counters) = counters() else { return };
    let (test_file, transport) = (test_file(), Transport::Loopback);
    let mut bed = TestBed::set_up(&workers(), transport).unwrap();
    let spec = TransferSpec::of(&test_file, Via::Zerocopy, Some(CHUNK));
    let outcome = bed.run(&spec, &test_file, Some(&mut counters)).unwrap();
    if outcome.effective != Via::Zerocopy {
        println!("skipped: {:?}", outcome.fallbacks);
        return;
    }
    assert_eq!(outcome.zerocopy.copied(), Copied::Yes);
    let copies = Copies::of(&outcome, transport);
    assert_eq!((copies.file_to_user, copies.to_socket, copies.late), (0, 0, BYTES));
}

#[test]
fn disguised_via_is_detected() {
    let test_file = test_file();
    let mut counters = counters();
    for transport in [Transport::Unix, Transport::Loopback] {
        let mut bed = TestBed::set_up(&workers(), transport).unwrap();
        let honest = TransferSpec::of(&test_file, Via::Sendfile, Some(CHUNK));
        let impostor = TransferSpec { run_instead: Some(Via::Copy), ..honest };
        for (spec, is_caught) in [(honest, false), (impostor, true)] {
            let outcome = bed.run(&spec, &test_file, counters.as_mut()).unwrap();
            assert_eq!(outcome.effective, Via::Sendfile, "it says so");
            let found = contradictions(&outcome, transport);
            assert_eq!(!found.is_empty(), is_caught, "{found:?}");
            // The pages reveal the copy, whatever calls the transfer reports.
            let bytes = format!("0 of {BYTES} bytes are copied to the socket, but {BYTES}");
            let by_pages = found.iter().any(|what| what.contains(&bytes));
            assert_eq!(by_pages, is_caught && counters.is_some(), "{found:?}");
        }
    }
}

#[test]
fn sendfile_copies_without_scatter_gather() {
    let Some(mut counters) = counters() else { return };
    let test_file = test_file();
    for (transport, copied) in [(Transport::Veth, 0), (Transport::VethWithoutScatterGather, BYTES)]
    {
        let mut bed = match TestBed::set_up(&workers(), transport) {
            Ok(bed) => bed,
            Err(why) => return println!("skipped: {why}"),
        };
        let spec = TransferSpec::of(&test_file, Via::Sendfile, Some(CHUNK));
        let outcome = bed.run(&spec, &test_file, Some(&mut counters)).unwrap();
        assert_eq!(Copies::of(&outcome, transport).to_socket, copied, "{transport}");
        assert_eq!(contradictions(&outcome, transport), Vec::<String>::new());
    }
}
