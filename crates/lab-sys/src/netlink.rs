//! Devices and addresses of a private network: rtnetlink(7), Linux 2.2; veth(4), 2.6.24.
//!
//! It covers what a pair of veth devices in two network namespaces needs, so no ip(8) is required
//! and the host's network stays untouched.
//!
//! # Limitations
//! A device cannot be removed; it goes with its network namespace.

use rustix::io::{Errno, Result};
use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use std::net::Ipv4Addr;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLM_F_CREATE | NLM_F_EXCL`.
const CREATE: u16 = 0x400 | 0x200;
const NLMSG_HDRLEN: usize = 16;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;

/// Creates a veth pair; the second device, `peer`, is created in the network namespace of the
/// process `peer_process`.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in both networks, `ESRCH` for no such process, `EEXIST` for a name
/// that is taken, `EOPNOTSUPP` if the kernel has no veth.
pub fn add_veth(name: &str, peer: &str, peer_process: u32) -> Result<()> {
    let mut peer_link = ifinfomsg(0, 0);
    attribute(&mut peer_link, IFLA_IFNAME, &c_string(peer));
    attribute(&mut peer_link, IFLA_NET_NS_PID, &peer_process.to_ne_bytes());
    let (mut data, mut info) = (Vec::new(), Vec::new());
    attribute(&mut data, VETH_INFO_PEER, &peer_link);
    attribute(&mut info, IFLA_INFO_KIND, b"veth");
    attribute(&mut info, IFLA_INFO_DATA, &data);
    let mut body = ifinfomsg(0, 0);
    attribute(&mut body, IFLA_IFNAME, &c_string(name));
    attribute(&mut body, IFLA_LINKINFO, &info);
    request(RTM_NEWLINK, CREATE, &body)
}

/// Creates a dummy device, which discards all packets.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN there, `EOPNOTSUPP` if the kernel has no dummy devices.
pub fn add_dummy(name: &str) -> Result<()> {
    let (mut body, mut info) = (ifinfomsg(0, 0), Vec::new());
    attribute(&mut info, IFLA_INFO_KIND, b"dummy");
    attribute(&mut body, IFLA_IFNAME, &c_string(name));
    attribute(&mut body, IFLA_LINKINFO, &info);
    request(RTM_NEWLINK, CREATE, &body)
}

/// Adds an address with a /30 prefix to a device.
///
/// # Errors
/// `ENODEV` for no such device, `EPERM` without CAP_NET_ADMIN there.
pub fn add_address(name: &str, address: Ipv4Addr) -> Result<()> {
    // Family, prefix, flags, scope, index.
    let mut body = vec![2, 30, 0, 0];
    body.extend(link_index(name)?.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &address.octets());
    attribute(&mut body, IFA_ADDRESS, &address.octets());
    request(RTM_NEWADDR, CREATE, &body)
}

/// Sets a device up.
///
/// # Errors
/// `ENODEV` for no such device, `EPERM` without CAP_NET_ADMIN there.
pub fn set_link_up(name: &str) -> Result<()> {
    request(RTM_NEWLINK, 0, &ifinfomsg(link_index(name)?, IFF_UP))
}

/// Sets the largest packet of a device, in bytes.
///
/// # Errors
/// `ENODEV` for no such device, `EPERM` without CAP_NET_ADMIN there, `EINVAL` for a size that the
/// device does not support.
pub fn set_mtu(name: &str, bytes: u32) -> Result<()> {
    let mut body = ifinfomsg(link_index(name)?, 0);
    attribute(&mut body, IFLA_MTU, &bytes.to_ne_bytes());
    request(RTM_NEWLINK, 0, &body)
}

fn link_index(name: &str) -> Result<u32> {
    name_to_index(open()?, name)
}

fn open() -> Result<std::os::fd::OwnedFd> {
    // The default protocol is NETLINK_ROUTE, which is 0.
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
}

/// Encodes a `struct ifinfomsg` with `index` and the flags to set.
fn ifinfomsg(index: u32, flags: u32) -> Vec<u8> {
    [0, index, flags, flags].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn c_string(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// Appends an attribute: length, kind, value, and padding to a multiple of four.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Sends one request and waits for its acknowledgement.
fn request(kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    let mut message = Vec::new();
    let length = u32::try_from(NLMSG_HDRLEN + body.len()).map_err(|_| Errno::OVERFLOW)?;
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let socket = open()?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 4096];
    let (_, received) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let errno = answer[..received].get(NLMSG_HDRLEN..NLMSG_HDRLEN + 4).ok_or(Errno::BADMSG)?;
    let mut number = [0; 4];
    number.copy_from_slice(errno);
    match i32::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(-number)),
    }
}
