//! The zones of the network that a URL may point to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A zone of the network, by the IANA special-purpose address registries (RFC 6890).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// The public internet.
    Public,
    /// A private network, or a carrier's or VPN's shared address space.
    Private,
    Loopback,
    /// A reserved address: link-local (where cloud machines serve their credentials), unspecified, multicast,
    /// documentation and others.
    Special,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const PRIVATE_V4: [Ipv4Net; 2] = [
    v4(100, 64, 0, 0, 10), // shared address space (RFC 6598)
    v4(198, 18, 0, 0, 15), // benchmarking (RFC 2544); VPN clients answer every name with these
];

const SPECIAL_V4: [Ipv4Net; 5] = [
    v4(0, 0, 0, 0, 8),      // this network (RFC 791)
    v4(192, 0, 0, 0, 24),   // protocol assignments (RFC 6890)
    v4(192, 88, 99, 0, 24), // 6to4 relays (RFC 7526)
    v4(224, 0, 0, 0, 4),    // multicast (RFC 5771)
    v4(240, 0, 0, 0, 4),    // reserved, and the limited broadcast (RFC 1112, RFC 8190)
];

/// Global unicast (RFC 4291 section 2.4). All other IPv6 addresses are special.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

const SPECIAL_V6: [Ipv6Net; 3] = [
    v6(0x2001, 0, 0, 23),     // protocol assignments, Teredo among them (RFC 2928, RFC 4380)
    v6(0x2001, 0xdb8, 0, 32), // documentation (RFC 3849)
    v6(0x3fff, 0, 0, 20),     // documentation (RFC 9637)
];

/// NAT64 (RFC 6052 section 2.1): the last four bytes are an IPv4 address.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
/// 6to4 (RFC 3056 section 2): the four bytes after the prefix are an IPv4 address.
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);

impl Zone {
    /// The zone of `address`; for an IPv6 address with an embedded IPv4 address, the zone of that.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded_v4(address) {
                Some(embedded) => Self::of_v4(embedded),
                None => Self::of_v6(address),
            },
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let within = |nets: &[Ipv4Net]| nets.iter().any(|net| net.contains(&address));
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_private() || within(&PRIVATE_V4) {
            Self::Private
        } else if address.is_link_local() || address.is_documentation() || within(&SPECIAL_V4) {
            Self::Special
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_unique_local() {
            Self::Private
        } else if !GLOBAL_V6.contains(&address) || SPECIAL_V6.iter().any(|net| net.contains(&address)) {
            Self::Special
        } else {
            Self::Public
        }
    }
}

/// The IPv4 address embedded in `address`: mapped (RFC 4291 section 2.5.5.2), compatible (2.5.5.1), NAT64, 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let [_, _, a, b, c, d, ..] = address.octets();
    match address.to_ipv4() {
        None if SIX_TO_FOUR.contains(&address) => Some(Ipv4Addr::new(a, b, c, d)),
        None if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        embedded => embedded,
    }
}

/// Why a URL is out of reach, as a clause about it.
impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public => "it resolves to another machine, but plain http requires a loopback address",
            Self::Private => "it resolves to a private address, which requires `allow_private_network`",
            Self::Loopback => "it resolves to this machine, but a remote server named it",
            Self::Special => "it resolves to a reserved address",
        })
    }
}

/// The zones that a URL may point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Zone>", into = "Vec<Zone>")]
pub struct Reach(u8);

impl Reach {
    /// The number of different values.
    pub const COUNT: usize = 1 << ZONES.len();
    /// The reach of a URL from the user: everywhere that a server can be.
    pub const ANYWHERE: Self = Self::PUBLIC.and(Zone::Private).and(Zone::Loopback);
    /// No limit, for a name that a proxy resolves.
    pub const UNLIMITED: Self = Self::ANYWHERE.and(Zone::Special);
    /// The reach of a URL from a public server.
    pub const PUBLIC: Self = Self(1 << Zone::Public as u8);
    /// The reach of a plain http URL.
    pub const LOOPBACK: Self = Self(1 << Zone::Loopback as u8);

    pub fn permits(self, zone: Zone) -> bool {
        self.0 & (1 << zone as u8) != 0
    }

    /// Adds `zone`.
    pub const fn and(self, zone: Zone) -> Self {
        Self(self.0 | 1 << zone as u8)
    }

    /// A unique number below [`Self::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

const ZONES: [Zone; 4] = [Zone::Public, Zone::Private, Zone::Loopback, Zone::Special];

impl Default for Reach {
    fn default() -> Self {
        Self::ANYWHERE
    }
}

impl From<Vec<Zone>> for Reach {
    fn from(zones: Vec<Zone>) -> Self {
        zones.into_iter().fold(Self(0), Self::and)
    }
}

impl From<Reach> for Vec<Zone> {
    fn from(reach: Reach) -> Self {
        ZONES.into_iter().filter(|zone| reach.permits(*zone)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(address: &str) -> Zone {
        Zone::of(address.parse().unwrap())
    }

    /// t005: the first and last address of every range in the registries, and their neighbours.
    #[test]
    fn t005_zones() {
        for (zone_of, addresses) in [
            (
                Zone::Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "2606:4700::1111",
                    "2001:200::",
                    "2001:db7:ffff::",
                    "2003::1",
                    "3ffe::1",
                    "64:ff9b::101:101",
                    "2002:101:101::",
                    "::ffff:1.1.1.1",
                ][..],
            ),
            (
                Zone::Private,
                &[
                    "10.0.0.0",
                    "10.255.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.168.0.0",
                    "192.168.255.255",
                    "100.64.0.0",
                    "100.127.255.255",
                    "198.18.0.0",
                    "198.19.255.255",
                    "fc00::",
                    "fd00::1",
                    "fdff:ffff::1",
                    "::ffff:10.0.0.9",
                    "64:ff9b::a00:9",
                    "2002:a00:9::1",
                    "::10.0.0.9",
                ],
            ),
            (
                Zone::Loopback,
                &[
                    "127.0.0.0",
                    "127.0.0.1",
                    "127.255.255.255",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                    "::127.0.0.1",
                ],
            ),
            (
                Zone::Special,
                &[
                    "0.0.0.0",
                    "0.255.255.255",
                    "169.254.0.0",
                    "169.254.169.254",
                    "169.254.255.255",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::ffff:169.254.169.254",
                    "::ffff:0.0.0.0",
                    "64:ff9b::a9fe:a9fe",
                    "64:ff9b:1::1",
                    "100::1",
                    "2001::1",
                    "2001:0:4136:e378::1",
                    "2001:db8::1",
                    "2002:a9fe:a9fe::",
                    "3fff:fff::1",
                    "5f00::1",
                    "fe80::1",
                    "febf::1",
                    "fec0::1",
                    "ff02::1",
                    "4000::",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(zone(address), zone_of, "{address}");
            }
        }
    }

    /// A reach can be stored and loaded.
    #[test]
    fn a_reach_is_a_list_of_zones() {
        let reach = Reach::PUBLIC.and(Zone::Private);
        let text = serde_json::to_string(&reach).unwrap();
        assert_eq!(text, r#"["public","private"]"#);
        assert_eq!(serde_json::from_str::<Reach>(&text).unwrap(), reach);
        for zone in ZONES {
            assert!(Reach::UNLIMITED.permits(zone) && Reach::ANYWHERE.permits(zone) == (zone != Zone::Special));
        }
        assert!(Reach::UNLIMITED.index() < Reach::COUNT);
    }

    proptest! {
        /// t005: embedding an IPv4 address in an IPv6 address does not change its zone.
        #[test]
        fn t005_embedded_addresses_keep_their_zone(bits in 2u32..) {
            let address = Ipv4Addr::from(bits);
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let plain = Zone::of(IpAddr::from(address));
            for carrier in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(Zone::of(IpAddr::from(carrier)), plain);
            }
        }
    }
}
