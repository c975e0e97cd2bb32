//! The values of karez-transfer: settings, names, reports, errors.

use karez_transfer::{
    CachePolicy, Calls, Changed, Copied, Device, Direction, Edit, Errno, Fallback, FileToFile,
    FileToSocket, Notifications, Observer, OnMiss, Piped, Progress, Reason, Report, Residency,
    Settings, SharedFd, SharedFile, SocketToFile, SocketToSocket, Truncated, UnknownCachePolicy,
    UnknownVia, Version, Via, cached_bytes, is_remote, set_observer,
};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

#[test]
fn settings_have_a_method_for_each_field() {
    let device = Device { number: 7, remote: false };
    let settings = Settings::default()
        .via(Via::Splice)
        .chunk(4096)
        .max_per_step(1 << 16)
        .pipe_size(1 << 16)
        .cache(CachePolicy::Keep)
        .on_miss(OnMiss::Block)
        .device(device);
    let Settings { via, chunk, max_per_step, pipe_size, cache, on_miss, device, .. } = settings;
    assert_eq!((via, chunk, max_per_step, pipe_size), (Via::Splice, Some(4096), 1 << 16, 1 << 16));
    assert_eq!((cache, on_miss), (CachePolicy::Keep, OnMiss::Block));
    assert_eq!((device.number, device.remote), (7, false));
}

#[test]
fn names_are_parsed_and_displayed() -> Result<(), Box<dyn Error>> {
    for &via in Via::ALL {
        assert_eq!(via.name().parse::<Via>()?, via);
        assert!(!via.since().is_empty());
    }
    assert_eq!("none".parse::<Via>(), Err::<Via, UnknownVia>("x".parse::<Via>().unwrap_err()));
    let policies = [
        CachePolicy::Keep,
        CachePolicy::Sequential,
        CachePolicy::Drop,
        CachePolicy::Uncached,
        CachePolicy::Direct,
    ];
    assert_eq!(CachePolicy::ALL, policies);
    for policy in policies {
        assert_eq!(policy.name().parse::<CachePolicy>()?, policy);
    }
    let unknown: UnknownCachePolicy = "none".parse::<CachePolicy>().unwrap_err();
    assert!(unknown.to_string().contains("uncached"));
    let mut via = Via::Reflink;
    let mut chain = vec![via];
    while let Some(next) = via.fallback() {
        chain.push(next);
        via = next;
    }
    assert!(chain.contains(&Via::CopyRange) && chain.ends_with(&[Via::Copy]), "{chain:?}");
    assert_eq!(karez_transfer::via::Via::Zerocopy.to_string(), "zerocopy");
    for &direction in Direction::ALL {
        assert!(direction.vias().iter().all(|&via| direction.has(via)), "{}", direction.name());
    }
    let pipes = [Direction::FileToPipe, Direction::PipeToFile, Direction::PipeToPipe];
    assert!(pipes.iter().all(|pipe| pipe.has(Via::Splice) && !pipe.has(Via::Cow)));
    assert!(Direction::FileToFile.has(Via::Direct));
    Ok(())
}

#[test]
fn a_report_has_the_calls_and_the_fallbacks() -> io::Result<()> {
    let (socket, _peer) = UnixStream::pair()?;
    let mut transfer = FileToSocket::new(file()?, .., Via::Zerocopy); // UNIX sockets lack it
    let report = transfer.run_blocking(&socket)?.clone();
    assert_eq!((report.direction, report.requested), (Direction::FileToSocket, Via::Zerocopy));
    assert_eq!(report.bytes_by_method().collect::<Vec<_>>(), [(report.effective, 22)]);
    assert_eq!(report.copied(), report.copied_by(report.effective));
    assert_eq!((report.pages_copied, &report.previous[..]), (0, &[][..]));
    assert_eq!((report.cache, report.cache_refused), (CachePolicy::Keep, None));
    let fallback = &report.fallbacks[0];
    assert_eq!((fallback.from, fallback.after), (Via::Zerocopy, 0));
    assert_eq!(fallback.errno(), fallback.reason.errno());
    assert_eq!(report.calls.iter().map(|(_, count)| count).sum::<u64>(), report.calls.total());
    let mut sum = Calls::default();
    sum.add(&report.calls);
    assert_eq!(sum, report.calls);
    let Notifications { sends, released, copied } = report.zerocopy;
    assert_eq!((sends, released, copied), (0, 0, 0));
    assert_eq!(report.zerocopy.copied(), Copied::Unknown);

    let mut made = Report::new(Direction::FileToFile, Via::Sendfile);
    assert_eq!(made.copied(), Copied::Yes);
    made.effective = Via::Reflink;
    assert_eq!(made.copied(), Copied::No);
    let reasons = [
        Reason::Errno(Errno::NOSYS),
        Reason::Appending,
        Reason::Detached,
        Reason::EarlyEnd,
        Reason::Framed,
        Reason::NoDirectIo,
        Reason::NotOffered,
        Reason::NotReopenable,
        Reason::Sealed,
        Reason::Transformed,
        Reason::WrongProc,
    ];
    for reason in reasons {
        made.fallbacks.push(Fallback::new(Via::Reflink, reason, 0));
        assert!(made.to_string().ends_with(&reason.to_string()));
    }
    Ok(())
}

#[test]
fn each_call_has_a_counter() {
    #[rustfmt::skip]
    let Calls {
        cachestat, copy_file_range, fadvise64, fcntl, fstat, fstatfs, getdents64, ioctl, lseek, madvise, mincore, mmap,
        open, openat2, pipe2, ppoll, pread64, preadv2, pwrite64, pwritev2, read, recvfrom, recvmsg, sendfile, sendmsg, sendto,
        setsockopt, splice, statx, sync_file_range, write,
    } = Calls::default();
    #[rustfmt::skip]
    let counts = [
        cachestat, copy_file_range, fadvise64, fcntl, fstat, fstatfs, getdents64, ioctl, lseek, madvise, mincore, mmap,
        open, openat2, pipe2, ppoll, pread64, preadv2, pwrite64, pwritev2, read, recvfrom, recvmsg, sendfile, sendmsg, sendto,
        setsockopt, splice, statx, sync_file_range, write,
    ];
    assert_eq!(counts, [0; 31]);
}

#[test]
fn a_step_says_what_it_waits_for() -> io::Result<()> {
    let (socket, peer) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let long = tempfile::tempfile()?;
    long.set_len(64 << 20)?;
    let mut transfer = FileToSocket::new(long, .., Via::Copy);
    let full = loop {
        match transfer.step(socket.as_fd())? {
            Progress::Moved(_) => {}
            other => break other,
        }
    };
    assert_eq!(full, Progress::NeedsWritable);
    let mut store = SocketToFile::new(tempfile::tempfile()?, 0, None, Via::Copy);
    assert_eq!(store.step(socket.as_fd())?, Progress::NeedsReadable);
    assert_eq!((store.remaining(), store.in_flight(), store.report().bytes), (None, 0, 0));
    assert!(matches!(store.step_at_most(socket.as_fd(), 5)?, Progress::NeedsReadable));
    peer.shutdown(std::net::Shutdown::Write)?;
    assert_eq!(store.step(socket.as_fd())?, Progress::Done);
    for other in [Progress::NeedsWorker, Progress::NeedsZerocopyCompletion] {
        assert!(other.to_string().starts_with("blocked on"));
    }
    Ok(())
}

#[test]
fn a_short_file_is_truncated() -> io::Result<()> {
    let (socket, _peer) = UnixStream::pair()?;
    let mut transfer = FileToSocket::new(file()?, 6..30, Via::Sendfile);
    assert!(matches!(transfer.step(socket.as_fd())?, Progress::Moved(16)));
    assert_eq!(transfer.step(socket.as_fd())?, Progress::Truncated { missing: 8 });
    let error: io::Error = Truncated::new(8).into();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Truncated>());
    assert_eq!(inner.map(|inner| inner.missing), Some(8));
    Ok(())
}

#[test]
fn a_file_has_a_version_and_pages() -> io::Result<()> {
    let (socket, _peer) = UnixStream::pair()?;
    let mut source = file()?;
    assert!(!is_remote(&source)?);
    assert_eq!(cached_bytes(source.as_fd(), 0..22)?, 22);
    let version = Version::of(&source)?;
    let residency = Arc::new(Residency::new(22));
    assert_eq!(Residency::VALID, Duration::from_secs(1));
    let shared: SharedFile = source.try_clone()?.into();
    let mut sent = FileToSocket::new(shared, .., Via::Auto)
        .verified(version)
        .residency(residency)
        .with_content(TEXT.as_bytes().into(), 0);
    sent.report_misses();
    assert!(sent.is_plain() && sent.is_inlined() && !sent.is_remote());
    assert_eq!((sent.requested(), sent.intended(22)), (Via::Auto, Via::Copy));
    let page_in = sent.page_in();
    assert_eq!((page_in.range(), page_in.device().remote), (0..22, false));
    page_in.run()?;
    sent.block_on_misses();
    source.write_all(b"!")?;
    let error = sent.run_blocking(&socket).expect_err("it has changed");
    assert!(Changed::is(&error), "{error}");
    Ok(())
}

#[test]
fn edits_replace_bytes_on_their_way() -> io::Result<()> {
    let edits: Arc<[Edit]> = Arc::new([Edit { offset: 0, bytes: b"WATER".as_slice().into() }]);
    let (socket, mut peer) = UnixStream::pair()?;
    let source: SharedFd = Arc::new(file()?);
    let mut sent = FileToSocket::edited(source.clone(), ..11, Arc::clone(&edits), Via::Cow);
    sent.run_blocking(&socket)?;
    let mut received = [0; 11];
    peer.read_exact(&mut received)?;
    assert_eq!(&received, b"WATER under");
    let sink = Arc::new(tempfile::tempfile()?);
    let mut copied = FileToFile::new(source, .., Arc::clone(&sink), 0, Via::Copy).edited(edits);
    copied.page_in().run()?;
    copied.block_on_misses();
    assert!(matches!(copied.step_at_most(5)?, Progress::Moved(5)));
    assert_eq!(copied.remaining(), 17);
    while copied.step()? != Progress::Done {}
    assert_eq!((copied.report().bytes, sink.metadata()?.len()), (22, 22));
    Ok(())
}

#[test]
fn bytes_go_through_pipes() -> io::Result<()> {
    let (source, sink) = (file()?, tempfile::tempfile()?);
    let ((first_reader, first), (second_reader, second)) = (io::pipe()?, io::pipe()?);
    Piped::from_file(6..22, Via::Splice).run_blocking(&source, &first)?;
    drop(first);
    let mut between = Piped::between(None, Via::Splice);
    assert!(matches!(
        between.step_at_most(first_reader.as_fd(), second.as_fd(), 5)?,
        Progress::Moved(5)
    ));
    while between.step(first_reader.as_fd(), second.as_fd())? != Progress::Done {}
    drop(second);
    let mut stored = Piped::to_file(0, Some(16), Via::Copy);
    stored.run_blocking(&second_reader, &sink)?;
    assert_eq!((stored.report().bytes, stored.in_flight(), between.in_flight()), (16, 0, 0));
    assert_eq!(sink.metadata()?.len(), 16);
    Ok(())
}

#[test]
fn a_relay_steps_between_sockets() -> io::Result<()> {
    let ((mut client, from), (to, mut peer)) = (UnixStream::pair()?, UnixStream::pair()?);
    client.write_all(b"under")?;
    let mut relay = SocketToSocket::new(Some(5), Via::Splice);
    assert!(matches!(relay.step_at_most(from.as_fd(), to.as_fd(), 2)?, Progress::Moved(2)));
    while relay.step(from.as_fd(), to.as_fd())? != Progress::Done {}
    assert_eq!((relay.remaining(), relay.in_flight(), relay.report().bytes), (Some(0), 0, 5));
    let mut received = [0; 5];
    peer.read_exact(&mut received)?;
    assert_eq!(&received, b"under");
    Ok(())
}

/// Bytes that page-ins have read.
static READ: AtomicU64 = AtomicU64::new(0);

struct Counting;

impl Observer for Counting {
    fn fell_back(&self, from: Via, to: Via) {
        assert_ne!(from, to);
    }

    fn paged_in(&self, bytes: u64, _took: Duration) {
        READ.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[test]
fn a_process_has_one_observer() -> io::Result<()> {
    assert!(set_observer(Box::new(Counting)));
    assert!(!set_observer(Box::new(Counting)));
    FileToSocket::new(file()?, .., Settings::from(Via::Auto).on_miss(OnMiss::Report))
        .page_in()
        .run()?;
    assert!(READ.load(Ordering::Relaxed) >= 22);
    Ok(())
}
