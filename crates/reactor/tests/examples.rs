//! The examples, by their own command line, on every model × topology.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "each example has the command line as a module")]

use karez_reactor::{ALLOWED, Address, Limits, Server, Service, Shutdown};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

#[path = "../examples/command_line/mod.rs"]
#[allow(dead_code, reason = "the process does not end with the server here")]
mod command_line;

#[path = "../examples/echo.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod echo;

#[path = "../examples/chat.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod chat;

#[path = "../examples/dictionary.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod dictionary;

#[path = "../examples/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod proxy;

const LONG: Duration = Duration::from_secs(60);

/// Runs `script` against the service that `make` makes, in every layout, and the server to its end.
fn everywhere<S: Service>(make: impl Fn() -> S, script: impl Fn(SocketAddr, &str)) {
    for (model, topology) in ALLOWED {
        // So that there are several on a machine with one core, too.
        let threads = if topology.has_reactors() { "--threads 2 " } else { "" };
        let words = format!("--model {model} --topology {topology} {threads}127.0.0.1:0");
        let (bound, rest) = command_line::bind(words.split(' ').map(str::to_owned)).unwrap();
        assert!(rest.is_empty());
        run(bound, &make(), |address| script(address, &format!("{model} × {topology}")));
    }
}

fn run<S: Service>(bound: Server, service: &S, script: impl FnOnce(SocketAddr)) {
    let Some(&Address::Tcp(address)) = bound.addresses().next() else { panic!("no address") };
    let (limits, stop) = (Limits::new(1000, LONG), Shutdown::new());
    thread::scope(|scope| {
        let server = scope.spawn(|| bound.run(service, limits, &stop));
        script(address);
        stop.trigger();
        server.join().unwrap().unwrap();
    });
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

#[test]
fn echo_says_back_what_it_hears() {
    everywhere(
        || echo::Echoes,
        |address, name| {
            let mut streams: Vec<_> = (0..10).map(|_| connect(address)).collect();
            for round in 0..5 {
                for (number, stream) in streams.iter_mut().enumerate() {
                    let word = format!("{number}:{round}");
                    stream.write_all(word.as_bytes()).unwrap();
                    let mut got = vec![0; word.len()];
                    stream.read_exact(&mut got).unwrap();
                    assert_eq!(got, word.as_bytes(), "{name}");
                }
            }
        },
    );
}

#[test]
fn in_a_chat_everybody_hears_the_others() {
    everywhere(chat::Room::default, |address, name| {
        let hear = |guest: &mut BufReader<TcpStream>| {
            let mut line = String::new();
            guest.read_line(&mut line).unwrap();
            line
        };
        let enter = |number| {
            let mut guest = BufReader::new(connect(address));
            assert_eq!(hear(&mut guest), format!("you are guest {number}\n"), "{name}");
            guest
        };
        let mut guests: Vec<_> = (1..=6).map(enter).collect();
        for speaker in 0..guests.len() {
            // In two parts, of which the first says nothing yet.
            for part in ["good ", "morning\nall\n"] {
                guests[speaker].get_mut().write_all(part.as_bytes()).unwrap();
            }
            for (listener, guest) in guests.iter_mut().enumerate() {
                for word in ["good morning", "all"].iter().filter(|_| listener != speaker) {
                    assert_eq!(hear(guest), format!("{}: {word}\n", speaker + 1), "{name}");
                }
            }
        }
    });
}

#[test]
fn a_dictionary_answers_line_by_line() {
    everywhere(dictionary::Dictionary::default, |address, name| {
        let (mut client, mut answers) = (BufReader::new(connect(address)), String::new());
        for part in ["set color gr", "een\r\nget color\nget ", "shape\nget\n"] {
            client.get_mut().write_all(part.as_bytes()).unwrap();
        }
        for _ in 0..4 {
            client.read_line(&mut answers).unwrap();
        }
        assert_eq!(answers, "stored\ngreen\nnone\nset NAME VALUE, or get NAME\n", "{name}");
        client.get_mut().write_all(&[b'x'; 5000]).unwrap();
        assert!(
            client.read_line(&mut answers).is_ok_and(|count| count == 0),
            "{name}: it is closed"
        );
    });
}

#[test]
fn a_proxy_leads_to_another_server_and_back() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = upstream.local_addr().unwrap();
    everywhere(
        || proxy::Proxy(there),
        |address, name| {
            let mut client = connect(address);
            let mut server = upstream.accept().unwrap().0;
            client.write_all(b"question").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = String::new();
            server.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "question", "{name}");
            server.write_all(b"answer").unwrap();
            drop(server);
            heard.clear();
            client.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "answer", "{name}");
        },
    );
}

#[test]
fn what_nobody_knows_is_refused_with_what_there_is() {
    let refusal = |words: &str| {
        let error = command_line::bind(words.split(' ').map(str::to_owned)).unwrap_err();
        error.to_string()
    };
    assert!(refusal("--model kqueue 127.0.0.1:0").contains("epoll-edge, epoll-level, poll, "));
    assert!(refusal("--topology ring 127.0.0.1:0").ends_with("single, workers, multi, reuseport"));
    assert!(refusal("--model blocking --topology multi 127.0.0.1:0").contains("single or workers"));
    assert_eq!(refusal("127.0.0.1:0 --model"), "--model takes a value");
}
