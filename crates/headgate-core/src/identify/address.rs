//! Addresses and networks of callers: IPv4 embedded in IPv6 is treated as IPv4.

use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first 96 bits of `::ffff:0:0/96` (RFC 4291, section 2.5.5.2), IPv4-mapped addresses, and of `64:ff9b::/96` (RFC
/// 6052), which NAT64 uses.
const IPV4_IN_IPV6: [u128; 2] = [0xffff, 0x64_ff9b << 64];

/// The address by which a caller is counted.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    IPV4_IN_IPV6
        .contains(&(bits >> 32))
        .then_some(Ipv4Addr::from_bits(bits as u32))
}

/// The network of the canonical addresses: a network within an IPv4 embedding becomes an IPv4 network.
pub(crate) fn canonical_net(net: IpNet) -> IpNet {
    let prefix = net.prefix_len().checked_sub(96);
    match (canonical(net.addr()), prefix) {
        (IpAddr::V4(address), Some(prefix)) if net.addr().is_ipv6() => {
            Ipv4Net::new(address, prefix).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

/// `10.0.0.0/8`, `2001:db8::/32`; bits beyond the prefix are kept. (The parser of `ipnet` would bring in one for
/// addresses.)
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = prefix.len() <= 3 && !prefix.starts_with('+');
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// The caller's network: the address without the bits beyond the prefix.
pub fn cut_address(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> Option<IpNet> {
    let address = canonical(address);
    let prefix = if address.is_ipv4() {
        ipv4_prefix
    } else {
        ipv6_prefix
    };
    IpNet::new(address, prefix).ok().map(|net| net.trunc())
}

/// Displays an address or a prefix; without the prefix length if the prefix is the whole address.
pub struct ShownAddress(pub IpNet);

impl fmt::Display for ShownAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_in_an_ipv6_spelling_is_ipv4() {
        for (spelling, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("64:ff9b::192.0.2.1", "192.0.2.1"),
            ("64:ff9b::c000:201", "192.0.2.1"),
            ("64:ff9b:1::192.0.2.1", "64:ff9b:1::c000:201"),
            ("64:ff9b::1:c000:201", "64:ff9b::1:c000:201"),
            ("::192.0.2.1", "::c000:201"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(
                canonical(spelling.parse().unwrap()),
                address.parse::<IpAddr>().unwrap(),
                "{spelling}"
            );
        }
    }

    #[test]
    fn a_network_of_embedded_addresses_is_of_ipv4() {
        for (text, net) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("64:ff9b::10.0.0.0/104", "10.0.0.0/8"),
            ("64:ff9b::/96", "0.0.0.0/0"),
            ("64:ff9b::/64", "64:ff9b::/64"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(
                Some(canonical_net(network(text).unwrap())),
                network(net),
                "{text}"
            );
        }
    }
}
