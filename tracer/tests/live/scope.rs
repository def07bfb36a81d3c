//! Addresses and ports that belong to one scenario alone.
//!
//! The kernel's record does not say in which network namespace a socket is, so namespaces alone do
//! not tell its sockets apart from those of others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Of the scenario, test or workload with this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope(pub(crate) u8);

/// Below the range from which the kernel chooses ports.
const FIRST_PORT: u16 = 21_000;
/// Ports for each.
const PORTS: u16 = 32;

/// The ports of all.
pub(crate) const ALL_PORTS: Range<u16> = FIRST_PORT..FIRST_PORT + 256 * PORTS;

impl Scope {
    pub(crate) fn loopback(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, self.0, host)
    }

    /// Networks 0 and 1.
    pub(crate) fn wire(self, network: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77 + network, self.0, host)
    }

    pub(crate) fn v6(self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.0.into(), 0, 0, 0, 0, 0, host)
    }

    pub(crate) fn port(self, number: u16) -> u16 {
        FIRST_PORT + u16::from(self.0) * PORTS + number
    }

    pub(crate) fn ports(self) -> Range<u16> {
        self.port(0)..self.port(PORTS)
    }

    /// Whether a socket with these endpoints is one of the scenario.
    pub(crate) fn owns(self, local: (IpAddr, u16), remote: (IpAddr, u16)) -> bool {
        let ports = self.ports();
        [local, remote].into_iter().any(|(addr, port)| {
            ports.contains(&port)
                || match addr.to_canonical() {
                    IpAddr::V4(v4) => {
                        let [a, b, c, _] = v4.octets();
                        c == self.0 && matches!((a, b), (127, 77) | (10, 77 | 78))
                    }
                    IpAddr::V6(v6) => v6.segments().starts_with(&[0xfd77, self.0.into()]),
                }
        })
    }
}
