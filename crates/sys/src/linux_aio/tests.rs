use super::*;
use rustix::fs::{Mode, OFlags};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

fn news(polls: &mut AioContext, timeout: Option<Duration>) -> Vec<(u64, PollFlags)> {
    let mut news = Vec::new();
    polls.wait(timeout, &mut news).unwrap();
    news
}

#[test]
fn a_poll_is_resubmitted_until_it_is_removed() {
    let mut polls = AioContext::new(8).unwrap();
    let (a, mut to_a) = UnixStream::pair().unwrap();
    let place = polls.add(a.as_fd(), 7, PollFlags::IN).unwrap();
    assert_eq!(news(&mut polls, Some(Duration::ZERO)), []);
    to_a.write_all(b"x").unwrap();
    for _ in 0..3 {
        assert_eq!(news(&mut polls, None), [(7, PollFlags::IN)]);
    }
    polls.change(place, 8, PollFlags::IN | PollFlags::OUT);
    assert_eq!(news(&mut polls, None), [(8, PollFlags::IN | PollFlags::OUT)]);
    polls.change(place, 8, PollFlags::empty());
    assert_eq!(news(&mut polls, Some(Duration::ZERO)), []);
    polls.remove(place);
    assert_eq!(news(&mut polls, Some(Duration::ZERO)), []);
}

#[test]
fn a_cancelled_poll_reports_nothing_and_releases_its_file() {
    let mut polls = AioContext::new(8).unwrap();
    let (a, to_a) = UnixStream::pair().unwrap();
    let place = polls.add(a.as_fd(), 7, PollFlags::IN).unwrap();
    polls.remove(place);
    drop(a);
    // The peer sees the end of the stream only when the file is closed.
    std::io::Read::read_to_end(&mut { &to_a }, &mut Vec::new()).unwrap();
    assert_eq!(news(&mut polls, Some(Duration::ZERO)), []);
}

#[test]
fn direct_reads_and_polls_run_together() {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.write_all(&[7; 8192]).unwrap();
    file.as_file().sync_all().unwrap();
    let direct = OFlags::RDONLY | OFlags::DIRECT;
    let Ok(direct) = rustix::fs::open(file.path(), direct, Mode::empty()) else {
        return println!("skipped: no O_DIRECT here");
    };
    let (mut polls, direct): (_, SharedFd) = (AioContext::new(8).unwrap(), Arc::new(direct));
    let (a, mut to_a) = UnixStream::pair().unwrap();
    polls.add(a.as_fd(), 7, PollFlags::IN).unwrap();
    let memory = vec![0; 3 * 4096];
    let start = memory.as_ptr().align_offset(4096);
    polls.read(9, Arc::clone(&direct), 4096, memory, start..start + 8192).unwrap();
    let over = loop {
        assert_eq!(news(&mut polls, Some(Duration::from_millis(10))), []);
        if let Some(over) = polls.next_completed_read() {
            break over;
        }
    };
    assert_eq!((over.tag, over.outcome), (9, Ok(4096)), "the rest is behind the end");
    assert!(over.memory[start..start + 4096].iter().all(|&byte| byte == 7));
    // An unaligned read fails, in the call or in its event.
    match polls.read(1, direct, 1, over.memory, start..start + 8192) {
        Err((Errno::INVAL, memory)) => assert_eq!(memory.len(), 3 * 4096),
        Err((errno, _)) => panic!("{errno}"),
        Ok(()) => {
            while polls.next_completed_read().is_none_or(|over| over.outcome != Err(Errno::INVAL)) {
                news(&mut polls, Some(Duration::from_millis(10)));
            }
        }
    }
    to_a.write_all(b"x").unwrap();
    assert_eq!(news(&mut polls, None), [(7, PollFlags::IN)]);
}

#[test]
fn the_capacity_limits_polls() {
    let mut polls = AioContext::new(2).unwrap();
    let (a, b) = UnixStream::pair().unwrap();
    polls.add(a.as_fd(), 1, PollFlags::IN).unwrap();
    polls.add(b.as_fd(), 2, PollFlags::IN).unwrap();
    assert_eq!(polls.add(b.as_fd(), 3, PollFlags::IN), Err(Errno::AGAIN));
}

#[test]
fn the_system_limit_is_an_error() {
    assert_eq!(AioContext::new(2_000_000).unwrap_err(), Errno::AGAIN);
}
