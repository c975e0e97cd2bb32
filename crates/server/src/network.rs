//! Networks of clients: addresses by prefix (CIDR, RFC 4632), and the peers of UNIX sockets.
//!
//! An IPv4 address that an IPv6 socket reports (`::ffff:192.0.2.1`) is compared as IPv4.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A set of clients: `192.0.2.0/24`, `2001:db8::/32`, one address, `unix` (each peer of a UNIX socket), or
/// `all`.
///
/// ```
/// let network: karez_server::Network = "192.0.2.0/24".parse()?;
/// assert_eq!(network.to_string(), "192.0.2.0/24");
/// assert!("192.0.2.1/24".parse::<karez_server::Network>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Members);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Members {
    All,
    Unix,
    Prefix(IpNet),
}

impl Network {
    /// Returns how specific the network is, if it has this client; `None` if it does not. `None` for an
    /// address: the peer of a UNIX socket.
    pub(crate) fn matches(self, client: Option<IpAddr>) -> Option<u8> {
        match (self.0, client) {
            (Members::All, _) => Some(0),
            (Members::Unix, None) => Some(u8::MAX),
            (Members::Prefix(prefix), Some(address)) => {
                prefix.contains(&address.to_canonical()).then(|| 1 + prefix.prefix_len())
            }
            (Members::Unix, Some(_)) | (Members::Prefix(_), None) => None,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let members = match text {
            "all" => Members::All,
            "unix" => Members::Unix,
            _ => Members::Prefix(prefix(text)?),
        };
        Ok(Self(members))
    }
}

fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let form = "is no network: an address, ADDRESS/BITS, unix or all";
    let network: IpNet = text.parse().map_err(|_| format!("\"{text}\" {form}"))?;
    if network.addr() != network.network() {
        return Err(format!("{text} has bits behind its prefix: {}", network.trunc()));
    }
    Ok(network)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Members::All => f.write_str("all"),
            Members::Unix => f.write_str("unix"),
            Members::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_addresses() {
        for (network, client, expected) in [
            ("192.0.2.0/24", Some("192.0.2.9"), Some(25)),
            ("192.0.2.0/24", Some("::ffff:192.0.2.9"), Some(25)),
            ("192.0.2.0/24", Some("192.0.3.9"), None),
            ("192.0.2.0/24", None, None),
            ("::ffff:192.0.2.1", Some("192.0.2.1"), Some(33)),
            ("192.0.2.1", Some("192.0.2.1"), Some(33)),
            ("0.0.0.0/0", Some("192.0.2.1"), Some(1)),
            ("0.0.0.0/0", Some("::1"), None),
            ("2001:db8::/32", Some("2001:db8:1::1"), Some(33)),
            ("::1", Some("::1"), Some(129)),
            ("unix", None, Some(255)),
            ("unix", Some("::1"), None),
            ("all", None, Some(0)),
            ("all", Some("::1"), Some(0)),
        ] {
            let client = client.map(|text| text.parse().unwrap());
            let network: Network = network.parse().unwrap();
            assert_eq!(network.matches(client), expected, "{network} {client:?}");
        }
    }

    #[test]
    fn malformed_networks_are_rejected() {
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "192.0.2", "example.org", "::/129", "a/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
