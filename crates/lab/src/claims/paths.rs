//! Claims about the ways from a file to a socket: switches, copies, DMA, and whose bytes they are.

use karez_sys::{Mapping, PrivateMapping, page_size, thread_usage};
use karez_transfer::{FileToFile, Progress, Via};
use rustix::net::SendFlags;
use rustix::pipe::SpliceFlags;
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::bench::{Bench, Counted, confirmed_if, refuted_if};
use super::{Claim, Evidence, Verdict};
use crate::error::{Doing as _, Error};
use crate::ground::{Cache, Ground};
use crate::mutation::{Fate, fate};
use crate::selftest::{Counter, Stop};
use crate::transport::Transport;

type Outcome = Result<Evidence, Stop>;

/// What every claim about copies rests on.
const COPIES: &[Counter] = &[Counter::Calls, Counter::Kernel, Counter::PageCache];
const AND_DISK: &[Counter] = &[Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Disk];
const AND_LINEAR: &[Counter] =
    &[Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Linear];

/// Names of figures that several have.
const BYTES: &str = "bytes";
const CHUNKS: &str = "chunks";
const CALLS: &str = "calls that move data";
const COPIED: &str = "bytes copied before the receiver";
const COLD: &str = "bytes of the disk, cold";
const WARM: &str = "bytes of the disk, warm";

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 23,
        says: "read takes data that is in the process' memory already from there",
        reason: "read(2) always copies from the page cache; keeping bytes is what stdio does",
        needs: &[],
        experiment: read_again,
        rule: |told| Some(refuted_if(told.count("new bytes in the second read")? > 0)),
    },
    Claim {
        number: 24,
        says: "read and write cost 4 switches, 2 copies by the CPU and 2 by DMA",
        reason: "two calls a chunk; into the buffer and out of it; the disk is asked when cold",
        needs: AND_DISK,
        experiment: |bench| moved(bench, Via::Copy),
        rule: |told| {
            let bytes = told.count(BYTES)?;
            let (calls, copied) = (calls_a_chunk(told, 2)?, told.count(COPIED)? == 2 * bytes);
            let disk = told.count(COLD)? >= bytes && told.count(WARM)? == 0;
            let what = "the cache and the device for DMA: the disk's cold only, none on lo";
            Some(match (calls && copied, disk) {
                (true, true) => Verdict::DependsOn(what.to_owned()),
                (so, _) => confirmed_if(so),
            })
        },
    },
    Claim {
        number: 25,
        says: "direct I/O crosses the kernel, which only sets up memory",
        reason: "O_DIRECT passes by the page cache only: file system and block layer do the work",
        needs: AND_DISK,
        experiment: direct,
        rule: |told| {
            let works = told.count(CALLS)? > 0 && told.count("requests to the disk")? > 0;
            Some(refuted_if(works && told.count(COLD)? >= told.count(BYTES)?))
        },
    },
    Claim {
        number: 26,
        says: "mmap and write cost 4 switches, 1 copy by the CPU and 2 by DMA",
        reason: "one call a chunk, beside mmap once; the price is faults, most inside the call",
        needs: AND_DISK,
        experiment: |bench| moved(bench, Via::Mmap),
        rule: |told| {
            if told.count(COPIED)? != told.count(BYTES)? {
                return Some(Verdict::Refuted);
            }
            let what = "the chunks: 2 switches for each and 2 for mmap; the one copy holds";
            let one = calls_a_chunk(told, 1)? && told.count(CHUNKS)? > 1;
            Some(if one { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 27,
        says: "mmap wastes memory: 8 KiB for a file of 5 KiB",
        reason: "the page cache has whole pages, whoever asks for them",
        needs: &[],
        experiment: small_file,
        rule: |told| {
            let (read, mapped) = (told.count("pages by read")?, told.count("pages by mmap")?);
            Some(refuted_if(read == mapped))
        },
    },
    Claim {
        number: 28,
        says: "write from the mapping of a file that was cut off is killed by SIGBUS",
        reason: "a fault in kernel mode is fixed up as EFAULT; only user code gets the signal",
        needs: &[],
        experiment: cut_off,
        rule: |told| Some(refuted_if(told.word("send of what was cut off")? == "EFAULT")),
    },
    Claim {
        number: 29,
        says: "sendfile moves from a file to a socket only",
        reason: "since 2.6.33 it writes to anything; what it reads from has to be like a file",
        needs: &[],
        experiment: sendfile_to_file,
        rule: |told| Some(refuted_if(told.count("bytes from file to file")? > 0)),
    },
    Claim {
        number: 30,
        says: "sendfile costs 2 switches, 1 copy by the CPU and 2 by DMA",
        reason: "pages go to the socket by reference; without scatter-gather GSO copies them",
        needs: AND_LINEAR,
        experiment: |bench| over_cables(bench, &[Via::Sendfile]),
        rule: |told| {
            let bytes = told.count(BYTES)?;
            let (with, without) = copies_of(told, Via::Sendfile)?;
            if told.count("sendfile: calls that move data")? != told.count(CHUNKS)? {
                return Some(Verdict::Refuted);
            }
            let what = "scatter-gather: no copy with it, one without; 2 switches a chunk";
            Some(match (with, without) {
                (0, without) if without == bytes => Verdict::DependsOn(what.to_owned()),
                (with, _) => confirmed_if(with == bytes),
            })
        },
    },
    Claim {
        number: 31,
        says: "sendfile needs support by hardware, splice does not",
        reason: "both end in splice_to_socket: with scatter-gather neither copies, without both do",
        needs: AND_LINEAR,
        experiment: |bench| over_cables(bench, &[Via::Sendfile, Via::Splice]),
        rule: |told| {
            let (sendfile, splice) =
                (copies_of(told, Via::Sendfile)?, copies_of(told, Via::Splice)?);
            Some(refuted_if(sendfile == splice))
        },
    },
    Claim {
        number: 32,
        says: "splice costs 2 switches and no copy, and one end has to be a pipe",
        reason: "from file to socket it is two calls, into a pipe and out of it: 4 switches",
        needs: COPIES,
        experiment: splice,
        rule: |told| {
            let pipe = told.word("splice without a pipe")? == "EINVAL";
            let right = pipe && told.count(COPIED)? == 0;
            Some(confirmed_if(right && calls_a_chunk(told, 1)?))
        },
    },
    Claim {
        number: 33,
        says: "the user cannot change data on its way by sendfile",
        reason: "the socket refers to the page cache: what the file becomes is what is sent",
        needs: &[Counter::Mutation],
        experiment: mutated,
        rule: |told| {
            Some(match told.word("what was sent, after the file was overwritten")? {
                "aliased" => Verdict::Refuted,
                "copied" => Verdict::Confirmed,
                other => Verdict::NotMeasurable(other.to_owned()),
            })
        },
    },
    Claim {
        number: 34,
        says: "copy-on-write copies a page when it is written to, and shares the others",
        reason: "the first write to a page of a private mapping faults, and do_cow_fault copies",
        needs: &[],
        experiment: on_write,
        rule: |told| {
            let each = told.count("faults")? >= told.count("pages edited")?;
            Some(confirmed_if(each && told.count("pages of the file changed")? == 0))
        },
    },
    Claim {
        number: 35,
        says: "MSG_ZEROCOPY sends without a copy",
        reason: "lo and veth copy late (skb_orphan_frags_rx) and say so: SO_EE_CODE_ZEROCOPY_COPIED",
        needs: &[Counter::Notifications],
        experiment: zerocopy,
        rule: |told| {
            let (sends, copied) = (told.count("sends over lo")?, told.count("of them copied")?);
            let to_dummy = told.count("datagrams to a dummy device copied");
            let what = match to_dummy {
                Some(0) => "the device: lo copied every send, a dummy none",
                None => "the device: lo copied every send, and no other could be tried",
                Some(_) => return Some(Verdict::Refuted),
            };
            Some(match copied {
                0 => Verdict::Confirmed,
                _ if copied == sends => Verdict::DependsOn(what.to_owned()),
                _ => Verdict::DependsOn("the send: some were copied and some not".to_owned()),
            })
        },
    },
];

/// Whether so many calls were made for each chunk.
fn calls_a_chunk(told: &Evidence, calls: u64) -> Option<bool> {
    Some(told.count(CALLS)? == calls * told.count(CHUNKS)?)
}

/// Bytes copied with scatter-gather and without.
fn copies_of(told: &Evidence, via: Via) -> Option<(u64, u64)> {
    Some((told.count(&format!("{via}: copied"))?, told.count(&format!("{via}: without SG"))?))
}

/// The calls by which any via moves data.
fn data_calls(counted: &Counted) -> u64 {
    let names = ["read", "pread64", "write", "sendto", "sendmsg", "sendfile", "splice"];
    names.iter().map(|name| counted.calls(name)).sum()
}

fn moved(bench: &mut Bench<'_>, via: Via) -> Outcome {
    let cold = bench.counted(via, Transport::Loopback, Cache::Cold)?;
    let warm = bench.counted(via, Transport::Loopback, Cache::Warm)?;
    let own = warm.outcome.sent_by();
    let faults = own.and_then(|own| own.faults_user.zip(own.faults_kernel));
    let evidence = Evidence::default()
        .with(BYTES, warm.outcome.bytes)
        .with(CHUNKS, bench.chunks())
        .with(CALLS, data_calls(&warm))
        .with(COPIED, warm.copies.before_receiver())
        .with(COLD, cold.counts.disk.read_bytes)
        .with(WARM, warm.counts.disk.read_bytes);
    Ok(match faults {
        Some((user, kernel)) => {
            evidence.with("faults in user mode", user).with("in kernel mode", kernel)
        }
        None => evidence,
    })
}

fn direct(bench: &mut Bench<'_>) -> Outcome {
    let counted = bench.counted(Via::Direct, Transport::Loopback, Cache::Cold)?;
    Ok(Evidence::default()
        .with(BYTES, counted.outcome.bytes)
        .with(CALLS, data_calls(&counted))
        .with("copied from the file by the CPU", counted.copies.file_to_user)
        .with("copied to the socket", counted.copies.to_socket)
        .with(COLD, counted.counts.disk.read_bytes)
        .with("requests to the disk", counted.counts.disk.reads)
        .with("pages in the cache afterwards", bench.ground.ground.cached()?))
}

fn over_cables(bench: &mut Bench<'_>, vias: &[Via]) -> Outcome {
    let mut evidence = Evidence::default().with(BYTES, bench.plan.bytes);
    evidence = evidence.with(CHUNKS, bench.chunks());
    for &via in vias {
        let with = bench.counted(via, Transport::Veth, Cache::Warm)?;
        let without = bench.counted(via, Transport::VethWithoutScatterGather, Cache::Warm)?;
        evidence = evidence
            .with(format!("{via}: {CALLS}"), data_calls(&with))
            .with(format!("{via}: copied"), with.copies.before_receiver())
            .with(format!("{via}: without SG"), without.copies.before_receiver());
    }
    Ok(evidence)
}

fn splice(bench: &mut Bench<'_>) -> Outcome {
    let file = open(&bench.ground.ground)?;
    let (out, _peer) = UnixStream::pair().doing("open", "a socket pair")?;
    let mut offset = 0;
    let flags = SpliceFlags::empty();
    let bare = rustix::pipe::splice(&file, Some(&mut offset), &out, None, 4096, flags);
    let counted = bench.counted(Via::Splice, Transport::Loopback, Cache::Warm)?;
    Ok(Evidence::default()
        .with(BYTES, counted.outcome.bytes)
        .with(CHUNKS, bench.chunks())
        .with(CALLS, data_calls(&counted))
        .with(COPIED, counted.copies.before_receiver())
        .with("splice without a pipe", bare))
}

fn read_again(bench: &mut Bench<'_>) -> Outcome {
    let file = made(bench, &[1; 4096])?;
    let mut bytes = [0; 4096];
    file.read_exact_at(&mut bytes, 0).doing("read", "a file")?;
    file.write_all_at(&[2; 4096], 0).doing("write", "a file")?;
    file.read_exact_at(&mut bytes, 0).doing("read", "a file")?;
    let new = bytes.iter().filter(|&&byte| byte == 2).count();
    Ok(Evidence::default().with(BYTES, bytes.len()).with("new bytes in the second read", new))
}

fn small_file(bench: &mut Bench<'_>) -> Outcome {
    let cold = || {
        let ground = Ground::new(&bench.plan.directory, 5 << 10)?;
        let state = ground.prepare(Cache::Cold);
        state.map(|()| ground).map_err(|error| Stop::Skipped(error.to_string()))
    };
    let by_read = cold()?;
    open(&by_read)?.read_to_end(&mut Vec::new()).doing("read", "a file")?;
    let by_mmap = cold()?;
    let mapping = Mapping::of(open(&by_mmap)?.as_fd(), 0, 5 << 10).doing("map", "a file")?;
    let (out, _peer) = UnixStream::pair().doing("open", "a socket pair")?;
    mapping.send(out.as_fd(), 0..5 << 10, SendFlags::empty()).doing("send", "a mapping")?;
    Ok(Evidence::default()
        .with(BYTES, 5_u64 << 10)
        .with("page size", page_size())
        .with("pages by read", by_read.cached()?)
        .with("pages by mmap", by_mmap.cached()?))
}

fn cut_off(bench: &mut Bench<'_>) -> Outcome {
    let page = page_size();
    let file = made(bench, &vec![1; 4 * page])?;
    let mapping = Mapping::of(file.as_fd(), 0, 4 * page).doing("map", "a file")?;
    file.set_len(page as u64).doing("cut off", "a file")?;
    let (out, _peer) = UnixStream::pair().doing("open", "a socket pair")?;
    let sent = mapping.send(out.as_fd(), 2 * page..3 * page, SendFlags::empty());
    let written = mapping.write_at(made(bench, &[])?.as_fd(), 0, 0..4 * page);
    Ok(Evidence::default()
        .with("send of what was cut off", sent)
        .with("bytes written to a file across the cut", written.unwrap_or(0)))
}

fn sendfile_to_file(bench: &mut Bench<'_>) -> Outcome {
    let (from, to) = (made(bench, &[1; 4096])?, made(bench, &[])?);
    let (near, mut far) = UnixStream::pair().doing("open", "a socket pair")?;
    far.write_all(b"water").doing("write to", "a socket")?;
    let from_socket = rustix::fs::sendfile(&to, &near, None, 5);
    let mut transfer = FileToFile::new(Arc::new(from), 0..4096, Arc::new(to), 0, Via::Sendfile);
    while matches!(transfer.step().doing("copy by", "sendfile")?, Progress::Moved(_)) {}
    let report = transfer.report();
    let bytes = if report.ran == Via::Sendfile { report.bytes } else { 0 };
    Ok(Evidence::default()
        .with("bytes from file to file", bytes)
        .with("from a socket", from_socket))
}

fn mutated(bench: &mut Bench<'_>) -> Outcome {
    let became = match fate(Via::Sendfile, Transport::Loopback, &bench.plan.directory)? {
        Fate::Refused(why) => return Err(Stop::Skipped(why)),
        became => became.to_string(),
    };
    Ok(Evidence::default().with("what was sent, after the file was overwritten", became.as_str()))
}

fn on_write(bench: &mut Bench<'_>) -> Outcome {
    let (page, pages, edited) = (page_size(), 64, 32);
    let file = made(bench, &vec![1; pages * page])?;
    let mapping = PrivateMapping::of(file.as_fd(), 0, pages * page);
    let mut mapping = mapping.doing("map", "a file")?;
    let before = thread_usage();
    for place in 0..edited {
        mapping.edit(place * page, &[2]).doing("edit", "a mapping")?;
    }
    let faults = thread_usage().since(&before).minor_faults;
    let mut bytes = vec![0; pages * page];
    file.read_exact_at(&mut bytes, 0).doing("read", "a file")?;
    let changed = bytes.chunks(page).filter(|page| page.contains(&2)).count();
    Ok(Evidence::default()
        .with("pages", pages)
        .with("pages edited", edited)
        .with("faults", faults)
        .with("pages of the file changed", changed))
}

fn zerocopy(bench: &mut Bench<'_>) -> Outcome {
    let movement = bench.movement(Via::Zerocopy);
    let told = bench.ground.moved(&movement, Transport::Loopback)?.zerocopy;
    if told.sends == 0 {
        return Err(Stop::Skipped("MSG_ZEROCOPY was refused".to_owned()));
    }
    let evidence = Evidence::default()
        .with("sends over lo", u64::from(told.sends))
        .with("of them copied", u64::from(told.copied));
    Ok(match to_dummy(bench) {
        Ok(copied) => evidence.with("datagrams to a dummy device copied", copied),
        Err(error) => evidence.with("dummy device", error.to_string().as_str()),
    })
}

/// How many datagrams the kernel copied that went to a device which swallows them.
fn to_dummy(bench: &Bench<'_>) -> Result<u64, Error> {
    let mut worker = bench.ground.worker()?;
    worker.ask(&json!({ "do": "network" }))?;
    worker.ask(&json!({ "do": "dummy", "name": "karez2" }))?;
    worker.ask(&json!({ "do": "up", "name": "karez2", "address": "192.0.2.5" }))?;
    let order = json!({ "do": "datagrams", "to": "192.0.2.6:9", "bytes": 1400, "count": 1024 });
    let told = worker.ask(&order)?;
    told["copied"].as_u64().ok_or_else(|| Error::new("send to", "a dummy", "no answer"))
}

fn open(ground: &Ground) -> Result<File, Stop> {
    Ok(File::open(ground.path()).doing("open", ground.path().display())?)
}

/// A file without a name with these bytes.
fn made(bench: &Bench<'_>, bytes: &[u8]) -> Result<File, Stop> {
    let directory = &bench.plan.directory;
    let file = tempfile::tempfile_in(directory).doing("make a file in", directory.display())?;
    file.write_all_at(bytes, 0).doing("write", "a file")?;
    Ok(file)
}
