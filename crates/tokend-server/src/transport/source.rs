//! Groups addresses that limits count as one peer.

use std::net::{IpAddr, Ipv6Addr};

/// The source of a connection: an IPv4 address, or the /64 of an IPv6 address. A household or machine usually has a
/// whole /64 (RFC 6177), so that a limit for each IPv6 address would limit nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn ipv6_counts_by_its_first_64_bits_and_ipv4_by_all_of_its_own() {
        assert_eq!(source("2001:db8:0:1::7"), source("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:0:1::7"), source("2001:db8:0:2::7"));
        assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
        assert_eq!(source("192.0.2.7"), source("::ffff:192.0.2.7"));
        assert_ne!(source("::ffff:192.0.2.7"), source("::ffff:192.0.2.8"));
    }
}
