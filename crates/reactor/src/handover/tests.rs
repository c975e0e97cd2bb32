use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::*;
use crate::config::Config;
use crate::models::Model;
use crate::server::Server;
use crate::tcp_options::TcpOptions;
use crate::topology::Topology;

fn any() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

/// Returns sockets as another process would get them.
fn handed_over(handover: &Handover) -> Vec<InheritedListener> {
    let copies = handover.listeners().into_iter().map(|listener| {
        let socket = listener.socket.try_clone().unwrap();
        InheritedListener::new(socket, Some(listener.requested), listener.owns_name).unwrap()
    });
    copies.collect()
}

fn config(topology: Topology, threads: usize) -> Config {
    let threads = std::num::NonZeroUsize::new(threads);
    let builder = Config::builder().model(Some(Model::EpollLevel)).topology(Some(topology));
    builder.threads(threads).build(std::num::NonZeroUsize::MIN).unwrap()
}

#[test]
fn sockets_that_do_not_listen_are_refused() {
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    let (connected, _peer) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    for (socket, reason) in [
        (file, "not a socket"),
        (connected.into(), "not a listening stream socket"),
        (datagram.into(), "not a listening stream socket"),
    ] {
        let error = InheritedListener::new(socket, None, false).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
    }
}

#[test]
fn an_address_takes_the_sockets_that_are_bound_to_it() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(first.local_addr().unwrap());
    let mut inherited: Vec<_> = [second.into(), first.into()]
        .map(|socket| InheritedListener::new(socket, None, false).unwrap())
        .into();
    let options = TcpOptions::default();
    let config = config(Topology::Single, 1);
    let addresses = [address.clone(), any()];
    let server = Server::bind_inherited(config, &addresses, &options, &mut inherited).unwrap();
    assert_eq!(server.addresses().next(), Some(&address));
    assert_eq!(inherited.len(), 1, "port 0 is not the address of the other");
}

#[test]
fn two_requests_for_any_port_keep_their_ports() {
    let (options, config) = (TcpOptions::default(), config(Topology::Reuseport, 2));
    let before = Server::bind(config, &[any(), any()]).unwrap();
    let mut inherited = handed_over(&before.handover());
    assert_eq!(inherited.len(), 4);
    let after = Server::bind_inherited(config, &[any(), any()], &options, &mut inherited).unwrap();
    assert!(before.addresses().eq(after.addresses()));
    assert!(inherited.is_empty());
}

#[test]
fn sockets_are_spread_over_more_or_fewer_event_loops() {
    for (threads_before, threads_after) in [(3, 2), (2, 3), (1, 2), (2, 1)] {
        let of = |threads| match threads {
            1 => config(Topology::Single, 1),
            _ => config(Topology::Reuseport, threads),
        };
        let before = Server::bind(of(threads_before), &[any()]).unwrap();
        let Some(Address::Tcp(address)) = before.addresses().next().cloned() else { panic!() };
        // In the queues of the sockets before the other server has them.
        let clients: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut inherited = handed_over(&before.handover());
        let options = TcpOptions::default();
        let after = of(threads_after);
        let after = Server::bind_inherited(after, &[any()], &options, &mut inherited).unwrap();
        drop(before);
        let handed = after.handover().listeners();
        assert_eq!(handed.len(), threads_before, "each socket once");
        let accepted = handed
            .iter()
            .flat_map(|listener| std::iter::from_fn(|| rustix::net::accept(&listener.socket).ok()));
        assert_eq!(accepted.count(), clients.len());
    }
}

#[test]
fn the_name_of_a_unix_socket_is_removed_by_its_last_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (address, options) = (Address::Unix(path.clone()), TcpOptions::default());
    let config = config(Topology::Single, 1);
    let before = Server::bind(config, std::slice::from_ref(&address)).unwrap();
    let handover = before.handover();
    let mut inherited = handed_over(&handover);
    let after = Server::bind_inherited(config, &[address], &options, &mut inherited).unwrap();
    handover.keep_names();
    drop(before);
    assert!(handover.listeners().is_empty(), "the handle keeps nothing open");
    assert!(path.exists());
    let mut inherited = handed_over(&after.handover());
    let address = after.addresses().next().unwrap().clone();
    let failed = Server::bind_inherited(config, &[address], &options, &mut inherited).unwrap();
    drop(failed);
    assert!(path.exists(), "a process that has not taken it over leaves it");
    after.handover().own_names();
    drop(after);
    assert!(!path.exists());
}

#[test]
fn the_name_of_a_socket_of_a_service_manager_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut inherited = vec![InheritedListener::new(listener.into(), None, false).unwrap()];
    let (address, config) = (Address::Unix(path.clone()), config(Topology::Single, 1));
    let options = TcpOptions::default();
    drop(Server::bind_inherited(config, &[address], &options, &mut inherited).unwrap());
    assert!(path.exists());
}

#[test]
fn listeners_of_other_parts_follow_those_of_the_server() {
    let options = TcpOptions::default();
    let config = config(Topology::Single, 1);
    let server = Server::bind_inherited(config, &[any()], &options, &mut Vec::new()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let addresses = [any(), Address::Unix(path.clone())];
    let bind = |address| InheritedListener::take_or_bind(&mut Vec::new(), address).unwrap();
    let others: Vec<_> = addresses.iter().map(bind).collect();
    let mut handover = server.handover();
    others.iter().zip(&addresses).for_each(|(other, address)| handover.add(other, address));

    let mut inherited = handed_over(&handover);
    assert_eq!(inherited.len(), 3);
    let next = Server::bind_inherited(config, &[any()], &options, &mut inherited).unwrap();
    assert!(next.addresses().eq(server.addresses()), "not that of another part");
    for (other, address) in others.iter().zip(&addresses) {
        let taken = InheritedListener::take_or_bind(&mut inherited, address).unwrap();
        assert_eq!(taken.address(), other.address());
    }
    assert!(inherited.is_empty() && path.exists());
    drop((server, next));
    assert!(handover.listeners().is_empty(), "a server that has ended hands nothing over");
}
