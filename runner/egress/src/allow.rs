//! The list of hosts that may be reached, and the decision about one of them.
//!
//! An entry is a host and a port: `registry.example:443`. `*.example.org:443` is any one label below `example.org`: `a.example.org`, neither
//! `example.org` nor `a.b.example.org`, as in a certificate. An address is reached only by an entry that writes it out. There is no entry for
//! any port and none for any host.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::address::{Reach, Scope, reach};
use crate::host::Host;
use crate::proxy::Refusal;

/// One host and port that may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    host: Pattern,
    port: u16,
    /// The name may lead to an address that is not public.
    pub private: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(Host),
    /// `.example.org` for `*.example.org`.
    Label(String),
}

/// Why a text is no entry, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EntryError {
    pub message: String,
    pub hint: String,
}

fn mistake<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, EntryError> {
    Err(EntryError { message: message.into(), hint: hint.into() })
}

impl Entry {
    /// The narrowest entry for a place.
    pub fn exact(host: Host, port: u16) -> Entry {
        Entry { host: Pattern::Exact(host), port, private: false }
    }

    /// Reads `host:port`.
    ///
    /// # Errors
    /// If it is no such thing, or more than a host and a port.
    pub fn parse(text: &str) -> Result<Entry, EntryError> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let port = if host.contains(':') {
                ""
            } else if scheme == "http" {
                ":80"
            } else {
                ":443"
            };
            return mistake("a URL is no host and port", format!("write \"{host}{port}\": what is sent there is not looked at"));
        }
        if text.contains(['/', '?', '#', '@', '\\', '%']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return mistake(format!("`{}` is more than a host and a port", text.escape_debug()), "write \"registry.example:443\"");
        }
        let (name, port) = match split(text) {
            Some(parts) => parts,
            None if text.matches(':').count() > 1 => {
                return mistake(format!("`{text}` has no port, or an address without brackets"), "write \"[fd00::1]:443\"");
            }
            None => return mistake(format!("`{text}` has no port"), format!("write \"{text}:443\", or the port that is meant")),
        };
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => return mistake(format!("`{port}` is no port"), "write a number from 1 to 65535; there is no entry for any port"),
        };
        if name == "*" {
            return mistake("the host is a wildcard", "name the host, or one label below a domain as in \"*.example.org:443\"");
        }
        let (name, label) = match name.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (name, false),
        };
        if name.contains('*') {
            return mistake("`*` stands inside the host", "`*.` at the start means any one label; no other wildcard exists");
        }
        let what = "write a name, an IPv4 address, or an IPv6 address in brackets";
        let host = match Host::parse(name) {
            Ok(Some(host)) => host,
            Ok(None) => return mistake(format!("`{name}` is no host"), what),
            Err(error) => return mistake(format!("`{name}` is no host: {error}"), what),
        };
        let host = match (host, label) {
            (host, _) if host.process().is_some() => {
                return mistake("a stage's own programs are reached without a grant", "leave it out; `.stage` names never leave the stage");
            }
            (Host::Name(name), true) => Pattern::Label(format!(".{name}")),
            (host, true) => return mistake("an address has no names below it", format!("write \"{host}:{port}\" alone")),
            (Host::V4(address), false) if address.to_string() != name => {
                return mistake(format!("`{name}` is another way to write {address}"), format!("write \"{address}:{port}\""));
            }
            (host, false) => Pattern::Exact(host),
        };
        Ok(Entry { host, port, private: false })
    }

    pub fn fits(&self, host: &Host, port: u16) -> bool {
        let fits = match (&self.host, host) {
            (Pattern::Exact(exact), host) => exact == host,
            (Pattern::Label(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            (Pattern::Label(_), _) => false,
        };
        fits && self.port == port
    }

    fn scope(&self) -> Scope {
        let (named, localhost) = match &self.host {
            Pattern::Exact(host) => (host.address().is_some(), host.is_localhost()),
            Pattern::Label(suffix) => (false, suffix == ".localhost"),
        };
        Scope { private: self.private, named, localhost }
    }

    /// Beyond the public addresses, what the entry opens: `a loopback address`.
    pub fn opens(&self) -> Option<&'static str> {
        let named = match &self.host {
            Pattern::Exact(host) => host.address().map(reach).filter(|reach| *reach != Reach::Public),
            Pattern::Label(_) => None,
        };
        match named {
            Some(reach) => Some(reach.describe()),
            None if self.scope().localhost => Some("this machine"),
            None if self.private => Some("private addresses too"),
            None => None,
        }
    }

    /// `*.com`: nobody means a whole top-level domain.
    pub fn is_sweeping(&self) -> bool {
        matches!(&self.host, Pattern::Label(suffix) if !suffix[1..].contains('.') && suffix != ".localhost")
    }

    /// Whether the entry names this machine by a name, or by this address.
    pub fn names_this_machine(&self) -> Option<&Host> {
        match &self.host {
            Pattern::Exact(host) => {
                host.known_addresses().is_some_and(|known| known.iter().any(|a| reach(*a) == Reach::Loopback)).then_some(host)
            }
            Pattern::Label(_) => None,
        }
    }
}

/// As it stands in a pipeline file, without `private`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Exact(host) => write!(f, "{host}:{}", self.port),
            Pattern::Label(suffix) => write!(f, "*{suffix}:{}", self.port),
        }
    }
}

/// The hosts that may be reached. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(pub Vec<Entry>);

impl AllowList {
    /// What the entries that fit a place allow.
    ///
    /// # Errors
    /// If none fits.
    pub fn decide(&self, host: &Host, port: u16) -> Result<Scope, Refusal> {
        if host.process().is_some() {
            return Err(Refusal::OwnName);
        }
        let mut scope: Option<Scope> = None;
        for entry in self.0.iter().filter(|entry| entry.fits(host, port)) {
            let Scope { private, named, localhost } = entry.scope();
            let all = scope.get_or_insert_default();
            *all = Scope { private: all.private | private, named: all.named | named, localhost: all.localhost | localhost };
        }
        scope.ok_or(Refusal::NotGranted)
    }

    /// The addresses that may be connected to, of those that the host leads to.
    ///
    /// # Errors
    /// If there are some, and none of them may.
    pub fn admitted(scope: Scope, port: u16, addresses: &[IpAddr]) -> Result<Vec<SocketAddr>, Refusal> {
        let admitted: Vec<SocketAddr> =
            addresses.iter().filter(|address| scope.admits(**address)).map(|address| SocketAddr::new(*address, port)).collect();
        match addresses.first() {
            Some(first) if admitted.is_empty() => Err(Refusal::Address(*first)),
            _ => Ok(admitted),
        }
    }
}

/// `host:port` at its last colon; an IPv6 address needs brackets.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    (!host.is_empty() && !bare && !port.contains(']')).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        let entry = |text: &&str| match text.strip_suffix(" private") {
            Some(text) => Entry { private: true, ..Entry::parse(text).unwrap() },
            None => Entry::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")),
        };
        AllowList(entries.iter().map(entry).collect())
    }

    /// What becomes of a connection to `place`, whose name leads to `leads`.
    fn verdict(list: &AllowList, place: &str, leads: &[&str]) -> String {
        let (host, port) = split(place).unwrap();
        let (host, port) = (Host::parse(host).unwrap().unwrap(), port.parse().unwrap());
        let addresses = host.known_addresses().unwrap_or_else(|| leads.iter().map(|a| a.parse().unwrap()).collect());
        match list.decide(&host, port).and_then(|scope| AllowList::admitted(scope, port, &addresses)) {
            Ok(admitted) => admitted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(Refusal::NotGranted) => "not granted".to_owned(),
            Err(Refusal::OwnName) => "own".to_owned(),
            Err(Refusal::Address(address)) => format!("address {address}"),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn cases() {
        let list = list(&[
            "registry.example:443",
            "Bücher.Example.:443",
            "*.cdn.example:443",
            "internal.example:8080 private",
            "127.0.0.1:4873",
            "[fd00::1]:443",
            "10.0.0.7:443",
            "localhost:9000",
            "1.1.1.1:53",
        ]);
        const PUBLIC: &[&str] = &["93.184.215.14"];
        for (place, leads, wanted) in [
            ("registry.example:443", PUBLIC, "93.184.215.14:443"),
            ("REGISTRY.example.:443", PUBLIC, "93.184.215.14:443"),
            ("registry.example:80", PUBLIC, "not granted"),
            ("registry.example.evil:443", PUBLIC, "not granted"),
            ("evil-registry.example:443", PUBLIC, "not granted"),
            ("a.registry.example:443", PUBLIC, "not granted"),
            ("xn--bcher-kva.example:443", PUBLIC, "93.184.215.14:443"),
            ("a.cdn.example:443", PUBLIC, "93.184.215.14:443"),
            ("cdn.example:443", PUBLIC, "not granted"),
            ("a.b.cdn.example:443", PUBLIC, "not granted"),
            // a name that leads inside, wholly or in part
            ("registry.example:443", &["10.0.0.1"], "address 10.0.0.1"),
            ("registry.example:443", &["169.254.169.254"], "address 169.254.169.254"),
            ("registry.example:443", &["::ffff:127.0.0.1"], "address ::ffff:127.0.0.1"),
            ("registry.example:443", &["fe80::1", "93.184.215.14"], "93.184.215.14:443"),
            ("a.cdn.example:443", &["127.0.0.1"], "address 127.0.0.1"),
            ("registry.example:443", &[], ""),
            ("internal.example:8080", &["10.0.0.1", "127.0.0.1"], "10.0.0.1:8080 127.0.0.1:8080"),
            ("internal.example:8080", &["224.0.0.1"], "address 224.0.0.1"),
            // addresses only as they are named, however they are written
            ("127.0.0.1:4873", &[], "127.0.0.1:4873"),
            ("0x7f.1:4873", &[], "127.0.0.1:4873"),
            ("localhost:4873", &[], "not granted"),
            ("127.0.0.1:4874", &[], "not granted"),
            ("127.0.0.2:4873", &[], "not granted"),
            ("10.0.0.7:443", &[], "10.0.0.7:443"),
            ("[fd00:0::1]:443", &[], "[fd00::1]:443"),
            ("[::ffff:10.0.0.7]:443", &[], "not granted"),
            ("1.1.1.1:53", &[], "1.1.1.1:53"),
            ("93.184.215.14:443", &[], "not granted"),
            ("localhost:9000", &[], "127.0.0.1:9000 [::1]:9000"),
            ("a.localhost:9000", &[], "not granted"),
            ("app.stage:443", PUBLIC, "own"),
        ] {
            assert_eq!(verdict(&list, place, leads), wanted, "{place} {leads:?}");
        }
        assert_eq!(verdict(&AllowList::default(), "registry.example:443", PUBLIC), "not granted");
    }

    #[test]
    fn entries_have_one_form() {
        for (written, form) in [
            ("Registry.Example.:443", "registry.example:443"),
            ("*.Example.org:443", "*.example.org:443"),
            ("bücher.example:80", "xn--bcher-kva.example:80"),
            ("[fd00:0:0::1]:443", "[fd00::1]:443"),
            ("192.168.0.1:1", "192.168.0.1:1"),
        ] {
            assert_eq!(Entry::parse(written).unwrap().to_string(), form);
        }
    }

    #[test]
    fn mistakes_say_how_to_mend_them() {
        for (written, message, hint) in [
            ("registry.example", "has no port", "registry.example:443"),
            ("https://registry.example/npm", "a URL", "\"registry.example:443\""),
            ("http://registry.example", "a URL", "\"registry.example:80\""),
            ("registry.example:443/npm", "more than", ""),
            ("user@registry.example:443", "more than", ""),
            ("registry.example:0", "no port", ""),
            ("registry.example:70000", "no port", ""),
            ("registry.example:+443", "no port", ""),
            ("registry.example:*", "no port", "no entry for any port"),
            ("*:443", "wildcard", "*.example.org"),
            ("*.*.example:443", "inside the host", ""),
            ("re*.example:443", "inside the host", ""),
            ("*.10.0.0.1:443", "address has no names", "10.0.0.1:443"),
            ("0x7f.1:80", "another way", "127.0.0.1:80"),
            ("fd00::1", "brackets", "[fd00::1]:443"),
            ("fd00::1:443", "brackets", ""),
            ("[fd00::1]", "has no port", ""),
            ("app.stage:8080", "own programs", ""),
            ("..:80", "no host", ""),
            ("a b:80", "more than", ""),
            (":443", "has no port", ""),
            ("", "has no port", ""),
        ] {
            let error = Entry::parse(written).expect_err(written);
            assert!(error.message.contains(message) && error.hint.contains(hint), "{written}: {error:?}");
        }
    }

    #[test]
    fn what_is_wide_is_told() {
        let opens = |text: &str, private| Entry { private, ..Entry::parse(text).unwrap() }.opens();
        assert_eq!(opens("registry.example:443", false), None);
        assert_eq!(opens("registry.example:443", true), Some("private addresses too"));
        assert_eq!(opens("localhost:443", true), Some("this machine"));
        assert_eq!(opens("10.0.0.1:443", false), Some("a private address"));
        assert!(Entry::parse("*.com:443").unwrap().is_sweeping() && !Entry::parse("*.example.com:443").unwrap().is_sweeping());
    }
}
