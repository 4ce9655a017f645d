//! A host in the one form in which it is compared, shown and looked up.
//!
//! Parsing follows the URL standard of browsers (WHATWG): a host written as a number is the address that it means, names are in lower case
//! and in punycode.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// Lower case, in punycode, with no dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host {
    /// A host as it stands in a URL or an authority: an IPv6 address is in brackets. None of a name with an empty label.
    pub fn parse(text: &str) -> Result<Option<Host>, url::ParseError> {
        let whole = |host: &Host| !matches!(host, Host::Name(name) if name.split('.').any(str::is_empty));
        Ok(Host::from_url(url::Host::parse(text)?).filter(whole))
    }

    pub fn of(url: &Url) -> Option<Host> {
        Host::from_url(url.host()?.to_owned())
    }

    fn from_url(host: url::Host<String>) -> Option<Host> {
        Some(match host {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name.is_empty() {
                    return None;
                }
                Host::Name(name.to_owned())
            }
            url::Host::Ipv4(address) => Host::V4(address),
            url::Host::Ipv6(address) => Host::V6(address),
        })
    }

    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// `app` of `app.stage`.
    pub fn process(&self) -> Option<&str> {
        match self {
            Host::Name(name) => name.strip_suffix(".stage").filter(|name| !name.is_empty()),
            _ => None,
        }
    }

    /// Names that mean this machine without being looked up (RFC 6761, 6.3).
    pub fn is_localhost(&self) -> bool {
        matches!(self, Host::Name(name) if name == "localhost" || name.ends_with(".localhost"))
    }

    /// What it leads to without being looked up.
    pub fn known_addresses(&self) -> Option<Vec<IpAddr>> {
        match self.address() {
            Some(address) => Some(vec![address]),
            None => self.is_localhost().then(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}
