use super::*;
use crate::open_request::{OpenRequest, OpenedFile};
use crate::shared_fd::SharedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

fn ring(options: RingOptions) -> Option<Ring> {
    match Ring::new(options) {
        Ok(ring) => Some(ring),
        Err(errno) => {
            println!("skipped: io_uring is refused: {errno}");
            None
        }
    }
}

/// Options with the features of older kernels.
fn all() -> [RingOptions; 3] {
    let best = RingOptions::default();
    [
        best,
        RingOptions { multishot: false, ..best },
        RingOptions { multishot: false, buffers: 0, ..best },
    ]
}

fn wait_for(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut done = Vec::new();
    while done.len() < count {
        ring.wait(None, &mut done).unwrap();
    }
    done
}

fn pair() -> (Arc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Arc::new(listener.accept().unwrap().0), far)
}

/// Receives until the end of the stream, and restarts the receive when it ends early.
fn receive_all(ring: &mut Ring, socket: &SharedFd) -> (Vec<u8>, usize) {
    let (mut got, mut begun) = (Vec::new(), 1);
    ring.start(7, Operation::Receive(Arc::clone(socket)));
    loop {
        for Completion { tag, last, outcome, .. } in wait_for(ring, 1) {
            assert_eq!(tag, 7);
            let Outcome::Received(received) = outcome else { panic!() };
            match received {
                Ok(bytes) if bytes.is_empty() => return (got, begun),
                Ok(bytes) => got.extend_from_slice(&bytes),
                Err(errno) => assert_eq!(errno, Errno::NOBUFS),
            }
            if last {
                begun += 1;
                ring.start(7, Operation::Receive(Arc::clone(socket)));
            }
        }
    }
}

#[test]
fn bytes_are_received_with_the_features_of_every_kernel() {
    for options in all() {
        let Some(mut ring) = ring(options) else { return };
        let (near, mut far) = pair();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        std::thread::scope(|scope| {
            let sent = &sent;
            scope.spawn(move || {
                far.write_all(sent).unwrap();
                far.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let near: SharedFd = near;
            assert!(receive_all(&mut ring, &near).0 == *sent, "{options:?}");
        });
    }
}

#[test]
fn a_receive_without_a_free_buffer_ends_and_is_restarted() {
    let options = RingOptions { buffers: 4, buffer_size: 64, ..RingOptions::default() };
    let Some(mut ring) = ring(options) else { return };
    let (near, mut far) = pair();
    far.write_all(&[7; 10_000]).unwrap();
    drop(far);
    let near: SharedFd = near;
    let (got, begun) = receive_all(&mut ring, &near);
    assert!(got.len() == 10_000 && got.iter().all(|&byte| byte == 7));
    assert!(begun > 1, "four buffers of 64 bytes were enough");
}

#[test]
fn overflowing_completions_are_delivered_later() {
    let options = RingOptions { submissions: 8, completions: 16, ..RingOptions::default() };
    let Some(mut ring) = ring(options) else { return };
    let file: SharedFd = Arc::new(tempfile::tempfile().unwrap());
    for tag in 0..1000 {
        let (file, bytes) = (Arc::clone(&file), vec![0; 10]);
        ring.start(tag, Operation::Read { file, offset: 0, bytes, from: 0, remote: false });
    }
    let mut seen = HashMap::new();
    for completion in wait_for(&mut ring, 1000) {
        assert!(completion.last);
        assert!(matches!(completion.outcome, Outcome::Read { read: Ok(0), .. }));
        *seen.entry(completion.tag).or_insert(0) += 1;
    }
    assert!((0..1000).all(|tag| seen[&tag] == 1));
    assert_eq!(ring.in_flight(), 0);

    // Many at once, more than the completion queue has room for.
    let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
    for (tag, (near, _)) in (0..).zip(&pairs) {
        ring.start(tag, Operation::Readable(Arc::clone(near) as SharedFd));
    }
    ring.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    for (_, far) in &pairs {
        { far }.write_all(b"x").unwrap();
    }
    let mut tags: Vec<_> = wait_for(&mut ring, 200).iter().map(|one| one.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..200).collect::<Vec<_>>());
    assert!(ring.overflows() > 0, "there was room for all");
}

#[test]
fn connections_are_accepted_one_by_one_or_many_at_a_time() {
    for options in all() {
        let Some(mut ring) = ring(options) else { return };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener: SharedFd = Arc::new(listener);
        ring.start(1, Operation::Accept(Arc::clone(&listener)));
        for _ in 0..3 {
            let mut far = TcpStream::connect(address).unwrap();
            let [done] = &mut wait_for(&mut ring, 1)[..] else { panic!() };
            assert_eq!(done.last, !options.multishot);
            let Outcome::Accepted(Ok(near)) = &done.outcome else { panic!() };
            TcpStream::from(near.try_clone().unwrap()).write_all(b"hello").unwrap();
            far.read_exact(&mut [0; 5]).unwrap();
            if done.last {
                ring.start(1, Operation::Accept(Arc::clone(&listener)));
            }
        }
    }
}

#[test]
fn one_connection_is_accepted_where_others_wait() {
    for options in all() {
        let Some(mut ring) = ring(options) else { return };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener: SharedFd = Arc::new(listener);
        let _others: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        for _ in 0..2 {
            ring.start(1, Operation::AcceptOne(Arc::clone(&listener)));
            let [done] = &wait_for(&mut ring, 1)[..] else { panic!() };
            assert!(done.last && matches!(done.outcome, Outcome::Accepted(Ok(_))));
        }
    }
}

#[test]
fn a_file_is_read_behind_a_head_and_sent_with_it() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"under the desert").unwrap();
    let file: SharedFd = Arc::new(file);
    let (near, mut far) = pair();
    let operation = |room: usize| Operation::ReadThenSend {
        file: Arc::clone(&file),
        offset: 6,
        socket: Arc::clone(&near) as SharedFd,
        bytes: [b"head ".to_vec(), vec![0; room]].concat(),
        from: 5,
        more: false,
    };
    ring.start(1, operation(10));
    let Outcome::ReadThenSent { read, sent, .. } = wait_for(&mut ring, 1).remove(0).outcome else {
        panic!()
    };
    assert_eq!((read, sent), (Ok(10), Ok(15)));
    let mut got = [0; 15];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"head the desert");

    // After an incomplete read nothing is sent, and the buffer is returned.
    ring.start(2, operation(11));
    let Outcome::ReadThenSent { read, sent, bytes } = wait_for(&mut ring, 1).remove(0).outcome
    else {
        panic!()
    };
    assert_eq!((read, sent), (Ok(10), Err(Errno::CANCELED)));
    assert_eq!(&bytes[..15], b"head the desert");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_cancelled_operation_completes_with_its_result() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let (near, far) = pair();
    let near: SharedFd = near;
    let receive = ring.start(1, Operation::Receive(Arc::clone(&near)));
    ring.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    ring.cancel(receive);
    let Completion { last: true, outcome: Outcome::Received(Err(Errno::CANCELED)), .. } =
        wait_for(&mut ring, 1).remove(0)
    else {
        panic!()
    };
    // No send waits for room.
    loop {
        let (bytes, socket) = (vec![0; 1 << 20], Arc::clone(&near));
        ring.start(2, Operation::Send { socket, bytes, from: 0, more: false, zerocopy: false });
        let Outcome::Sent { bytes, sent } = wait_for(&mut ring, 1).remove(0).outcome else {
            panic!()
        };
        assert_eq!(bytes.len(), 1 << 20);
        if sent.is_err() {
            assert_eq!(sent, Err(Errno::AGAIN));
            break;
        }
    }
    drop(far);
}

#[test]
fn a_zerocopy_buffer_stays_until_the_socket_releases_it() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let (near, mut far) = pair();
    let bytes = vec![7; 100_000];
    let socket: SharedFd = near;
    ring.start(1, Operation::Send { socket, bytes, from: 0, more: false, zerocopy: true });
    let Outcome::Sent { bytes, sent } = wait_for(&mut ring, 1).remove(0).outcome else { panic!() };
    let sent = sent.unwrap();
    assert!(sent > 0 && (bytes.is_empty() || !ring.features.zerocopy));
    far.read_exact(&mut vec![0; sent]).unwrap();
    while ring.in_flight() > 0 {
        ring.wait(None, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_ring_with_operations_in_flight_can_be_dropped() {
    for options in all() {
        let Some(mut ring) = ring(options) else { return };
        let (near, far) = pair();
        ring.start(1, Operation::Receive(near as SharedFd));
        ring.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        drop(ring);
        { &far }.write_all(b"unread").unwrap_or_default();
    }
}

#[test]
fn pages_go_through_a_pipe_into_a_socket() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 20_000]).unwrap();
    let file: SharedFd = Arc::new(file);
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (read, write): (SharedFd, SharedFd) = (Arc::new(read), Arc::new(write));
    let (near, mut far) = pair();
    let (to, length) = (write, 16_384);
    let splice = Operation::Splice { from: file, offset: Some(10_000), to, length, more: false };
    ring.start(1, splice);
    let Outcome::Spliced(Ok(10_000)) = wait_for(&mut ring, 1).remove(0).outcome else { panic!() };
    let (to, length) = (near as SharedFd, 10_000);
    ring.start(2, Operation::Splice { from: read, offset: None, to, length, more: false });
    let Outcome::Spliced(Ok(10_000)) = wait_for(&mut ring, 1).remove(0).outcome else { panic!() };
    let mut got = vec![0; 10_000];
    far.read_exact(&mut got).unwrap();
    assert!(got.iter().all(|&byte| byte == 7));
}

#[test]
fn a_peer_that_resets_is_an_error_of_the_receive() {
    for options in all() {
        let Some(mut ring) = ring(options) else { return };
        let (near, far) = pair();
        ring.start(1, Operation::Receive(near as SharedFd));
        ring.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
        drop(far);
        let done = wait_for(&mut ring, 1).remove(0);
        let Outcome::Received(Err(Errno::CONNRESET)) = done.outcome else { panic!("{done:?}") };
        assert!(done.last && ring.in_flight() == 0);
    }
}

/// Starts an open request beneath a directory, and returns its key.
fn look_up(ring: &mut Ring, directory: &Path, name: &CStr, flags: OFlags) -> Key {
    let directory: SharedFd = Arc::new(std::fs::File::open(directory).unwrap());
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let lookup = OpenRequest::new(directory, name.to_owned(), flags, beneath);
    ring.start(1, Operation::Open(Box::new(lookup)))
}

fn looked_up(ring: &mut Ring) -> io::Result<OpenedFile> {
    let Completion { tag: 1, last: true, outcome: Outcome::Opened(found), .. } =
        wait_for(ring, 1).remove(0)
    else {
        panic!()
    };
    found
}

#[test]
fn a_name_is_opened_beneath_its_directory_with_metadata() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("a")).unwrap();
    std::fs::write(root.join("a/file"), b"under the desert").unwrap();
    std::fs::write(directory.path().join("secret"), b"secret").unwrap();
    for (target, link) in [("../secret", "out"), ("/proc/self/root", "magic"), ("a/file", "in")] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    let mut find = |name| {
        look_up(&mut ring, &root, name, OFlags::RDONLY);
        looked_up(&mut ring)
    };
    for name in [c"a/file", c"in"] {
        let OpenedFile { fd, meta } = find(name).unwrap();
        assert_eq!((meta.stx_size, meta.stx_mode & 0o170_000), (16, 0o100_000));
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let mut content = String::new();
        std::fs::File::from(fd).read_to_string(&mut content).unwrap();
        assert_eq!(content, "under the desert");
    }
    let meta = find(c"a").unwrap().meta;
    assert_eq!(meta.stx_ino, std::fs::metadata(root.join("a")).unwrap().ino());
    for (name, errno) in [
        (c"nonesuch", Errno::NOENT),
        (c"a/file/b", Errno::NOTDIR),
        (c"out", Errno::XDEV),
        (c"../secret", Errno::XDEV),
        (c"magic", Errno::XDEV),
    ] {
        assert_eq!(find(name).unwrap_err(), errno, "{name:?}");
    }
    assert_eq!(ring.in_flight(), 0);
}

/// Opening a FIFO without a writer blocks, unless the kernel first tries it with
/// O_NONBLOCK, which it does not with O_TRUNC.
const HANGS: OFlags = OFlags::RDONLY.union(OFlags::TRUNC);

#[test]
fn a_hanging_open_blocks_nothing_else_and_can_be_cancelled() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    std::fs::write(directory.path().join("file"), b"x").unwrap();
    let hangs = look_up(&mut ring, directory.path(), c"fifo", HANGS);
    look_up(&mut ring, directory.path(), c"file", OFlags::RDONLY);
    assert_eq!(looked_up(&mut ring).unwrap().meta.stx_size, 1);
    assert_eq!(ring.in_flight(), 1);
    ring.cancel(hangs);
    assert_eq!(looked_up(&mut ring).unwrap_err(), Errno::CANCELED);

    // A request that is cancelled after the open has succeeded: the descriptor is closed.
    let late = look_up(&mut ring, directory.path(), c"fifo", HANGS);
    ring.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    ring.cancel(late);
    assert_eq!(looked_up(&mut ring).unwrap_err(), Errno::CANCELED);
    assert_eq!(ring.in_flight(), 0);
    let error = writer.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "it is still open");
}

#[test]
fn a_kernel_without_the_operation_returns_einval() {
    let Some(mut ring) = ring(RingOptions::default()) else { return };
    // Unknown resolve flags have the same effect as a kernel without the operation.
    let directory: SharedFd = Arc::new(std::fs::File::open("/").unwrap());
    let unknown = ResolveFlags::from_bits_retain(1 << 40);
    let lookup = OpenRequest::new(directory, c"etc".to_owned(), OFlags::RDONLY, unknown);
    ring.start(1, Operation::Open(Box::new(lookup)));
    assert_eq!(looked_up(&mut ring).unwrap_err(), Errno::INVAL);
    assert_eq!(ring.in_flight(), 0);
}
