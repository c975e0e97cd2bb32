//! Rules of the claims: the verdict follows the evidence, and other evidence turns it.

use karez_lab::claims::{Claim, Evidence, Verdict};
use std::collections::BTreeSet;

/// 4 MiB in chunks of 64 KiB.
const BYTES: u64 = 4 << 20;
const CHUNKS: u64 = 64;

fn words(pairs: &[(&str, &str)]) -> Evidence {
    pairs.iter().fold(Evidence::default(), |evidence, &(what, word)| evidence.with(what, word))
}

fn counts(pairs: &[(&str, u64)]) -> Evidence {
    pairs.iter().fold(Evidence::default(), |evidence, &(what, count)| evidence.with(what, count))
}

fn slopes(select: [f64; 2], poll: [f64; 2], epoll: [f64; 2]) -> Evidence {
    let each = [("select", select), ("poll", poll), ("epoll", epoll)];
    each.into_iter().fold(Evidence::default(), |evidence, (of, [low, high])| {
        evidence.with(format!("{of}: at least"), low).with(format!("{of}: at most"), high)
    })
}

fn moved(calls: u64, copied: u64) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("chunks", CHUNKS),
        ("calls that move data", calls),
        ("bytes copied before the receiver", copied),
        ("disk bytes, cold", BYTES),
        ("disk bytes, warm", 0),
    ])
}

fn over_veths(sendfile: [u64; 2], splice: [u64; 2]) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("chunks", CHUNKS),
        ("sendfile: calls that move data", CHUNKS),
        ("sendfile: copied", sendfile[0]),
        ("sendfile: without SG", sendfile[1]),
        ("splice: copied", splice[0]),
        ("splice: without SG", splice[1]),
    ])
}

/// Ratios of CPU time: median and interval.
const LESS: [f64; 3] = [0.7, 0.65, 0.75];
const SAME: [f64; 3] = [1.0, 0.97, 1.03];
const MORE: [f64; 3] = [1.3, 1.2, 1.4];
const NOISE: [f64; 3] = [0.9, 0.6, 1.5];

fn ratio(evidence: Evidence, subject: &str, [median, low, high]: [f64; 3]) -> Evidence {
    let evidence = evidence.with(format!("{subject}: ratio of CPU time"), median);
    evidence.with(format!("{subject}: at least"), low).with(format!("{subject}: at most"), high)
}

fn starved(greedy: u64, fair: u64) -> Evidence {
    counts(&[
        ("level, one read for each event: messages before the quiet one", 1),
        ("edge, until EAGAIN: messages before the quiet one", greedy),
        ("edge, at most 16 reads and a list: messages before the quiet one", fair),
    ])
}

fn calls_by_load(edge: [f64; 4], level: [f64; 4]) -> Evidence {
    let loads = [
        "1 connection, 64 B",
        "64 connections, 64 B",
        "1 connection, 64 KiB",
        "64 connections, 64 KiB",
    ];
    let each = loads.into_iter().zip(edge.into_iter().zip(level));
    each.fold(Evidence::default(), |evidence, (load, (edge, level))| {
        evidence
            .with(format!("edge, {load}: calls per message"), edge)
            .with(format!("level, {load}: calls per message"), level)
    })
}

fn ratios(subjects: &[(&str, [f64; 3])]) -> Evidence {
    subjects.iter().fold(Evidence::default(), |evidence, &(of, range)| ratio(evidence, of, range))
}

fn ring_options(registered: [f64; 3], sqpoll: [f64; 3]) -> Evidence {
    ratios(&[("registered buffers/none, cached", registered), ("SQPOLL/none, cached", sqpoll)])
}

fn ring_reads(cached: [f64; 3], cold: [f64; 3]) -> Evidence {
    ratios(&[
        ("uring/pread, cached, 1 in flight", cached),
        ("uring/pread, cached, 32 in flight", cached),
        ("uring/pread, from the disk, 32 in flight", cold),
    ])
}

fn ring_sends(lo: [f64; 3], dummy: [f64; 3]) -> Evidence {
    ratios(&[
        ("SEND_ZC of registered memory/send over lo, 60 KiB", lo),
        ("SEND_ZC of registered memory/send over a dummy device, 60 KiB", dummy),
    ])
}

fn frames(small: [f64; 3], large: [f64; 3]) -> Evidence {
    ratios(&[
        ("sendfile/copy, frames of 16 KiB", small),
        ("sendfile/copy, frames of 64 KiB", large),
    ])
}

fn sealed(from_file: u64) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("bytes copied from the file", from_file),
        ("bytes copied into the socket", BYTES + 5632),
    ])
}

fn direct_cpu(cold: [f64; 3], cached: [f64; 3]) -> Evidence {
    ratios(&[("O_DIRECT/read, from the disk", cold), ("O_DIRECT/read, in the page cache", cached)])
}

fn read_ahead(by_default: u64, random: u64) -> Evidence {
    counts(&[
        ("pages cached after a read of 4 KiB", by_default),
        ("pages cached after a read of 4 KiB, POSIX_FADV_RANDOM", random),
    ])
}

fn mapping_faults(file: u64, private: u64) -> Evidence {
    counts(&[("pages", 1024), ("faults: cached file", file), ("faults: private memory", private)])
}

fn kernel_tls(written: u64) -> Evidence {
    counts(&[
        ("bytes", BYTES),
        ("sendfile: bytes copied from the file", 0),
        ("sendfile: bytes in pages of the kernel", written),
    ])
}

/// Where there is no veth.
const LO_SLEEPS: (&str, u64) = ("SO_BUSY_POLL over lo: sleeps", 100);

/// Sleeps of 100 round trips with busy polling.
fn sleeps(lo: u64, veth: u64) -> Evidence {
    let (over_lo, over_veth) = ("SO_BUSY_POLL over lo: sleeps", "SO_BUSY_POLL over veth: sleeps");
    counts(&[("round trips", 100), (over_lo, lo), (over_veth, veth)])
}

/// Ratios of latency with gaps that are shorter and longer than the time of polling.
fn busy_poll(napi_id: u64, short: [f64; 3], long: [f64; 3]) -> Evidence {
    let gaps = [("latency, gaps of 100 us", short), ("latency, gaps of 1,000 us", long)];
    let ids = counts(&[("NAPI id", napi_id)]);
    gaps.into_iter().fold(ids, |evidence, (of, [median, low, high])| {
        evidence
            .with(format!("{of}: ratio of latency"), median)
            .with(format!("{of}: at least"), low)
            .with(format!("{of}: at most"), high)
    })
}

/// Calls and own receives of io_uring and POSIX AIO beside epoll, and the bytes that io_uring copies.
fn patterns(calls: [f64; 2], receives: [f64; 2], copied: f64) -> Evidence {
    let models = ["epoll-edge", "uring", "posix-aio"];
    let calls = [2.0, calls[0], calls[1]].into_iter().zip([1.0, receives[0], receives[1]]);
    let all = models.into_iter().zip(calls).zip([8.0, copied, 8.0]);
    all.fold(Evidence::default(), |evidence, ((model, (calls, receives)), copied)| {
        evidence
            .with(format!("{model}: system calls per request"), calls)
            .with(format!("{model}: receive calls of the program per request"), receives)
            .with(format!("{model}: bytes copied to the program per request"), copied)
    })
}

/// Evidence from a live kernel with its verdict, and contradicting evidence with its verdict.
fn table() -> Vec<(u8, Evidence, &'static str, Evidence, &'static str)> {
    let (walk, flat, wide) = ([90.0, 110.0], [-0.5, 0.5], [-50.0, 50.0]);
    let asleep = |cpu| {
        counts(&[
            ("reported", 1),
            ("us until wake-up", 50_000),
            ("us of CPU", cpu),
            ("voluntary switches", u64::from(cpu < 1000)),
        ])
    };
    let clock = |calls| counts(&[("clock reads", 1000), ("system calls", calls)]);
    let received = |read, without| {
        counts(&[
            ("bytes sent", BYTES),
            ("copied by recv", read),
            ("copied by recv with MSG_TRUNC", without),
        ])
    };
    let answers = |one, two| {
        counts(&[("responses with one thread", one), ("responses with two threads", two)])
    };
    let lap = |reads| counts(&[("descriptors", 1000), ("reads per round", reads)]);
    let bits =
        |left| counts(&[("bits requested", 100), ("ready", 1), ("bits set afterwards", left)]);
    let high = |count| counts(&[("descriptor", 3000), ("reported", count)]);
    let crowd =
        |word| words(&[("poll of RLIMIT_NOFILE entries", "ok"), ("poll of one entry more", word)]);
    let kept = |count| {
        counts(&[
            ("registered", 3),
            ("entries in fdinfo", 3),
            ("ready", 3),
            ("reported in arrival order", count),
        ])
        .with("registered again", "EEXIST")
    };
    let batch = |count| slopes(walk, walk, flat).with("ready", 3_u64).with("reported", count);
    let opened = |count: u64, word| {
        counts(&[("RLIMIT_NOFILE", 256), ("opened", count)]).with("open beyond the limit", word)
    };
    let edges = |again| {
        counts(&[
            ("level, first", 1),
            ("level, again", 1),
            ("edge, first", 1),
            ("edge, again", again),
        ])
    };
    let rest = |later| counts(&[("written", 3), ("read at first", 1), ("read later", later)]);
    let signals = |sent| counts(&[("signals received", 8), ("signals sent by the process", sent)]);
    let aio = |word, read| words(&[("io_setup", word)]).with("bytes read by io_uring", read);
    let new = |bytes| counts(&[("new bytes in the second read", bytes)]);
    let direct = |requests| moved(2 * CHUNKS, BYTES).with("disk requests", requests);
    let small = |pages| counts(&[("pages by read", 2), ("pages by mmap", pages)]);
    let piped = |calls, word| moved(calls, 0).with("splice without a pipe", word);
    let edited = |changed| {
        counts(&[("pages edited", 32), ("faults", 32), ("pages of the file changed", changed)])
    };
    let zerocopy = |copied| counts(&[("sends over lo", 64), ("sends copied", copied)]);
    // Level-triggered epoll makes 2 calls per wake-up.
    let wake_ups = |calls: f64, range| {
        let evidence = Evidence::default().with("level: system calls per wake-up", 2.0);
        let evidence = evidence.with("edge: system calls per wake-up", calls);
        ratio(evidence, "epoll-edge/epoll-level", range)
    };
    let switches =
        |direct| counts(&[("copy: mode switches", 4000), ("direct: mode switches", direct)]);
    let zerocopy_by_size = |small, large| {
        let sizes = [("4 KiB", small), ("16 KiB", large), ("60 KiB", large)];
        sizes.into_iter().fold(zerocopy(64), |evidence, (size, range)| {
            ratio(evidence, &format!("MSG_ZEROCOPY/send, {size}"), range)
        })
    };
    let parts = |calls| {
        counts(&[
            ("MSG_MORE: segments", 1),
            ("MSG_MORE: system calls", 2),
            ("TCP_CORK: segments", 1),
            ("TCP_CORK: system calls", calls),
        ])
    };
    let mapped = |small, large| {
        let sizes = [("16 KiB", small), ("256 KiB", large), ("4 MiB", large)];
        sizes.into_iter().fold(Evidence::default(), |evidence, (size, range)| {
            ratio(evidence, &format!("mmap/copy, {size}"), range)
        })
    };
    let pipes = |calls, range| {
        let evidence = counts(&[
            ("calls of splice, pipe of 64 KiB", 128),
            ("calls of splice, pipe of 1 MiB", calls),
        ]);
        ratio(evidence, "pipe of 1 MiB/64 KiB", range)
    };
    let congestion = |range| ratio(Evidence::default(), "bbr/reno", range);
    let uring = |one, many| {
        let evidence = ratio(Evidence::default(), "uring/epoll-edge, 1 in flight", one);
        ratio(evidence, "uring/epoll-edge, 64 in flight", many)
    };
    let threads = |range| ratio(Evidence::default(), "blocking, 1,000/64 connections", range);
    let shared = |fewest, waiting| {
        counts(&[
            ("connections", 400),
            ("listeners", 4),
            ("fewest of a listener", fewest),
            ("waiting at the listener that does not accept", waiting),
        ])
    };
    let switch = |count, low, high| {
        let evidence = counts(&[("rounds", 2000), ("context switches", count)]);
        evidence.with("context switch: at least", low).with("context switch: at most", high)
    };
    let fault = |count, low, high| {
        let evidence = counts(&[("pages", 16_384), ("faults", count)]);
        evidence.with("page fault: at least", low).with("page fault: at most", high)
    };
    let footprint = |read, direct| {
        counts(&[
            ("pages", 1024),
            ("pages cached by read", read),
            ("pages cached by O_DIRECT", direct),
        ])
    };
    let ring_threads = |spliced| {
        counts(&[("iou-wrk threads after a read", 0), ("iou-wrk threads after a splice", spliced)])
    };
    let one = |what, word| words(&[(what, word)]);
    let after = "bytes received after the file was overwritten";
    let (yes, no, depends, unclear) = ("confirmed", "refuted", "depends on", "not measurable here");
    vec![
        (1, clock(0), depends, clock(1000), yes),
        (2, received(BYTES, 0), depends, received(BYTES, BYTES), yes),
        (2, received(BYTES, 0), depends, received(0, 0), no),
        (3, answers(0, 1), yes, answers(1, 1), no),
        (4, lap(1000), yes, lap(1), no),
        (5, bits(1), yes, bits(100), no),
        (6, slopes(walk, walk, flat), yes, slopes(flat, walk, flat), no),
        (6, slopes(walk, walk, flat), yes, slopes(walk, wide, flat), unclear),
        (7, high(1), depends, high(0), yes),
        (7, high(1), depends, counts(&[("descriptor", 0)]), unclear),
        (8, asleep(80), yes, asleep(49_000), no),
        (9, crowd("EINVAL"), no, crowd("ok"), yes),
        (10, slopes(walk, walk, flat), no, slopes(walk, flat, flat), yes),
        (11, one("mmap of an epoll", "ENODEV"), no, one("mmap of an epoll", "ok"), yes),
        (12, kept(3), depends, kept(1), no),
        (13, batch(3_u64), yes, batch(100_u64), no),
        (14, asleep(80), no, asleep(49_000), yes),
        (15, opened(250, "EMFILE"), no, opened(257, "ok"), yes),
        (16, slopes(walk, walk, flat), yes, slopes(walk, walk, walk), no),
        (16, slopes(walk, walk, flat), yes, slopes(walk, walk, wide), unclear),
        (17, edges(0), yes, edges(1), no),
        (
            18,
            one("EPOLLET on a blocking pipe", "ok"),
            no,
            one("EPOLLET on a blocking pipe", "EINVAL"),
            yes,
        ),
        (19, rest(2), no, rest(0), yes),
        (
            20,
            one("epoll on a regular file", "EPERM"),
            yes,
            one("epoll on a regular file", "ok"),
            no,
        ),
        (21, signals(0), no, signals(8), yes),
        (22, aio("ok", 4096_u64), no, aio("ENOSYS", 0_u64), yes),
        (23, new(4096), no, new(0), yes),
        (24, moved(2 * CHUNKS, 2 * BYTES), depends, moved(2 * CHUNKS, BYTES), no),
        (25, direct(64_u64), no, direct(0_u64), yes),
        (26, moved(CHUNKS, BYTES), depends, moved(CHUNKS, 2 * BYTES), no),
        (27, small(2), no, small(3), yes),
        (
            28,
            one("send of a truncated range", "EFAULT"),
            no,
            one("send of a truncated range", "ok"),
            yes,
        ),
        (
            29,
            counts(&[("bytes from file to file", 4096)]),
            no,
            counts(&[("bytes from file to file", 0)]),
            yes,
        ),
        (30, over_veths([0, BYTES], [0, 0]), depends, over_veths([BYTES; 2], [0, 0]), yes),
        (30, over_veths([0, BYTES], [0, 0]), depends, over_veths([0, 0], [0, 0]), no),
        (31, over_veths([0, BYTES], [0, BYTES]), no, over_veths([0, BYTES], [0, 0]), yes),
        (32, piped(2 * CHUNKS, "EINVAL"), no, piped(CHUNKS, "EINVAL"), yes),
        (33, one(after, "aliased"), no, one(after, "copied"), yes),
        (34, edited(0), yes, edited(32), no),
        (35, zerocopy(64), depends, zerocopy(0), yes),
        (36, wake_ups(2.0, SAME), no, wake_ups(2.0, LESS), yes),
        (36, wake_ups(2.0, NOISE), no, wake_ups(1.0, NOISE), depends),
        (37, switches(5000), no, switches(3000), yes),
        (38, uring(SAME, LESS), depends, uring(LESS, LESS), yes),
        (38, uring(MORE, SAME), no, uring(NOISE, LESS), depends),
        (39, zerocopy_by_size(MORE, LESS), depends, zerocopy_by_size(MORE, SAME), no),
        (39, zerocopy_by_size(MORE, LESS), depends, zerocopy_by_size(MORE, NOISE), depends),
        (
            39,
            zerocopy(64).with("dummy device", "ENODEV"),
            depends,
            zerocopy(0).with("dummy device", "ENODEV"),
            unclear,
        ),
        (40, mapped(MORE, LESS), depends, mapped(LESS, LESS), yes),
        (40, mapped(MORE, SAME), no, mapped(NOISE, LESS), depends),
        (41, pipes(8, SAME), no, pipes(8, LESS), yes),
        (41, pipes(8, NOISE), depends, pipes(128, LESS), unclear),
        (42, parts(4), no, parts(1), yes),
        (43, shared(85, 90), depends, shared(85, 0), yes),
        (43, shared(85, 90), depends, shared(10, 90), no),
        (44, threads(SAME), depends, threads(MORE), yes),
        (45, switch(3999, 1100.0, 1300.0), no, switch(3999, 2100.0, 2500.0), yes),
        (45, switch(3999, 1100.0, 2500.0), depends, switch(9, 1100.0, 1300.0), unclear),
        (46, fault(16_384, 400.0, 500.0), no, fault(16_384, 2100.0, 2500.0), yes),
        (46, fault(16_384, 400.0, 2500.0), depends, fault(32, 400.0, 500.0), unclear),
        (47, footprint(1024, 0), depends, footprint(1024, 1024), yes),
        (47, footprint(1024, 0), depends, footprint(0, 0), no),
        (48, congestion(MORE), no, congestion(SAME), yes),
        (48, congestion(MORE), no, congestion(NOISE), depends),
        (49, ring_threads(1), yes, ring_threads(0), no),
        (50, kernel_tls(BYTES + 1430), no, kernel_tls(1430), yes),
        (51, sleeps(100, 2), depends, sleeps(1, 2), yes),
        (51, sleeps(100, 2), depends, sleeps(100, 99), no),
        (51, sleeps(100, 2), depends, counts(&[("round trips", 100), LO_SLEEPS]), unclear),
        (52, busy_poll(261, LESS, SAME), depends, busy_poll(261, LESS, LESS), yes),
        (52, busy_poll(261, LESS, MORE), depends, busy_poll(261, SAME, SAME), no),
        (52, busy_poll(261, NOISE, SAME), depends, busy_poll(0, LESS, SAME), unclear),
        (
            53,
            patterns([0.05, 31.5], [0.0, 2.0], 8.0),
            depends,
            patterns([0.05, 0.1], [0.0; 2], 8.0),
            yes,
        ),
        (
            53,
            patterns([0.05, 31.5], [0.0, 2.0], 8.0),
            depends,
            patterns([2.5, 31.5], [1.0; 2], 8.0),
            no,
        ),
        (
            53,
            patterns([0.05, 31.5], [0.0, 2.0], 8.0),
            depends,
            patterns([0.05, 31.5], [0.0, 2.0], 16.0),
            no,
        ),
        (54, starved(1000, 16), depends, starved(1000, 1000), yes),
        (54, starved(1000, 16), depends, starved(1, 1), no),
        (
            55,
            calls_by_load([3.0, 2.0, 18.0, 17.0], [2.0, 1.0, 32.0, 16.0]),
            depends,
            calls_by_load([1.0; 4], [2.0; 4]),
            yes,
        ),
        (
            55,
            calls_by_load([3.0, 2.0, 18.0, 17.0], [2.0, 1.0, 32.0, 16.0]),
            depends,
            calls_by_load([2.0; 4], [1.0; 4]),
            no,
        ),
        (56, ring_options(SAME, LESS), depends, ring_options(LESS, LESS), yes),
        (56, ring_options(SAME, MORE), no, ring_options(NOISE, LESS), depends),
        (57, ring_reads(MORE, LESS), depends, ring_reads(LESS, LESS), yes),
        (57, ring_reads(MORE, LESS), depends, ring_reads(MORE, SAME), no),
        (58, ring_sends(MORE, LESS), depends, ring_sends(LESS, LESS), yes),
        (58, ring_sends(MORE, SAME), no, ring_sends(MORE, NOISE), depends),
        (59, frames(SAME, LESS), depends, frames(LESS, LESS), yes),
        (59, frames(MORE, SAME), no, frames(NOISE, LESS), depends),
        (60, sealed(BYTES), yes, sealed(0), no),
        (61, direct_cpu(LESS, MORE), depends, direct_cpu(LESS, LESS), yes),
        (61, direct_cpu(MORE, MORE), no, direct_cpu(NOISE, LESS), depends),
        (62, read_ahead(4, 1), depends, read_ahead(1, 1), yes),
        (62, read_ahead(4, 1), depends, read_ahead(4, 4), no),
        (63, mapping_faults(64, 1024), depends, mapping_faults(1024, 1024), yes),
        (63, mapping_faults(64, 1024), depends, mapping_faults(64, 64), no),
        (
            64,
            words(&[("content read from the pipe", "new")]),
            no,
            words(&[("content read from the pipe", "old")]),
            yes,
        ),
    ]
}

#[test]
fn verdict_follows_the_evidence() {
    let claims = Claim::all();
    let mut tried = BTreeSet::new();
    for (number, found, verdict, other, turned) in table() {
        let claim = claims.iter().find(|claim| claim.number == number).unwrap();
        let judged = claim.judge(&found);
        assert_eq!(judged.name(), verdict, "{number}. {}: {found}", claim.statement);
        assert_eq!(claim.judge(&other).name(), turned, "{number}. {}: {other}", claim.statement);
        tried.insert(number);
    }
    assert_eq!(
        tried,
        Claim::all().iter().map(|claim| claim.number).collect(),
        "each claim has evidence that turns it"
    );
}

#[test]
fn missing_evidence_gives_no_verdict() {
    for claim in Claim::all() {
        let judged = claim.judge(&Evidence::default());
        assert!(matches!(judged, Verdict::NotMeasurable(_)), "{}: {judged}", claim.number);
    }
}
