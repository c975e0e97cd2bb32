//! Features of a network device: `SIOCETHTOOL`, netdevice(7), as ethtool(8) sets them.
//!
//! Without scatter-gather a device accepts one linear buffer per packet, so the kernel copies the
//! pages that `sendfile` refers to. A veth device with receive offload (GRO, Linux 5.13) queues packets
//! for a NAPI instance, if the sending device has no segmentation offload (TSO).
//!
//! # Limitations
//! The device is named within the network namespace of the calling thread. The old requests know
//! few features, and features that depend on scatter-gather (TSO) are turned off with it.

use rustix::io::{self, Errno};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// `ETHTOOL_SSG`, `ETHTOOL_STSO` and `ETHTOOL_SGRO` of linux/ethtool.h.
const SET_SCATTER_GATHER: u32 = 0x19;
const SET_SEGMENTATION_OFFLOAD: u32 = 0x1f;
const SET_RECEIVE_OFFLOAD: u32 = 0x2c;

/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: u32 = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`: a name and a union of 24 bytes, of which the first hold a pointer.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: *mut Value,
    rest: [u64; 2],
}

/// Turns scatter-gather of the device `name` on or off; `socket` is any socket of its network.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN there, `ENODEV` for no such device, `EOPNOTSUPP` if the device
/// cannot change it, `EINVAL` for a name that is too long.
pub fn set_scatter_gather(socket: BorrowedFd<'_>, name: &str, on: bool) -> io::Result<()> {
    set(socket, name, SET_SCATTER_GATHER, on)
}

/// Turns the merging of received packets (GRO) of the device `name` on or off.
///
/// # Errors
/// Those of [`set_scatter_gather`].
pub fn set_receive_offload(socket: BorrowedFd<'_>, name: &str, on: bool) -> io::Result<()> {
    set(socket, name, SET_RECEIVE_OFFLOAD, on)
}

/// Turns the segmentation of TCP (TSO) by the device `name` on or off.
///
/// # Errors
/// Those of [`set_scatter_gather`].
pub fn set_segmentation_offload(socket: BorrowedFd<'_>, name: &str, on: bool) -> io::Result<()> {
    set(socket, name, SET_SEGMENTATION_OFFLOAD, on)
}

fn set(socket: BorrowedFd<'_>, name: &str, command: u32, on: bool) -> io::Result<()> {
    let mut value = Value { command, data: u32::from(on) };
    let mut request = Request { name: [0; 16], value: &raw mut value, rest: [0; 2] };
    let room = request.name.get_mut(..name.len()).filter(|room| room.len() < 16);
    room.ok_or(Errno::INVAL)?.copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads the request and the value it points to. Both live on this stack
    // frame, have the layout the kernel expects for these commands, and are at least as large as it
    // assumes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn missing_device_is_refused() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = set_scatter_gather(socket.as_fd(), "no-such-dev", false);
        assert!(matches!(refused, Err(Errno::NODEV | Errno::PERM)), "{refused:?}");
        let too_long = set_scatter_gather(socket.as_fd(), "a-name-of-more-than-15", false);
        assert_eq!(too_long, Err(Errno::INVAL));
    }
}
