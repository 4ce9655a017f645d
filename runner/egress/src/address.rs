//! What an IP address leads to: the public Internet, or somewhere that a stage must be let into by name.
//!
//! The ranges are those of IANA's special-purpose registries (RFC 6890 and its updates) and the addresses at which clouds serve
//! machine credentials. IPv6 addresses that carry an IPv4 address (mapped, compatible, translated, NAT64, 6to4) are judged by the address
//! inside, since that is where the packets end. What a grant opens beyond the public ones is its [`Scope`], the same for `http` and for the proxy.
//! Deliberately absent: names, and which grant fits a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Public,
    /// This machine.
    Loopback,
    /// Anything else that is not the public Internet, in the words of a denial: `a private address`.
    Private(&'static str),
    /// No host at all: multicast and broadcast. Nothing allows it.
    Never(&'static str),
}

impl Reach {
    /// For a denial: `a loopback address`.
    pub fn describe(self) -> &'static str {
        match self {
            Reach::Public => "a public address",
            Reach::Loopback => "a loopback address",
            Reach::Private(what) | Reach::Never(what) => what,
        }
    }
}

/// What the grants that fit a request allow beyond public addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope {
    /// One says so: `private = true`.
    pub private: bool,
    /// One names the very address.
    pub named: bool,
    /// One names `localhost`.
    pub localhost: bool,
}

impl Scope {
    pub fn admits(self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Public => true,
            Reach::Loopback => self.private || self.named || self.localhost,
            Reach::Private(_) => self.private || self.named,
            Reach::Never(_) => false,
        }
    }
}

/// Whether somebody may open a host by a word on the command line: a name (what it leads to is judged when it is looked up), or an address of
/// the public Internet or of this machine. `host`, `host:port` or `[fd00::1]:port`.
///
/// # Errors
/// What the address is instead, as in [`Reach::describe`].
pub fn confirmable(host: &str) -> Result<(), &'static str> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let plain = || if host.matches(':').count() == 1 { host.split(':').next().unwrap_or(host) } else { host };
    match bracketed.unwrap_or_else(plain).parse().map(reach) {
        Ok(Reach::Private(what) | Reach::Never(what)) => Err(what),
        _ => Ok(()),
    }
}

const METADATA: &str = "a cloud's metadata address";

pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        // Linux connects 0.0.0.0 to this machine
        [0, ..] => Reach::Private("an address of \"this network\" (0.0.0.0/8)"),
        // AWS, Google, Azure, OpenStack …; Alibaba; Oracle; Azure's wire server, which is a public number that no router carries
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Reach::Private(METADATA),
        [169, 254, ..] => Reach::Private("a link-local address"),
        [10, ..] | [192, 168, ..] => Reach::Private("a private address"),
        [172, b, ..] if b & 0xf0 == 16 => Reach::Private("a private address"),
        [100, b, ..] if b & 0xc0 == 64 => Reach::Private("a shared address (carrier-grade NAT)"),
        [192, 0, 0, _] => Reach::Private("an address for protocol assignments (192.0.0.0/24)"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Private("an address for documentation"),
        [192, 88, 99, _] => Reach::Private("a 6to4 relay address"),
        [198, 18 | 19, ..] => Reach::Private("an address for benchmarks (198.18.0.0/15)"),
        [255, 255, 255, 255] => Reach::Never("the broadcast address"),
        [224..=239, ..] => Reach::Never("a multicast address"),
        [240..=255, ..] => Reach::Private("a reserved address (240.0.0.0/4)"),
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    if let Some(inside) = embedded(&segments) {
        return reach_v4(inside);
    }
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Private("the unspecified address"),
        // AWS over IPv6; Google over IPv6
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => Reach::Private(METADATA),
        [a, ..] if a & 0xff00 == 0xff00 => Reach::Never("a multicast address"),
        [a, ..] if a & 0xffc0 == 0xfe80 => Reach::Private("a link-local address"),
        [a, ..] if a & 0xffc0 == 0xfec0 => Reach::Private("a site-local address"),
        [a, ..] if a & 0xfe00 == 0xfc00 => Reach::Private("a unique local address"),
        [0x0064, 0xff9b, 1, ..] => Reach::Private("an address of a local NAT64"),
        [0x2001, 0, ..] => Reach::Private("a Teredo address"),
        [0x2001, 0x0db8, ..] => Reach::Private("an address for documentation"),
        [0x2001, b, ..] if b & 0xfe00 == 0 => Reach::Private("an address for protocol assignments (2001::/23)"),
        [0x3fff, b, ..] if b & 0xf000 == 0 => Reach::Private("an address for documentation"),
        // global unicast is 2000::/3; everything else is reserved
        [a, ..] if a & 0xe000 == 0x2000 => Reach::Public,
        _ => Reach::Private("a reserved address"),
    }
}

/// The IPv4 address that packets to this one end at.
fn embedded(segments: &[u16; 8]) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match *segments {
        // ::1 and :: are IPv6's own, although they look compatible
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // compatible (RFC 4291, 2.5.5.1), mapped (2.5.5.2), translated (RFC 2765)
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        // NAT64 (RFC 6052)
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 6to4 (RFC 3056)
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Reach, confirmable, reach};

    #[test]
    fn only_public_addresses_and_this_machine_are_confirmed_by_number() {
        for yes in ["api.example", "api.example:443", "127.0.0.1:8080", "[::1]:80", "1.1.1.1"] {
            assert_eq!(confirmable(yes), Ok(()), "{yes}");
        }
        for no in ["169.254.169.254", "169.254.169.254:80", "10.0.0.1:443", "[fd00::1]:80", "fd00:ec2::254"] {
            assert!(confirmable(no).is_err(), "{no}");
        }
    }

    #[test]
    fn addresses_lead_where_the_registries_say() {
        const CASES: &[(&str, &str)] = &[
            ("1.1.1.1", "public"),
            ("93.184.215.14", "public"),
            ("100.63.255.255", "public"),
            ("100.128.0.0", "public"),
            ("172.15.255.255", "public"),
            ("172.32.0.0", "public"),
            ("192.0.1.1", "public"),
            ("198.17.255.255", "public"),
            ("198.20.0.0", "public"),
            ("223.255.255.255", "public"),
            ("168.63.129.15", "public"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("0.0.0.0", "private"),
            ("0.1.2.3", "private"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "private"),
            ("100.127.255.255", "private"),
            ("169.254.0.1", "private"),
            ("169.254.169.254", "private"),
            ("100.100.100.200", "private"),
            ("192.0.0.192", "private"),
            ("168.63.129.16", "private"),
            ("192.0.0.1", "private"),
            ("192.0.2.1", "private"),
            ("198.18.0.1", "private"),
            ("198.19.255.255", "private"),
            ("198.51.100.1", "private"),
            ("203.0.113.1", "private"),
            ("240.0.0.1", "private"),
            ("255.255.255.254", "private"),
            ("224.0.0.1", "never"),
            ("239.255.255.255", "never"),
            ("255.255.255.255", "never"),
            ("2606:4700:4700::1111", "public"),
            ("2a00:1450:4001::1", "public"),
            ("::1", "loopback"),
            ("::", "private"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:169.254.169.254", "private"),
            ("::ffff:1.1.1.1", "public"),
            ("::127.0.0.1", "loopback"),
            ("::169.254.169.254", "private"),
            ("::ffff:0:127.0.0.1", "loopback"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b::169.254.169.254", "private"),
            ("64:ff9b::1.1.1.1", "public"),
            ("64:ff9b:1::1.1.1.1", "private"),
            ("2002:7f00:1::", "loopback"),
            ("2002:a9fe:a9fe::1", "private"),
            ("2002:0101:0101::1", "public"),
            ("2001::1", "private"),
            ("2001:db8::1", "private"),
            ("2001:10::1", "private"),
            ("2001:200::1", "public"),
            ("3fff::1", "private"),
            ("fc00::1", "private"),
            ("fd00:ec2::254", "private"),
            ("fd20:ce::254", "private"),
            ("fe80::1", "private"),
            ("febf::1", "private"),
            ("fec0::1", "private"),
            ("100::1", "private"),
            ("5f00::1", "private"),
            ("ff02::1", "never"),
        ];
        for (address, expected) in CASES {
            let found = match reach(address.parse().unwrap()) {
                Reach::Public => "public",
                Reach::Loopback => "loopback",
                Reach::Private(_) => "private",
                Reach::Never(_) => "never",
            };
            assert_eq!(found, *expected, "{address}");
        }
    }

    #[test]
    fn metadata_addresses_are_called_so() {
        for address in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200", "168.63.129.16"] {
            assert_eq!(reach(address.parse().unwrap()).describe(), "a cloud's metadata address", "{address}");
        }
    }
}
