//! The requests of a task, one after the other, on TCP and UNIX sockets.

use karez_reactor::{ALLOWED, Address, Model, Server, Shutdown, Topology};
use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use crate::scripted_task::{
    LONG, ScriptedService, ask, config, connect, end_of, everywhere, everywhere_hearing, many,
    read_some,
};

#[test]
fn one_thing_is_done_after_the_other() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        for _ in 0..100 {
            ask(&mut stream, b"ehello", b"hello", name);
            ask(&mut stream, b"dab", b"abab", name);
        }
        stream.write_all(b"x").unwrap();
        assert!(end_of(stream).is_empty(), "{name}");
    });
}

#[test]
fn many_connections_at_once_are_kept_apart() {
    everywhere(many(), |address, _, name| {
        let mut streams: Vec<_> = (0..200).map(|_| connect(address)).collect();
        for round in 0..5 {
            for (number, stream) in streams.iter_mut().enumerate() {
                let word = format!("{number}:{round}");
                ask(stream, format!("e{word}").as_bytes(), word.as_bytes(), name);
            }
        }
    });
}

#[test]
fn what_the_socket_does_not_take_at_once_arrives_all_the_same() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"b").unwrap();
        let mut got = vec![0; 8 << 20];
        stream.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|&byte| byte == b'b'), "{name}");
        ask(&mut stream, b"estill here", b"still here", name);
    });
}

#[test]
fn a_receive_comes_to_its_time() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        ask(&mut stream, b"t", b"too late", name);
        ask(&mut stream, b"eand on", b"and on", name);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    everywhere_hearing(many(), |address, _, name, given_up| {
        let mut stream = connect(address);
        stream.write_all(b"s").unwrap();
        let moved = given_up.recv_timeout(LONG).unwrap();
        assert!(moved < 64 << 20, "{name}: {moved}");
        assert_eq!(end_of(stream).len() as u64, moved, "{name}: what went arrives");
    });
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"b").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(end_of(stream).len(), 8 << 20, "{name}");
    });
}

#[test]
fn finish_sends_a_fin_and_goes_on_receiving() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"f").unwrap();
        let mut nothing = [0; 1];
        assert_eq!(read_some(&mut stream, &mut nothing), 0, "{name}: a FIN");
        stream.write_all(b"x").unwrap(); // heard, and answered by closing
        drop(stream);
    });
}

#[test]
fn unix_sockets_serve_too_and_their_names_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for &(model, topology) in ALLOWED {
        let config = config(model, topology);
        let bound = Server::bind(config, &[Address::Unix(path.clone())]).unwrap();
        let stop = Shutdown::new();
        let stop_it = &stop;
        thread::scope(|scope| {
            let service = ScriptedService(Mutex::new(mpsc::channel().0));
            let server = scope.spawn(move || bound.run(&service, many(), stop_it));
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(b"ehello").unwrap();
            let mut got = [0; 5];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello");
            stop.trigger();
            server.join().unwrap().unwrap();
        });
        assert!(!path.exists(), "{model} × {topology}");
    }
}

#[test]
fn a_name_left_over_is_taken_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its name
    let config = config(Model::EpollEdge, Topology::Single);
    let address = [Address::Unix(path)];
    let first = Server::bind(config, &address).unwrap();
    let error = Server::bind(config, &address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
}
