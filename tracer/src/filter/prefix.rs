//! Addresses and networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Bits that mark an IPv6 address as v4-mapped.
const MAPPED_BITS: u8 = 96;

/// Why a text is not an address or a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The address cannot be read.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// The address names an interface.
    #[error("`{0}` names an interface: give the address without `%`")]
    Zone(String),
    /// The prefix length cannot be read.
    #[error("`/{0}` is not a prefix length")]
    Length(String),
    /// The prefix length exceeds the bits of the address.
    #[error("`/{length}` is too long: {family} addresses have {max} bits")]
    TooLong {
        /// Length given.
        length: u8,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Bits of an address.
        max: u8,
    },
}

/// Reads an address (`192.0.2.1`) or a network (`192.0.2.0/24`).
///
/// Bits beyond the prefix length are dropped, so the network of a host can be given by its address:
/// `192.0.2.7/24` is `192.0.2.0/24`. Whoever shows the filter shows the result, so the user sees which
/// network is meant. A v4-mapped address or network becomes the IPv4 one.
pub fn parse_prefix(text: &str) -> Result<IpNet, PrefixError> {
    let text = text.trim();
    let (addr, length) = match text.split_once('/') {
        None => (text, None),
        Some((addr, length)) => (addr, Some(length)),
    };
    if addr.contains('%') {
        return Err(PrefixError::Zone(addr.to_owned()));
    }
    let addr: IpAddr = addr
        .parse()
        .map_err(|_| PrefixError::Address(addr.to_owned()))?;
    let (family, max) = if addr.is_ipv4() {
        ("IPv4", 32)
    } else {
        ("IPv6", 128)
    };
    let length = match length {
        None => max,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .map_err(|_| PrefixError::Length(digits.to_owned()))?,
        Some(other) => return Err(PrefixError::Length(other.to_owned())),
    };
    let net = IpNet::new(addr, length).map_err(|_| PrefixError::TooLong {
        length,
        family,
        max,
    })?;
    let net = net.trunc();
    let mapped = match net {
        IpNet::V6(v6) => v6
            .prefix_len()
            .checked_sub(MAPPED_BITS)
            .and_then(|bits| Ipv4Net::new(v6.addr().to_ipv4_mapped()?, bits).ok()),
        IpNet::V4(_) => None,
    };
    Ok(mapped.map_or(net, IpNet::V4))
}
