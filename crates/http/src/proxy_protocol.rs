//! The PROXY protocol, versions 1 and 2: a header in front of the bytes of a connection, by which a proxy
//! reports the address of its client (haproxy.org, proxy-protocol.txt).
//!
//! # Limitations
//!
//! Extensions (TLV) are skipped, with their checksum. Headers of more than [`LONGEST`] bytes are rejected.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most bytes of a header.
pub const LONGEST: usize = 4096;

/// The fewest bytes of a header: `PROXY UNKNOWN` and the end of the line.
pub const SHORTEST: usize = 15;

/// The result of a parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many bytes more belong to the header.
    Incomplete(usize),
    /// The header is complete.
    Complete {
        /// The client that it reports.
        client: ProxiedClient,
        /// Its length in bytes; the bytes behind it are those of the client.
        length: usize,
    },
}

/// The client that a header reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxiedClient {
    /// The proxy itself, which checks the server, or does not know its client (`LOCAL`, `UNKNOWN`).
    Proxy,
    /// A client with this address.
    Address(SocketAddr),
    /// The peer of a UNIX socket of the proxy.
    Unix,
}

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProxyHeader(&'static str);

impl fmt::Display for BadProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no PROXY header: {}", self.0)
    }
}

impl std::error::Error for BadProxyHeader {}

/// Parses the first bytes of a connection.
///
/// ```
/// use karez_http::proxy_protocol::{Progress, ProxiedClient, parse};
///
/// let bytes = b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 443\r\nGET / HTTP/1.1\r\n";
/// let client = ProxiedClient::Address("192.0.2.1:4711".parse()?);
/// assert_eq!(parse(bytes)?, Progress::Complete { client, length: 41 });
/// assert!(matches!(parse(&bytes[..20])?, Progress::Incomplete(_)));
/// assert!(parse(b"GET / HTTP/1.1").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Bytes with which no header begins.
pub fn parse(bytes: &[u8]) -> Result<Progress, BadProxyHeader> {
    match bytes {
        [] => Ok(Progress::Incomplete(SHORTEST)),
        _ if begins(bytes, SIGNATURE) => binary(bytes),
        _ => text(bytes),
    }
}

/// Returns whether bytes begin as others do, as far as they have been received.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let count = bytes.len().min(with.len());
    bytes[..count] == with[..count]
}

/// Parses version 1, a line of text.
fn text(bytes: &[u8]) -> Result<Progress, BadProxyHeader> {
    let shortest = [(&b"PROXY UNKNOWN"[..], SHORTEST), (b"PROXY TCP4 ", 32), (b"PROXY TCP6 ", 22)];
    let shortest = shortest.iter().filter(|(begin, _)| begins(bytes, begin));
    let Some(shortest) = shortest.map(|(_, length)| *length).min() else {
        return Err(BadProxyHeader("it begins otherwise"));
    };
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        let ends = if bytes.ends_with(b"\r") { 1 } else { 2 };
        return match bytes.len() + ends > LONGEST_LINE {
            true => Err(BadProxyHeader("the line is too long")),
            false => Ok(Progress::Incomplete(shortest.saturating_sub(bytes.len()).max(ends))),
        };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(BadProxyHeader("a bare LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| BadProxyHeader("it is not ASCII"))?;
    Ok(Progress::Complete { client: client_of(line)?, length: end + 1 })
}

fn client_of(line: &str) -> Result<ProxiedClient, BadProxyHeader> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(ProxiedClient::Proxy);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            _ => word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        }
    };
    let addresses = address().zip(address()).ok_or(BadProxyHeader("malformed address"))?;
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let is_plain = word == "0" || !word.starts_with('0');
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse().ok().filter(|_| is_plain && digits)
    };
    let ports = port().zip(port()).ok_or(BadProxyHeader("malformed port"))?;
    match words.next() {
        None => Ok(ProxiedClient::Address(SocketAddr::new(addresses.0, ports.0))),
        Some(_) => Err(BadProxyHeader("more than two ports")),
    }
}

/// Parses version 2.
fn binary(bytes: &[u8]) -> Result<Progress, BadProxyHeader> {
    let Some(([.., command, family, high, low], rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(Progress::Incomplete(16 - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length + 16 > LONGEST {
        return Err(BadProxyHeader("it is too long"));
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadProxyHeader("unknown version or command")),
    };
    let needed = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(BadProxyHeader("unknown family, or no stream")),
    };
    if length < needed {
        return Err(BadProxyHeader("its addresses are cut off"));
    }
    if rest.len() < length {
        return Ok(Progress::Incomplete(length - rest.len()));
    }
    let client = match (needed, rest.split_first_chunk::<4>(), rest.split_first_chunk::<16>()) {
        (12, Some((source, rest)), _) => address(IpAddr::from(*source), rest, 4),
        (36, _, Some((source, rest))) => address(IpAddr::from(*source), rest, 16),
        (216, ..) => ProxiedClient::Unix,
        _ => ProxiedClient::Proxy,
    };
    Ok(Progress::Complete { client, length: 16 + length })
}

/// `rest`: the address of the destination, which has `skip` bytes, and the ports.
fn address(source: IpAddr, rest: &[u8], skip: usize) -> ProxiedClient {
    let port = rest.get(skip..skip + 2).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    ProxiedClient::Address(SocketAddr::new(source, port))
}

/// The first bytes of version 2, with which no request begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The most bytes of a line of version 1.
const LONGEST_LINE: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(bytes: &[u8]) -> Option<(ProxiedClient, usize)> {
        match parse(bytes) {
            Ok(Progress::Complete { client, length }) => Some((client, length)),
            _ => None,
        }
    }

    fn client(address: &str) -> ProxiedClient {
        ProxiedClient::Address(address.parse().unwrap())
    }

    fn version_2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, content].concat()
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65535", Some(client("192.0.2.1:1"))),
            ("PROXY TCP6 2001:db8::1 ::1 0 443", Some(client("[2001:db8::1]:0"))),
            ("PROXY UNKNOWN", Some(ProxiedClient::Proxy)),
            ("PROXY UNKNOWN ffff:: :: 1 2", Some(ProxiedClient::Proxy)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3", None),
            ("PROXY TCP4 192.0.2.1  192.0.2.2 1 2", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536", None),
            ("PROXY TCP4 192.0.2.256 192.0.2.2 1 2", None),
            ("PROXY TCP4 ::1 ::1 1 2", None),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2", None),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2", None),
            ("proxy TCP4 192.0.2.1 192.0.2.2 1 2", None),
            ("GET / HTTP/1.1", None),
        ] {
            let bytes = format!("{line}\r\nGET");
            let expected = expected.map(|client| (client, line.len() + 2));
            assert_eq!(complete(bytes.as_bytes()), expected, "{line}");
        }
        assert!(parse(b"PROXY UNKNOWN\n").is_err());
        let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
        assert!(parse(long.as_bytes()).is_err());
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 0, 80];
        let mut six = [0; 36];
        for (at, byte) in [(0, 0xfd), (15, 1), (33, 7)] {
            six[at] = byte;
        }
        let with_tlv = [&four[..], &[4, 0, 1, 0]].concat();
        for (command, family, content, expected) in [
            (0x21, 0x11, &four[..], Some(client("192.0.2.1:4711"))),
            (0x21, 0x11, &with_tlv, Some(client("192.0.2.1:4711"))),
            (0x21, 0x21, &six, Some(client("[fd00::1]:7"))),
            (0x21, 0x31, &[0; 216], Some(ProxiedClient::Unix)),
            (0x21, 0x00, &[1, 2, 3], Some(ProxiedClient::Proxy)),
            (0x20, 0x00, &[], Some(ProxiedClient::Proxy)),
            (0x20, 0xff, &four, Some(ProxiedClient::Proxy)),
            (0x21, 0x11, &four[..11], None),
            (0x21, 0x12, &four, None),
            (0x22, 0x11, &four, None),
            (0x11, 0x11, &four, None),
        ] {
            let bytes = version_2(command, family, content);
            let expected = expected.map(|client| (client, bytes.len()));
            assert_eq!(complete(&[&bytes, &b"GET"[..]].concat()), expected, "{bytes:?}");
        }
        assert!(parse(&version_2(0x21, 0x11, &[0; LONGEST])).is_err());
    }

    proptest! {
        #[test]
        fn pieces_lead_to_the_same_result(
            header in prop_oneof![
                Just(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n".to_vec()),
                Just(b"PROXY TCP6 ::1 2001:db8::1 65535 1\r\n".to_vec()),
                Just(b"PROXY UNKNOWN\r\n".to_vec()),
                Just(version_2(0x21, 0x11, &[7; 40])),
                Just(version_2(0x21, 0x21, &[7; 36])),
                Just(version_2(0x20, 0x00, &[])),
                "PROXY TCP[46] [ -~]{0,90}\r\n".prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..50),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let all = [&header[..], &rest].concat();
            let mut received = 0;
            let result = loop {
                match parse(&all[..received]) {
                    Ok(Progress::Incomplete(more)) if received + more <= all.len() => {
                        prop_assert!(more > 0);
                        received += more;
                    }
                    result => break result,
                }
            };
            if let Ok(Progress::Complete { length, .. }) = result {
                prop_assert_eq!(length, received, "no byte of the client is needed");
                prop_assert!(length <= LONGEST);
            }
            for end in received..=all.len() {
                match result {
                    Ok(Progress::Complete { .. }) => prop_assert_eq!(parse(&all[..end]), result),
                    Ok(Progress::Incomplete(_)) => prop_assert!(complete(&all[..end]).is_none()),
                    Err(_) => prop_assert!(parse(&all[..end]).is_err()),
                }
            }
        }
    }
}
