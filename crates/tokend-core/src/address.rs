//! Client addresses, and the networks that a token may be used from.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::text::quoted;

/// The networks that a token may be used from. An empty list never means "everywhere": that is a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedAddresses {
    /// Everywhere, including from an unknown address.
    Any,
    /// Only from addresses in these networks. Never empty.
    Only(Networks),
}

/// A list of 1 to 64 networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedNetwork {
    /// It is not an address with a prefix length.
    #[error("{0} is not an address with a prefix length such as 192.0.2.0/24 or 2001:db8::/32")]
    Syntax(String),
    /// Bits are set after the prefix.
    #[error("{given} has bits set behind its prefix; write {meant}")]
    HostBits {
        /// The given network.
        given: IpNet,
        /// The network that contains it.
        meant: IpNet,
    },
}

/// Parses a network in CIDR notation (RFC 4632). A network of IPv4-mapped addresses (`::ffff:192.0.2.0/120`) becomes
/// the IPv4 network.
///
/// # Errors
/// [`MalformedNetwork`], which says what to write instead.
pub fn parse_network(text: &str) -> Result<IpNet, MalformedNetwork> {
    let malformed = || MalformedNetwork::Syntax(quoted(text));
    // ipnet would accept numbers with leading zeros, which some programs read as octal and others as decimal (RFC 6943
    // section 3.1.1); std does not.
    let (address, _) = text.split_once('/').ok_or_else(malformed)?;
    address.parse::<IpAddr>().map_err(|_| malformed())?;
    let network: IpNet = text.parse().map_err(|_| malformed())?;
    if network != network.trunc() {
        return Err(MalformedNetwork::HostBits {
            given: network,
            meant: network.trunc(),
        });
    }
    Ok(canonical(network))
}

impl Networks {
    /// The most networks in a list.
    pub const MAX: usize = 64;

    /// Creates a list; `None` unless it has 1 to 64 networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Option<Self> {
        (1..=Self::MAX).contains(&networks.len()).then_some(Self(networks))
    }

    /// Returns the networks.
    #[must_use]
    pub fn as_slice(&self) -> &[IpNet] {
        &self.0
    }
}

impl AllowedAddresses {
    /// Returns whether a client at `address` may use the token. An unknown address is allowed only by
    /// [`AllowedAddresses::Any`].
    #[must_use]
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Only(_), None) => false,
            (Self::Only(networks), Some(address)) => {
                let address = address.to_canonical();
                networks.0.iter().any(|network| network.contains(&address))
            }
        }
    }

    /// Returns the networks; none if every address is allowed.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        match self {
            Self::Any => &[],
            Self::Only(networks) => networks.as_slice(),
        }
    }
}

/// Converts an IPv6 network of IPv4-mapped addresses (RFC 4291 section 2.5.5.2) to the IPv4 network that it stands for.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    mapped
        .and_then(|(address, len)| Ipv4Net::new(address, len).ok())
        .map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(networks: &[&str]) -> AllowedAddresses {
        let networks = networks
            .iter()
            .map(|text| parse_network(text).expect("well-formed"))
            .collect();
        AllowedAddresses::Only(Networks::new(networks).expect("1 to 64"))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn an_unknown_address_is_allowed_only_where_every_address_is() {
        assert!(AllowedAddresses::Any.allow(None));
        assert!(!only(&["0.0.0.0/0", "::/0"]).allow(None));
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_ones() {
        assert!(only(&["192.0.2.0/24"]).allow(address("::ffff:192.0.2.7")));
        assert!(only(&["::ffff:192.0.2.0/120"]).allow(address("192.0.2.7")));
        assert!(only(&["::ffff:192.0.2.0/120"]).allow(address("::ffff:192.0.2.7")));
        assert!(!only(&["::ffff:192.0.2.0/120"]).allow(address("192.0.3.7")));
        assert!(!only(&["192.0.2.0/24"]).allow(address("2001:db8::1")));
    }

    #[test]
    fn ill_formed_networks() {
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "2001:db8::/129",
            "acme/24",
            "192.0.2.0/24 ",
            "192.0.010.0/24",
        ] {
            assert!(matches!(parse_network(bad), Err(MalformedNetwork::Syntax(_))), "{bad}");
        }
        let error = parse_network("192.0.2.7/24").expect_err("host bits").to_string();
        assert_eq!(error, "192.0.2.7/24 has bits set behind its prefix; write 192.0.2.0/24");
    }

    #[test]
    fn lists_hold_1_to_64() {
        let network = parse_network("192.0.2.0/24").expect("well-formed");
        assert!(Networks::new(vec![]).is_none());
        assert!(Networks::new(vec![network; 64]).is_some());
        assert!(Networks::new(vec![network; 65]).is_none());
    }
}
