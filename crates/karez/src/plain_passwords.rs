//! A warning for passwords that are sent in clear text: `--auth` on a plain listener.
//!
//! # Limitations
//!
//! Behind a trusted proxy, and on UNIX sockets, nothing is known of the connection to the client. A redirect to
//! HTTPS is taken for one that no client with a password ignores.

use karez_reactor::Address;

use crate::cli::SiteArgs;
use crate::configuration::Configuration;
use crate::tls::{self, Tls};

/// Returns the warning, if a plain listener is among these.
pub(crate) fn warning<'a>(
    configuration: &Configuration,
    addresses: impl Iterator<Item = &'a Address>,
    tls: Option<&Tls>,
) -> Option<String> {
    let is_proxied = !configuration.serve.clients.trust_proxy.is_empty();
    if !has_passwords(configuration) || is_proxied || redirects(configuration) {
        return None;
    }
    let plain = |(listener, address): (usize, &'a Address)| match address {
        Address::Tcp(address) if tls::scheme(tls, listener) == "http" => Some(address),
        _ => None,
    };
    let address = addresses.enumerate().find_map(plain)?;
    Some(format!("--auth: passwords are sent in clear text to http://{address}/"))
}

fn has_passwords(configuration: &Configuration) -> bool {
    let asks = |site: &SiteArgs| site.rules.auth.iter().any(|rule| rule.file().is_some());
    (configuration.has_top_site() && asks(&configuration.serve.site))
        || configuration.sites.iter().any(|site| asks(&site.table.site))
}

fn redirects(configuration: &Configuration) -> bool {
    #[cfg(feature = "tls")]
    return configuration.serve.tls.redirect_https;
    #[cfg(not(feature = "tls"))]
    {
        let _ = configuration;
        false
    }
}
